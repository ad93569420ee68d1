"""Options about sampling, and about the point that is sampled."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from vectors.common.errors import InputError
from vectors.common.validation import check_utf8, quote

if TYPE_CHECKING:
    from steer.composition.steering_point import SteeringPoint
    from vectors.model.residual_model import ResidualModel

Geometry = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Distribution of the random shifts: shell, cap, natural.  [default: shell]"),
]
Method = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="How concepts are combined: exact gives each its own dose; sum adds the vectors up, as other tools do; "
        "rotate turns the stream and keeps its length.  [default: exact]",
    ),
]
Layers = Annotated[
    str | None,
    typer.Option(
        metavar="8-20",
        help="Of concepts with a vector for several layers, steer at these: 3,5,9 or 8-20, both ends included.  "
        "[default: all]",
    ),
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


def check_point_options(method: str | None, layers: str | None) -> None:
    """Refuse a method or layers that cannot be read, before a model is loaded."""
    if method is not None:
        from steer.composition.expression import METHODS

        if method not in METHODS:
            raise InputError(f"--method is {quote(method)}: choose from {', '.join(METHODS)}")
    if layers is not None:
        from vectors.common.layer_ranges import parse_layers

        parse_layers(layers, "--layers")


def compose_point(
    expression: str | Mapping[str, float], model: "ResidualModel", method: str | None, layers: str | None = None
) -> "SteeringPoint":
    """Compose an expression as the options say."""
    from steer.composition.steering_point import compose

    return compose(expression, model, method=method or "exact", layers=layers)
