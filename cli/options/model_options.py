"""Options about the model, and loading it."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.terminal.progress import Progress
from vectors.common.errors import InputError
from vectors.common.paths import EMBEDDED_NAME
from vectors.common.validation import quote

if TYPE_CHECKING:
    from vectors.model.residual_model import ResidualModel

Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="NAME",
        help="Hugging Face name, folder or GGUF file of a model.  [default: the embedded model]",
    ),
]
Base = Annotated[
    str | None,
    typer.Option("--base", metavar="NAME", help="Model that the adapter given as --model was trained on."),
]
Device = Annotated[
    str | None, typer.Option(metavar="NAME", help="cpu, cuda, cuda:1, mps.  [default: cuda if available]")
]
Dtype = Annotated[str | None, typer.Option(metavar="NAME", help="float32, bfloat16, float16.  [default: the model's]")]
Trust = Annotated[bool, typer.Option("--trust-remote-code", help="Run code from the model's folder.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")]


def check_model(name: str | None) -> None:
    """Refuse an empty name, which is more likely an unset variable than the embedded model."""
    if name is not None and not name.strip():
        raise InputError(
            "--model is empty: give a Hugging Face name or a folder, or leave it out for the embedded model"
        )


def open_model(
    name: str | None, device: str | None, dtype: str | None, trust: bool, progress: Progress, base: str | None = None
) -> "ResidualModel":
    """Load the model that the options name."""
    check_model(name)
    progress(f"loading {name or 'the embedded model'}")
    from vectors.model.residual_model import load_model

    if name == EMBEDDED_NAME and not Path(name).exists():
        name = None  # the name that `ls` and samples show
    if name is None and base is not None:
        raise InputError(f"--base is {quote(base)}, and --model names no adapter: give the adapter as --model")
    loaded = load_model(name, device, dtype, base=base, trust_remote_code=trust, progress=progress)
    progress.clear()
    return loaded


def model_flags(
    model: str | None, device: str | None, dtype: str | None, trust_remote_code: bool, base: str | None = None
) -> list[str]:
    """Return the options with which another command opens the same model."""
    given = {"--model": model, "--base": base, "--device": device, "--dtype": dtype}
    flags = [f"{option} {shlex.quote(value)}" for option, value in given.items() if value is not None]
    return [*flags, *(["--trust-remote-code"] if trust_remote_code else [])]


def read_stdin(what: str) -> str:
    """Return all of stdin as text.

    Raises:
        InputError: stdin is closed or not UTF-8.
    """
    if sys.stdin is None:
        raise InputError(f"stdin is closed: pipe {what} in, or write it out instead of -")
    try:
        return sys.stdin.buffer.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"stdin is not UTF-8 at byte {error.start + 1}: pipe {what} in as UTF-8") from error
