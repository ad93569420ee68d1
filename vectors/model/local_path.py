"""Find a model on the disk: a folder, a GGUF file, or a folder of the Hugging Face cache."""

import difflib
import re
from pathlib import Path
from typing import Final

from vectors.common.errors import InputError, ModelError
from vectors.common.validation import list_names, quote

HINT: Final = "give a folder in Hugging Face format, a GGUF file, a hub name, or nothing for the embedded model"
POINTER: Final = "is a Git LFS pointer, not the weights: run `git lfs pull` in its folder"

_LFS: Final = b"version https://git-lfs"
_HUB_NAME: Final = re.compile(r"[\w.-]+(/[\w.-]+)?")
_CACHED: Final = re.compile(r"models--(?:(?P<owner>[\w.-]+?)--)?(?P<name>[\w.-]+)")
_ENDINGS: Final = (".gguf", ".safetensors", ".bin")
_TRAINING: Final = frozenset(["training_args.bin", "optimizer.bin", "scheduler.bin"])


def find_local(name_or_path: str | Path) -> Path | None:
    """Return the folder or GGUF file of a model on the disk, or None for what may be the name of a hub model.

    Of a model in the Hugging Face cache (`models--OWNER--NAME`), it is the folder of the downloaded snapshot.

    Raises:
        InputError: it is no text and no path.
        ModelError: there is no such folder or file, or it holds no model.
    """
    if not isinstance(name_or_path, str | Path):
        raise InputError(f"the model is {quote(name_or_path)}: {HINT}")
    name = str(name_or_path)
    try:
        path = Path(name_or_path).expanduser()
        is_folder, exists = bool(name) and path.is_dir(), bool(name) and path.exists()
    except (OSError, RuntimeError, ValueError) as error:  # a name too long, the home of an unknown user, a NUL
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ModelError(f"{quote(name)} cannot be a folder ({why}): {HINT}") from error
    hub_like = isinstance(name_or_path, str) and not name.startswith((".", "~")) and bool(_HUB_NAME.fullmatch(name))
    if is_folder:
        if (snapshot := _snapshot(path)) is not None:
            return snapshot
        if not holds_model(path):
            raise ModelError(_no_model(path, hides_hub=hub_like and "/" in name))
        return path
    if exists:
        if path.suffix.lower() == ".gguf" or starts_with(path, b"GGUF"):
            return path
        if is_pointer(path):
            raise ModelError(f"{quote(path)} {POINTER}")
        if holds_model(path.parent):
            raise ModelError(f"{quote(path)} is a file: give the folder that it is in, {quote(path.parent)}")
        raise ModelError(f"{quote(path)} is a file: {HINT}")
    is_file_name = name.lower().endswith(_ENDINGS)
    if is_file_name or not hub_like:
        raise ModelError(
            f"there is no {'file' if is_file_name else 'folder'} {quote(name)}{models_beside(path, near=True)}: {HINT}"
        )
    return None


def model_name(path: Path) -> str:
    """Return the name of a model on the disk: of its folder or GGUF file, or its hub name if it lies in the cache.

    >>> model_name(Path("/cache/models--openai-community--gpt2/snapshots/607a30d"))
    'openai-community/gpt2'
    """
    path = path.absolute()
    if path.parent.name == "snapshots" and (cached := _CACHED.fullmatch(path.parents[1].name)):
        return f"{cached['owner']}/{cached['name']}" if cached["owner"] else cached["name"]
    resolved = path.resolve()
    for file in (resolved, path):  # a link in the cache has the name, what it leads to has none
        if file.suffix.lower() == ".gguf":
            return file.stem
    return resolved.name


def holds_model(folder: Path) -> bool:
    """Return whether a folder holds a model, an adapter or a GGUF file."""
    notes = ("config.json", "adapter_config.json")
    return any((folder / name).is_file() for name in notes) or any(folder.glob("*.gguf"))


def holds_weights(folder: Path) -> bool:
    """Return whether a folder holds the weights of a model in Hugging Face format; those of an adapter do not count."""
    weights = (*folder.glob("*.safetensors"), *folder.glob("*.bin"))
    return any(not path.name.startswith("adapter") and path.name not in _TRAINING for path in weights)


def models_beside(path: Path, *, near: bool) -> str:
    """Return the models in the folder of a path, for a message; with `near`, only those of a similar name."""
    try:
        beside = [each for each in path.absolute().parent.iterdir() if not each.name.startswith(".")]
        models = [each.name for each in beside if each.suffix == ".gguf" or (each.is_dir() and _leads_to_model(each))]
    except (OSError, ValueError):
        return ""
    found = difflib.get_close_matches(path.name, models, n=3, cutoff=0.4 if near else 0.0)
    return f" (there is {list_names(found)})" if found else ""


def is_pointer(path: Path) -> bool:
    """Return whether a file is a pointer of Git LFS."""
    return starts_with(path, _LFS)


def starts_with(path: Path, start: bytes) -> bool:
    """Return whether a file can be read and begins with these bytes."""
    try:
        with path.open("rb") as stream:
            return stream.read(len(start)) == start
    except OSError:
        return False


def _leads_to_model(folder: Path) -> bool:
    return holds_model(folder) or (folder / "snapshots").is_dir()


def _snapshot(folder: Path) -> Path | None:
    """Return the newest snapshot of a model's folder in the Hugging Face cache; None for any other folder.

    Raises:
        ModelError: nothing, or several versions without a main one were downloaded.
    """
    if not _CACHED.fullmatch(folder.resolve().name) or not (folder / "snapshots").is_dir():
        return None
    snapshots = sorted(path for path in (folder / "snapshots").iterdir() if path.is_dir() and holds_model(path))
    try:
        main = folder / "snapshots" / (folder / "refs" / "main").read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        main = None
    if main in snapshots or len(snapshots) == 1:
        return main if main in snapshots else snapshots[0]
    if snapshots:
        raise ModelError(
            f"folder {quote(folder)} holds {len(snapshots)} versions of a model: give one of them, "
            f"{list_names(path.relative_to(folder) for path in snapshots)}"
        )
    raise ModelError(f"folder {quote(folder)} of the Hugging Face cache holds no downloaded model: download it again")


def _no_model(folder: Path, *, hides_hub: bool) -> str:
    start = f"folder {quote(folder)} holds no model (no config.json)"
    if any(folder.glob("consolidated*")):
        return f"{start} in Hugging Face format: convert it by the script of transformers for its family, or {HINT}"
    if found := models_beside(folder / "x", near=False):
        return f"{start}{found}: give one of those, or {HINT.removeprefix('give ')}"
    if hides_hub:
        return f"{start}, and hides the hub model of that name: rename or delete the folder, or fill it"
    return f"{start}: {HINT}"
