"""Options and checks of the commands that write concepts."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cli.terminal.output import note
from vectors.common.errors import InputError, OutputError
from vectors.common.validation import quote

if TYPE_CHECKING:
    from vectors.model.residual_model import ResidualModel

Layer = Annotated[
    str,
    typer.Option(
        metavar="auto|N|N,N", help="Layer to read and steer: the block, from 0; several are steered together."
    ),
]


def layer_of(text: str) -> Literal["auto"] | int:
    """Return the value of --layer for a command that takes one layer."""
    layers = layers_of(text)
    if isinstance(layers, list):
        raise InputError(f"--layer is {quote(text)}: give auto, or the number of one block")
    return layers


def layers_of(text: str) -> Literal["auto"] | int | list[int]:
    """Return the value of --layer: `auto`, a layer, or several."""
    if text == "auto":
        return "auto"
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() and len(part) < 10 for part in parts):
        raise InputError(f"--layer is {quote(text)}: give auto, or the number of a block, counted from 0")
    return int(parts[0]) if len(parts) == 1 else [int(part) for part in parts]


def check_file(output: str, force: bool, *, what: str = "vector file") -> None:
    """Refuse an output path that cannot be written, before the work starts."""
    from vectors.common.files import check_output_path

    if not output.endswith(".safetensors"):
        raise OutputError(f"{quote(output)} does not end with .safetensors: give the {what} that ending")
    check_output_path(output, force=force)


def check_free(name: str, model: "ResidualModel") -> None:
    """Refuse a name that the user's library already has for this model, before the work starts."""
    from vectors.common.paths import shipped_folders
    from vectors.concepts.library import catalog, own_files

    path: Path | None = own_files(model).get(name)
    if path is None and (shipped := catalog(model).get(name)) is not None and shipped.parent in shipped_folders():
        note(f"note: {quote(name)} ships with this package: expressions will use yours; Ctrl-C keeps the shipped one")
    elif path is not None:
        raise OutputError(
            f"your library already has {quote(name)} ({quote(path)}): pass --force or choose another name"
        )
