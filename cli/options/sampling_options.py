"""Options about sampling."""

from typing import Annotated

import typer

from vectors.common.errors import InputError
from vectors.common.validation import check_utf8

Geometry = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Distribution of the random shifts: shell, cap, natural.  [default: shell]"),
]
Seed = Annotated[
    int | None,
    typer.Option(metavar="S", help="Seed; the same seed repeats a run.  [default: random, printed on stderr]"),
]
Prompt = Annotated[str | None, typer.Option(metavar="TEXT", help="Continue this text.  [default: no prompt]")]
MaxTokens = Annotated[int, typer.Option(metavar="N", help="Maximum length of a text, in tokens.")]
Temperature = Annotated[
    float, typer.Option(metavar="T", help="Sampling temperature; 1 leaves probabilities unchanged.")
]
TopP = Annotated[
    float, typer.Option(metavar="P", help="Sample among the likeliest tokens of this total probability; 1 is off.")
]
TopK = Annotated[int, typer.Option(metavar="K", help="Sample among the K likeliest tokens; 0 is off.")]
MinP = Annotated[
    float, typer.Option(metavar="P", help="Drop tokens below this fraction of the likeliest one; 0 is off.")
]
Positions = Annotated[
    str | None,
    typer.Option(
        metavar="WHICH",
        help="Positions to steer: bos, all, generated, not-bos, first:N, decay:H.  [default: those of the concepts]",
    ),
]
Gate = Annotated[bool, typer.Option("--gate", help="Add only what a position still lacks of a concept.")]
MaxPressure = Annotated[
    float | None,
    typer.Option(metavar="NATS", help="Lower all doses until the p95 pressure is at most this.  [default: no limit]"),
]

NoCosts = Annotated[
    bool,
    typer.Option("--no-costs", help="Do not measure pressure: faster; `steer report` can compute it later."),
]


def check_prompt(prompt: str | None) -> None:
    """Refuse a prompt that is empty or not valid text."""
    if prompt is None:
        return
    if not prompt:
        raise InputError("--prompt is empty: leave it out to sample without a prompt, or give some text")
    check_utf8(prompt, "--prompt")
