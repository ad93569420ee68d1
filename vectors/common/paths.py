"""Where models and concept vectors are stored: the embedded ones, and the user's library."""

import contextlib
import os
import re
from pathlib import Path
from typing import Final

from vectors.common.errors import InputError, OutputError, VectorError
from vectors.common.validation import check_name, quote

EMBEDDED_NAME: Final = "almanac"
"""Name of the embedded model."""

EMBEDDED_MODEL: Final = Path(__file__).parents[1] / "almanac" / "model"
EMBEDDED_LIBRARY: Final = EMBEDDED_MODEL.parent / "library"
READY_MADE: Final = Path(__file__).parents[1] / "concepts" / "ready_made"
"""Folders of concepts that ship for models that do not, one for each model."""

VECTOR_SUFFIX: Final = ".safetensors"


def shipped_folders() -> list[Path]:
    """Return the folders of all concepts that ship with this package, those of the embedded model first."""
    return [EMBEDDED_LIBRARY, *(path for path in list_folder(READY_MADE) if path.is_dir())]


def user_library() -> Path:
    """Return the folder of the user's library: `STEER_HOME`, or `~/.local/share/steer`.

    Raises:
        InputError: The home folder is unknown.
    """
    try:
        return Path(os.environ.get("STEER_HOME") or "~/.local/share/steer").expanduser()
    except RuntimeError as error:
        raise InputError("the home folder is unknown: set STEER_HOME to the folder of your concepts") from error


def model_folder(name: str, digest: str) -> Path:
    """Return the folder of the user's library that holds the concepts of a model.

    The folder is named after the model and the first eight characters of the hash of its weights. If the same weights
    were used before under another name, the existing folder is returned.
    """
    key = re.sub(r"[^A-Za-z0-9]", "", digest)[:8].lower()
    name = Path(name).name if Path(name).is_absolute() or name.startswith(".") else name
    slug = re.sub(r"[^A-Za-z0-9._]+", "-", name).strip("-.")[-60:].strip("-.") or "model"
    folder = user_library() / f"{slug}-{key}"
    same_weights = [path for path in list_folder(user_library()) if path.name.endswith(f"-{key}") and path.is_dir()]
    return folder if folder in same_weights or not same_weights else same_weights[0]


def writable_model_folder(name: str, digest: str) -> Path:
    """Create the user's folder for a model if necessary and return it.

    Raises:
        OutputError: The folder cannot be created or written to.
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


def list_folder(folder: Path) -> list[Path]:
    """Return the sorted contents of a library folder, or an empty list if it does not exist.

    Raises:
        VectorError: The folder cannot be read.
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
    """Return the vector files of a folder by concept name."""
    files: dict[str, Path] = {}
    for path in list_folder(folder):
        if path.name.endswith(VECTOR_SUFFIX):
            # files whose names cannot be concept names are skipped, so that one stray file does not break a listing
            with contextlib.suppress(InputError):
                files[check_name(path.name.removesuffix(VECTOR_SUFFIX))] = path
    return files
