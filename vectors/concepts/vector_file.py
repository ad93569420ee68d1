"""Save and load a concept vector as a safetensors file, never pickle."""

import io
import json
import re
from pathlib import Path
from typing import Any

import safetensors.torch

from vectors.common.errors import OutputError, SteerError, VectorError
from vectors.common.files import read_bytes, write_atomically
from vectors.common.paths import VECTOR_SUFFIX
from vectors.common.tensor_file import MAX_HEADER, read_header, read_tensors
from vectors.common.validation import check_number, list_names, quote
from vectors.concepts.vector import ConceptVector
from vectors.model.positions import Site

FORMAT = "steer-vector/1"
MAX_BYTES = 64 * 2**20  # enough for a row at each of a hundred layers of any real width
_TEXTS = ("name", "model", "model_hash", "method", "positions", "contrast_hash", "created")
_COUNTS = ("layer", "n_positive", "n_background")
_KEYS = ("format", *_TEXTS, *_COUNTS, "gap", "unit", "unit_curve", "auc")
_SPLIT = ("held_out", "split_seed")  # empty in vectors whose texts are unknown
_FIX = "give a file that `steer extract` or `vectors.save` wrote"


def save(vector: ConceptVector, path: str | Path, *, force: bool = False) -> Path:
    """Save a vector to a `.safetensors` file, atomically, and return the path.

    Raises:
        OutputError: the path has another suffix, exists (unless `force`), or cannot be written.
    """
    if not str(path).endswith(VECTOR_SUFFIX):
        raise OutputError(f"{quote(path)} does not end with {VECTOR_SUFFIX}: give the vector file that suffix")
    metadata = {key: str(getattr(vector, key)) for key in (*_TEXTS, *_COUNTS)}
    metadata["format"] = FORMAT
    for key in ("gap", "unit", "auc", *_SPLIT):
        value = getattr(vector, key)
        metadata[key] = "" if value is None else repr(value)
    metadata["unit_curve"] = json.dumps(vector.unit_curve, allow_nan=False)
    metadata["unit_judge"] = "" if vector.unit_judge is None else json.dumps(vector.unit_judge)
    metadata["evidence"] = json.dumps(dict(vector.evidence), allow_nan=False)
    metadata["passport"] = json.dumps(dict(vector.passport), allow_nan=False)
    rows = {f"direction.{vector.layer}": vector.direction, f"mean.{vector.layer}": vector.mean}
    for (layer, positions), row in vector.other_shifts.items():
        rows[f"further.{layer}" + (f".{positions}" if positions != vector.positions else "")] = row
    for (layer, positions), row in vector.away_shifts.items():
        rows[f"away.{layer}.{positions}"] = row
    data = safetensors.torch.save(rows, metadata)
    if int.from_bytes(data[:8], "little") > MAX_HEADER:
        raise OutputError(
            f"vector {quote(vector.name)} has more than {MAX_HEADER} bytes of metadata: shorten its unit_curve or "
            "its evidence"
        )
    return write_atomically(path, data, force=force)


def load_file(path: str | Path) -> ConceptVector:
    """Load a vector from a file and check it.

    Raises:
        VectorError: the file is missing, truncated, corrupt or of another format, or a field is unusable.
    """
    data = read_bytes(path, "a vector file (.safetensors)", limit=MAX_BYTES, error=VectorError)
    try:
        return parse(data)
    except SteerError as error:
        raise VectorError(f"{quote(path)} is not a usable vector file: {error}") from error


def is_ours(path: str | Path) -> bool:
    """Whether the metadata of a file say that it is a vector file; False for any other readable file."""
    data = read_bytes(path, "a vector file (.safetensors)", limit=MAX_BYTES, error=VectorError)
    try:
        return bool(read_header(io.BytesIO(data))["__metadata__"]["format"] == FORMAT)
    except (VectorError, KeyError, TypeError):
        return False


