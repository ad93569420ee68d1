"""Vector files and the library folders: one safetensors file a concept, never pickle."""

import contextlib
import difflib
import json
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError

from vectors.checks import check_name, number, shown
from vectors.concept import ConceptVector, ModelLike, check_fits
from vectors.errors import InputError, OutputError, SteerError, VectorError
from vectors.files import read_bytes, write_atomically

FORMAT = "steer-vector/1"
SUFFIX = ".safetensors"
MAX_BYTES = 16 * 2**20  # two rows and a short header: far above any real width
MAX_HEADER = 2**20
_TEXTS = ("name", "model", "model_hash", "method", "positions", "contrast_hash", "created")
_COUNTS = ("layer", "n_positive", "n_background")
_KEYS = ("format", *_TEXTS, *_COUNTS, "gap", "unit", "unit_curve", "auc")
_SPLIT = ("held_out", "split_seed")  # vectors of unknown texts lack them
_MEND = "give a file that `steer extract` or `vectors.save` wrote"


def save(vector: ConceptVector, path: str | Path, *, force: bool = False) -> Path:
    """Write one vector to a `.safetensors` file, all or nothing, and return its path.

    Raises:
        OutputError: when the path ends otherwise, exists (unless `force`), or cannot be written.
    """
    if not str(path).endswith(SUFFIX):
        raise OutputError(f"{shown(path)} does not end with {SUFFIX}: give the vector file that ending")
    metadata = {key: str(getattr(vector, key)) for key in (*_TEXTS, *_COUNTS)}
    metadata["format"] = FORMAT
    for key in ("gap", "unit", "auc", *_SPLIT):
        value = getattr(vector, key)
        metadata[key] = "" if value is None else repr(value)
    metadata["unit_curve"] = json.dumps(vector.unit_curve, allow_nan=False)
    metadata["unit_judge"] = "" if vector.unit_judge is None else json.dumps(vector.unit_judge)
    rows = {f"direction.{vector.layer}": vector.direction, f"mean.{vector.layer}": vector.mean}
    data = safetensors.torch.save(rows, metadata)
    if int.from_bytes(data[:8], "little") > MAX_HEADER:
        raise OutputError(
            f"vector {shown(vector.name)} has more than {MAX_HEADER} bytes of metadata: shorten its unit_curve"
        )
    return write_atomically(path, data, force=force)


def load_file(path: str | Path) -> ConceptVector:
    """Read and check one vector file.

    Raises:
        VectorError: when the file is missing, truncated, corrupt, of another format, or holds values no vector may
            have.
    """
    data = read_bytes(path, "a vector file (.safetensors)", limit=MAX_BYTES, kind=VectorError)
    try:
        return _parse(data)
    except SteerError as error:
        raise VectorError(f"{shown(path)} is not a usable vector file: {error}") from error


def _parse(data: bytes) -> ConceptVector:
    header_length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or header_length > min(MAX_HEADER, len(data) - 8):
        raise VectorError("it is truncated, or no safetensors file; save or export it again")
    try:
        tensors = safetensors.torch.load(data)
        header = json.loads(data[8 : 8 + header_length])
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError, RecursionError) as error:
        raise VectorError(f"it is corrupt ({shown(error)}); save or export it again") from error
    metadata = header.get("__metadata__") or {}
    missing = [key for key in _KEYS if key not in metadata]
    if missing:
        raise VectorError(f"its metadata lack {', '.join(missing)}: {_MEND}")
    if metadata["format"] != FORMAT:
        raise VectorError(f"its format is {shown(metadata['format'])}, expected {FORMAT}: {_MEND}")
    counts = {key: _count(metadata[key], key) for key in _COUNTS}
    expected = [f"direction.{counts['layer']}", f"mean.{counts['layer']}"]
    if sorted(tensors) != expected:
        found = shown(", ".join(sorted(tensors)))
        raise VectorError(f"it holds the tensors {found}, expected {' and '.join(expected)}; save or export it again")
    kinds = {str(row.dtype) for row in tensors.values()}
    if kinds != {"torch.float32"}:
        raise VectorError(f"its tensors are {' and '.join(sorted(kinds))}, expected torch.float32; save it again")
    gap = _figure(metadata["gap"], "gap")
    if gap is None:
        raise VectorError("its gap is empty, expected a number; extract it again")
    plain: dict[str, Any] = {key: metadata[key] for key in _TEXTS} | counts
    return ConceptVector(
        **plain,
        direction=tensors[expected[0]],
        mean=tensors[expected[1]],
        gap=gap,
        unit=_figure(metadata["unit"], "unit"),
        unit_curve=_curve(metadata["unit_curve"]),
        unit_judge=_judge(metadata.get("unit_judge", "")),
        auc=_figure(metadata["auc"], "auc"),
        held_out=_figure(metadata.get("held_out", ""), "held_out"),
        split_seed=_seed(metadata.get("split_seed", "")),
    )


def _count(text: str, what: str) -> int:
    if not re.fullmatch(r"0|[1-9][0-9]{0,8}", text):
        raise VectorError(f"its {what} is {shown(text)}, expected a whole number; extract it again")
    return int(text)


