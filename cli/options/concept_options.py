"""Options and checks that commands about concepts share."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from vectors.common.errors import InputError, OutputError
from vectors.common.validation import quote

if TYPE_CHECKING:
    from vectors.model.residual_model import ResidualModel

Layer = Annotated[
    str, typer.Option(metavar="auto|N|N,N", help="Block after which it is read and steered; several steer together.")
]


def layer_of(text: str) -> Literal["auto"] | int:
    """Return what --layer says of one layer, or refuse what is neither `auto` nor a number."""
    found = layers_of(text)
    if isinstance(found, list):
        raise InputError(f"--layer is {quote(text)}: give auto, or the number of one block")
    return found


def layers_of(text: str) -> Literal["auto"] | int | list[int]:
    """Return what --layer says, or refuse what is neither `auto` nor numbers."""
    if text == "auto":
        return "auto"
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() and len(part) < 10 for part in parts):
        raise InputError(f"--layer is {quote(text)}: give auto, or the number of a block, counted from 0")
    return int(parts[0]) if len(parts) == 1 else [int(part) for part in parts]


def check_file(output: str, force: bool, *, what: str = "vector file") -> None:
    """Refuse a place where no file of ours can go, before the work instead of after it."""
    from vectors.common.files import check_output_path

    if not output.endswith(".safetensors"):
        raise OutputError(f"{quote(output)} does not end with .safetensors: give the {what} that ending")
    check_output_path(output, force=force)


def check_free(name: str, model: "ResidualModel") -> None:
    """Refuse a name that the user's library holds for this model, before the work instead of after it."""
    from vectors.concepts.library import catalog

    place: Path | None = catalog(model).get(name)
    if place is not None and place.parent != model.library:
        raise OutputError(
            f"your library already has {quote(name)} ({quote(place)}): pass --force or choose another name"
        )