def parse(data: bytes) -> ConceptVector:
    """Return the vector of the bytes of a file.

    Raises:
        VectorError: a field is unusable.
        InputError: a name that cannot name a file.
    """
    try:
        tensors, metadata = read_tensors(data)
    except VectorError as error:
        raise VectorError(f"{error}; save or export it again") from error
    missing = [key for key in _KEYS if key not in metadata]
    if missing:
        raise VectorError(f"its metadata lack {', '.join(missing)}: {_FIX}")
    if metadata["format"] != FORMAT:
        raise VectorError(f"its format is {quote(metadata['format'])}, expected {FORMAT}: {_FIX}")
    counts = {key: _count(metadata[key], key) for key in _COUNTS}
    expected = [f"direction.{counts['layer']}", f"mean.{counts['layer']}"]
    further, away = (
        {name: _site(name, prefix, metadata["positions"]) for name in tensors if name.startswith(prefix)}
        for prefix in ("further.", "away.")
    )
    if sorted({*tensors} - {*further, *away}) != expected:
        names = list_names(sorted(tensors))
        raise VectorError(f"it holds the tensors {names}, expected {' and '.join(expected)}; save or export it again")
    dtypes = {str(row.dtype) for row in tensors.values()}
    if dtypes != {"torch.float32"}:
        raise VectorError(f"its tensors are {' and '.join(sorted(dtypes))}, expected torch.float32; save it again")
    gap = _number(metadata["gap"], "gap")
    if gap is None:
        raise VectorError("its gap is empty, expected a number; extract it again")
    fields: dict[str, Any] = {key: metadata[key] for key in _TEXTS} | counts
    return ConceptVector(
        **fields,
        direction=tensors[expected[0]],
        mean=tensors[expected[1]],
        gap=gap,
        unit=_number(metadata["unit"], "unit"),
        unit_curve=_curve(metadata["unit_curve"]),
        unit_judge=_json(metadata.get("unit_judge", ""), "unit_judge", empty=None),
        evidence=_json(metadata.get("evidence", ""), "evidence", empty={}),
        passport=_json(metadata.get("passport", ""), "passport", empty={}),
        other_shifts={site: tensors[name] for name, site in further.items()},
        away_shifts={site: tensors[name] for name, site in away.items()},
        auc=_number(metadata["auc"], "auc"),
        held_out=_number(metadata.get("held_out", ""), "held_out"),
        split_seed=_seed(metadata.get("split_seed", "")),
    )


def _count(text: str, what: str) -> int:
    if not re.fullmatch(r"0|[1-9][0-9]{0,8}", text):
        raise VectorError(f"its {what} is {quote(text)}, expected a whole number; extract it again")
    return int(text)


def _site(name: str, prefix: str, positions: str) -> Site:
    """Return the site of a tensor `further.LAYER` or `further.LAYER.POSITIONS`, or of one of another prefix."""
    layer, _, other = name.removeprefix(prefix).partition(".")
    return _count(layer, "layer"), other or positions


def _seed(text: str) -> int | None:
    if not text:
        return None
    if not re.fullmatch(r"0|[1-9][0-9]{0,39}", text):
        raise VectorError(f"its split_seed is {quote(text)}, expected a whole number; extract it again")
    return int(text)


def _number(text: str, what: str) -> float | None:
    if not text:
        return None
    try:
        return check_number(float(text), what, error=VectorError)
    except ValueError as error:
        raise VectorError(f"its {what} is {quote(text)}, expected a number; extract it again") from error


def _curve(text: str) -> tuple[dict[str, Any], ...]:
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise VectorError("its unit_curve is not JSON; extract it again") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise VectorError("its unit_curve is not a list of plain JSON objects; extract it again")
    return tuple(rows)


def _json(text: str, what: str, *, empty: Any) -> Any:
    if not text:
        return empty
    try:
        return json.loads(text)  # ConceptVector checks the value
    except (ValueError, RecursionError) as error:
        raise VectorError(f"its {what} is not JSON; extract it again") from error
