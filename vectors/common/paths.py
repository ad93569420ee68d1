"""Where models and concepts lie: the embedded ones, and the user's library; known without loading anything."""

import contextlib
import os
import re
from pathlib import Path
from typing import Final

from vectors.common.errors import InputError, OutputError, VectorError
from vectors.common.validation import check_name, quote

EMBEDDED_MODEL: Final = Path(__file__).parents[1] / "almanac" / "model"
EMBEDDED_LIBRARY: Final = EMBEDDED_MODEL.parent / "library"
VECTOR_SUFFIX: Final = ".safetensors"


def user_library() -> Path:
    """Return the user's library: the folder `STEER_HOME`, else `~/.local/share/steer`."""
    try:
        return Path(os.environ.get("STEER_HOME") or "~/.local/share/steer").expanduser()
    except RuntimeError as error:
        raise InputError("the home folder is unknown: set STEER_HOME to the folder of your concepts") from error


def model_folder(name: str, digest: str) -> Path:
    """Return the user's folder for a model; of two names for the same weights, the first keeps the folder."""
    key = re.sub(r"[^A-Za-z0-9]", "", digest)[:8].lower()
    plain = Path(name).name if Path(name).is_absolute() or name.startswith(".") else name
    slug = re.sub(r"[^A-Za-z0-9._]+", "-", plain).strip("-.")[-60:].strip("-.") or "model"
    exact = user_library() / f"{slug}-{key}"
    others = [place for place in list_folder(user_library()) if place.name.endswith(f"-{key}") and place.is_dir()]
    return exact if exact in others or not others else others[0]


def list_folder(folder: Path) -> list[Path]:
    """Return what a library folder holds, in order; nothing where there is no such folder.

    Raises:
        VectorError: when it cannot be read.
    """
    try:
        return sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except (OSError, ValueError) as error:
        raise VectorError(
            f"cannot list the library folder {quote(folder)}: make it readable or set STEER_HOME"
        ) from error


def vector_files(folder: Path) -> dict[str, Path]:
    """Return the vector files of a folder by the names of their concepts."""
    found: dict[str, Path] = {}
    for place in list_folder(folder):
        if place.name.endswith(VECTOR_SUFFIX):
            # a stray file with an unusable name is not offered, so that it cannot spoil a listing
            with contextlib.suppress(InputError):
                found[check_name(place.name.removesuffix(VECTOR_SUFFIX))] = place
    return found


def writable_model_folder(name: str, digest: str) -> Path:
    """Return the user's folder for a model, made and proven writable.

    Raises:
        OutputError: when it cannot be.
    """
    folder = model_folder(name, digest)
    reason = "you may not write there"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or str(error)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"cannot write to {quote(folder)} ({reason}): set STEER_HOME to a writable folder")
    return folder


EMBEDDED_NAME = "almanac"
"""What the embedded model is called."""