def _seed(text: str) -> int | None:
    if not text:
        return None
    if not re.fullmatch(r"0|[1-9][0-9]{0,39}", text):
        raise VectorError(f"its split_seed is {shown(text)}, expected a whole number; extract it again")
    return int(text)


def _figure(text: str, what: str) -> float | None:
    if not text:
        return None
    try:
        return number(float(text), what, kind=VectorError)
    except ValueError as error:
        raise VectorError(f"its {what} is {shown(text)}, expected a number; extract it again") from error


def _curve(text: str) -> tuple[dict[str, Any], ...]:
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise VectorError("its unit_curve is not JSON; extract it again") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise VectorError("its unit_curve is not a list of plain JSON objects; extract it again")
    return tuple(rows)


def _judge(text: str) -> Any:
    if not text:
        return None
    try:
        return json.loads(text)  # which the vector checks
    except (ValueError, RecursionError) as error:
        raise VectorError("its unit_judge is not JSON; extract it again") from error


def home() -> Path:
    """Return the user's library: the folder `STEER_HOME`, else `~/.local/share/steer`."""
    try:
        return Path(os.environ.get("STEER_HOME") or "~/.local/share/steer").expanduser()
    except RuntimeError as error:
        raise InputError("the home folder is unknown: set STEER_HOME to the folder of your concepts") from error


def folder_of(name: str, digest: str) -> Path:
    """Return the user's folder for a model; of two names for the same weights, the first keeps the folder."""
    key = re.sub(r"[^A-Za-z0-9]", "", digest)[:8].lower()
    plain = Path(name).name if Path(name).is_absolute() or name.startswith(".") else name
    slug = re.sub(r"[^A-Za-z0-9._]+", "-", plain).strip("-.")[-60:].strip("-.") or "model"
    exact = home() / f"{slug}-{key}"
    others = [place for place in listed(home()) if place.name.endswith(f"-{key}") and place.is_dir()]
    return exact if exact in others or not others else others[0]


def listed(folder: Path) -> list[Path]:
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
            f"cannot list the library folder {shown(folder)}: make it readable or set STEER_HOME"
        ) from error


def _stems(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for place in listed(folder):
        if place.name.endswith(SUFFIX):
            # a stray file with an unusable name is not offered, so that it cannot spoil a listing
            with contextlib.suppress(InputError):
                found[check_name(place.name.removesuffix(SUFFIX))] = place
    return found


def keep(vector: ConceptVector, *, force: bool = False) -> Path:
    """Save a vector under its name in the user's library, in the folder of the model it was made for; return the path.

    Expressions find it there by its name.

    Raises:
        OutputError: when the library already holds that name (unless `force`) or cannot be written.
    """
    folder = writable_folder(vector.model, vector.model_hash)
    return save(vector, folder / f"{vector.name}{SUFFIX}", force=force)


def writable_folder(name: str, digest: str) -> Path:
    """Return the user's folder for a model, made and proven writable.

    Raises:
        OutputError: when it cannot be.
    """
    folder = folder_of(name, digest)
    reason = "you may not write there"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or str(error)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"cannot write to {shown(folder)} ({reason}): set STEER_HOME to a writable folder")
    return folder


def catalog(model: ModelLike) -> dict[str, Path]:
    """Return the file of every concept known for `model`, by name in order; the user's own shadow the shipped ones."""
    shipped = {} if model.library is None else _stems(model.library)
    return dict(sorted((shipped | _stems(folder_of(model.name, model.hash))).items()))


def names(model: ModelLike) -> list[str]:
    """Return the names of every concept known for `model`, in order."""
    return list(catalog(model))


def load(concept: str | Path, model: ModelLike) -> ConceptVector:
    """Return a concept by its name in the model's library, or from the path of a `.safetensors` file.

    A file that was renamed in the library answers to its file name.

    Raises:
        InputError: when nothing has that name (the nearest names are listed) or it is no valid name.
        VectorError: when the file is unusable or was made for another model.
    """
    text = str(concept)
    if text.endswith(SUFFIX):
        vector = load_file(concept)
    elif isinstance(concept, Path) or "/" in text or "\\" in text:
        raise InputError(
            f"{shown(text)} is no concept name (they hold no slash) and no path that ends with {SUFFIX}: give either"
        )
    else:
        name, known = check_name(text), catalog(model)
        if name not in known:
            raise InputError(_unknown(name, list(known), model))
        vector = load_file(known[name])
        vector = vector if vector.name == name else replace(vector, name=name)
    check_fits(vector, model)
    return vector


def _unknown(name: str, known: list[str], model: ModelLike) -> str:
    start = f"there is no concept {shown(name)} for model {shown(model.name)}"
    elsewhere = [place.name for place in listed(home()) if place.is_dir() and name in _stems(place)]
    if elsewhere:
        start += f" (there is one for {shown(', '.join(elsewhere))})"
    if not known:
        return f"{start}: its library is empty, make one with `steer extract`"
    by_fold = {other.casefold(): other for other in known}
    near = difflib.get_close_matches(name.casefold(), list(by_fold), n=5, cutoff=0.0)[:3]
    return f"{start}: the nearest are {', '.join(by_fold[fold] for fold in near)}; `steer ls` lists all"
