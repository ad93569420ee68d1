"""Options that say how texts are sampled."""

from typing import Annotated

import typer

from vectors.common.errors import InputError
from vectors.common.validation import check_utf8

Geometry = Annotated[
    str | None, typer.Option(metavar="NAME", help="Where entries stray: shell, cap or natural.  [default: shell]")
]
Seed = Annotated[int | None, typer.Option(metavar="S", help="Repeats a run.  [default: drawn, printed on stderr]")]
Prompt = Annotated[str | None, typer.Option(metavar="TEXT", help="Continue this text.  [default: no prompt]")]
MaxTokens = Annotated[int, typer.Option(metavar="N", help="Longest entry, in tokens.")]
Temperature = Annotated[float, typer.Option(metavar="T", help="1 is the model as it is.")]
TopP = Annotated[float, typer.Option(metavar="P", help="Keep the likeliest tokens of this total; 1 keeps all.")]
TopK = Annotated[int, typer.Option(metavar="K", help="Keep the K likeliest tokens; 0 keeps all.")]
MinP = Annotated[float, typer.Option(metavar="P", help="Keep tokens above this share of the likeliest; 0 keeps all.")]
Positions = Annotated[
    str | None,
    typer.Option(
        metavar="WHICH", help="bos, all, generated, not-bos, first:N or decay:H.  [default: as the concepts were made]"
    ),
]
Gate = Annotated[bool, typer.Option("--gate", help="Add only as much of a concept as a position lacks.")]
MaxPressure = Annotated[
    float | None,
    typer.Option(metavar="NATS", help="Lower all doses until p95 pressure stays within it.  [default: as asked]"),
]

NoCosts = Annotated[
    bool,
    typer.Option("--no-costs", help="Do not measure pressure: faster, and `steer report` finds it later."),
]


def check_prompt(prompt: str | None) -> None:
    """Refuse a prompt that is empty or no text."""
    if prompt is None:
        return
    if not prompt:
        raise InputError("--prompt is empty: leave it out to sample without a prompt, or give some text")
    check_utf8(prompt, "--prompt")
