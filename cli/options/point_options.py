"""Options about the composition of an expression, and composing it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from vectors.common.errors import InputError
from vectors.common.layer_ranges import parse_layers
from vectors.common.option_names import COMPOSITIONS
from vectors.common.validation import quote

if TYPE_CHECKING:
    from steer.composition.steering_point import SteeringPoint
    from vectors.model.residual_model import ResidualModel

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


def check_point_options(method: str | None, layers: str | None) -> None:
    """Refuse a method or layers that cannot be read, before a model is loaded."""
    if method is not None and method not in COMPOSITIONS:
        raise InputError(f"--method is {quote(method)}: choose from {', '.join(COMPOSITIONS)}")
    if layers is not None:
        parse_layers(layers, "--layers")


def compose_point(
    expression: str | Mapping[str, float], model: "ResidualModel", method: str | None, layers: str | None = None
) -> "SteeringPoint":
    """Compose an expression as the options say."""
    from steer.composition.steering_point import compose

    return compose(expression, model, method=method or COMPOSITIONS[0], layers=layers)
