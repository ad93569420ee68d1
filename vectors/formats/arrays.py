"""Rows by layer as plain arrays: safetensors files, as steering-lite and others write them, and NumPy's `.npz`."""

import io
import json
import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from vectors.common.errors import OutputError, SteerError, VectorError
from vectors.common.files import read_bytes, write_atomically
from vectors.common.tensor_file import read_tensors
from vectors.common.validation import check_number, quote
from vectors.concepts.vector_file import MAX_BYTES
from vectors.formats.layer_names import layer_of
from vectors.formats.layer_shifts import MAX_ROWS, Shifts
from vectors.model.positions import check_positions

SAFETENSORS, NPZ, NPY = ".safetensors", ".npz", ".npy"
FORMAT = "steer-shifts/1"
_ADDITIVE = ("mean_diff", "pca", "random")  # of steering-lite's methods, those that add `coeff` times the row
_FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
_ENTRY = b"PK\x01\x02"  # what stands before each file in a zip archive's list
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
_MAX_ARRAY_HEADER = 4096


def write_arrays(
    path: str | Path, deltas: Mapping[int, Tensor], *, positions: str = "all", name: str = "", force: bool = False
) -> Path:
    """Write shifts by layer as float32 rows `layers.N`, all or nothing, and return the path.

    Args:
        path: ends with `.safetensors`, where positions and name are metadata, or with `.npz`, where the positions are
            one more array.
        deltas: by 0-based block, what is added to its output, "d_model" each.
        positions: where the shifts belong.
        name: what the file says it holds.
        force: replace a file.

    Raises:
        OutputError: another ending, no shifts, or a place that cannot be written.
    """
    place = str(path)
    if not place.endswith((SAFETENSORS, NPZ)):
        raise OutputError(f"{quote(path)} ends neither with {SAFETENSORS} nor with {NPZ}: give it either ending")
    if not deltas:
        raise OutputError("there is no shift to write: give one for at least one layer")
    rows = {f"layers.{at}": deltas[at].detach().cpu().float().contiguous() for at in sorted(deltas)}
    if place.endswith(SAFETENSORS):
        data = safetensors.torch.save(rows, {"format": FORMAT, "positions": positions, "name": name})
    else:
        stream = io.BytesIO()
        arrays: dict[str, Any] = {key: row.numpy() for key, row in rows.items()}
        np.savez(stream, **arrays, positions=np.array(positions))
        data = stream.getvalue()
    return write_atomically(path, data, force=force)


def read_arrays(path: str | Path, *, layer: int | None = None, n_layers: int) -> Shifts:
    """Return what a `.safetensors`, `.npz` or `.npy` file adds by layer.

    Each array is a row, "d_model", whose name says its layer, or one array holds a row for each layer of the model,
    "n_layers d_model". Nothing is unpickled, and nothing is unpacked that says it is larger than 64 MiB in all.

    Args:
        path: the file.
        layer: where a row goes whose name says no layer; of several rows, the one to take.
        n_layers: of the model.

    Raises:
        VectorError: a file that is missing, corrupt or too large, arrays of other shapes or of objects, names that say
            no layer, or a file of steering-lite's whose method is not to add its rows.
    """
    ending = next((each for each in (SAFETENSORS, NPZ, NPY) if str(path).endswith(each)), "")
    data = read_bytes(path, "a file of rows by layer (.safetensors, .npz, .npy)", limit=MAX_BYTES, error=VectorError)
    try:
        if ending == SAFETENSORS:
            found, told = _tensors(data)
        else:
            found, told = _unpacked(data) if ending == NPZ else ({"": _array(data, "")}, {})
        return _shifts(found, told, layer, n_layers, ending)
    except SteerError as error:
        raise VectorError(f"{quote(path)} holds no usable rows by layer: {error}") from error


def _shifts(found: dict[str, Tensor], told: dict[str, str], layer: int | None, n_layers: int, ending: str) -> Shifts:
    if not 0 < len(found) <= MAX_ROWS:
        raise VectorError(f"it holds {len(found)} arrays, expected 1 to {MAX_ROWS}")
    if wrong := [key for key, row in found.items() if row.dtype not in _FLOATS]:
        raise VectorError(f"its array {quote(wrong[0])} is of {found[wrong[0]].dtype}, expected floating-point numbers")
    method, factor = _method(told, ending)
    rows: dict[int, Tensor] = {}
    if len(found) == 1:
        (key, only) = next(iter(found.items()))
        if only.ndim == 2 and len(only) == 1:
            only = only[0]
        if only.ndim == 2:
            if len(only) != n_layers:
                raise VectorError(
                    f"it holds {len(only)} rows, and the model has {n_layers} layers: give one row for each layer, the "
                    "first for block 0 (leave that of the embeddings out)"
                )
            rows = dict(enumerate(only))
        elif layer is not None:
            rows = {layer: only}
        else:
            rows = {_named(key): only}
    else:
        for key, row in found.items():
            at = _named(key)
            if at in rows:
                raise VectorError(f"two of its arrays are for layer {at}: leave one out")
            rows[at] = row
    if layer is not None:
        if layer not in rows:
            raise VectorError(f"it holds no row for layer {layer}, but for {quote(', '.join(map(str, sorted(rows))))}")
        rows = {layer: rows[layer]}
    for at, row in rows.items():
        if row.ndim != 1:
            raise VectorError(f"its array for layer {at} has shape {tuple(row.shape)}, expected one dimension, d_model")
    positions = check_positions(told.get("positions", "all"))
    return Shifts({at: row.float() * factor for at, row in rows.items()}, method, positions)


def _named(key: str) -> int:
    try:
        return layer_of(key)
    except VectorError as error:
        raise VectorError(f"{error}, or say its layer with --layer (layer=...) if it is the only row") from error


def _method(told: Mapping[str, str], ending: str) -> tuple[str, float]:
    """What found the rows, and what they are multiplied by; steering-lite writes both down as JSON."""
    plain = ending.removeprefix(".")
    if "cfg" not in told:
        return plain, 1.0
    try:
        cfg = json.loads(told["cfg"])
    except (ValueError, RecursionError) as error:
        raise VectorError("its metadata cfg is not JSON: save it again") from error
    if not isinstance(cfg, dict):
        raise VectorError("its metadata cfg is no JSON object: save it again")
    method, target = cfg.get("method"), cfg.get("target", "residual")
    if method not in _ADDITIVE or target != "residual" or cfg.get("target_submodule"):
        raise VectorError(
            f"its method is {quote(method)} at {quote(cfg.get('target_submodule') or target)}: only vectors that are "
            f"added to the residual stream can be used here ({', '.join(_ADDITIVE)})"
        )
    return str(method), check_number(cfg.get("coeff", 1.0), "its coeff", error=VectorError)


def _tensors(data: bytes) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        return read_tensors(data)
    except VectorError as error:
        raise VectorError(f"{error}: save it again") from error


def _unpacked(data: bytes) -> tuple[dict[str, Tensor], dict[str, str]]:
    if data.count(_ENTRY) > 2 * MAX_ROWS:
        raise VectorError(f"it says that it holds more than {MAX_ROWS} arrays: save those of the layers alone")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            if (size := sum(each.file_size for each in members)) > MAX_BYTES:
                raise VectorError(f"it says that it unpacks to {size} bytes, expected {MAX_BYTES} at most")
            found, told = {}, {}
            for each in members:
                if not each.filename.endswith(NPY) or each.compress_type not in (
                    zipfile.ZIP_STORED,
                    zipfile.ZIP_DEFLATED,
                ):
                    raise VectorError(
                        f"it holds {quote(each.filename)}, which is no array that numpy.savez packs: "
                        "save it with numpy.savez"
                    )
                key = each.filename.removesuffix(NPY)
                if key in found or key in told:
                    raise VectorError(f"it holds {quote(each.filename)} twice: save it with numpy.savez")
                with archive.open(each) as stream:
                    raw = stream.read(each.file_size + 1)
                if key == "positions":
                    told[key] = _word(raw)
                else:
                    found[key] = _array(raw, key)
    except VectorError:
        raise
    except Exception as error:  # zipfile and zlib raise errors of many kinds on damaged archives
        raise VectorError(f"it is truncated, or no .npz file ({quote(error)}): save it with numpy.savez") from error
    return found, told


def _array(raw: bytes, key: str) -> Tensor:
    """Return an array of numbers; what its header says is compared with what is there before anything is allocated."""
    kind, shape, fortran, body = _head(raw, key)
    if kind.kind != "f" or kind.itemsize > 8:
        what = "Python objects, which only pickle reads" if kind.hasobject else f"{kind}"
        raise VectorError(
            f"its array {quote(key)} holds {what}, expected floating-point numbers: save it with "
            "numpy.savez(..., a.astype('float32'))"
        )
    if not 0 < len(shape) <= 2 or min(shape) < 1 or math.prod(shape) * kind.itemsize != len(body):
        raise VectorError(
            f"its array {quote(key)} is of shape {quote(shape)} in {len(body)} bytes, expected one row, d_model, or "
            "one row for each layer"
        )
    array = np.frombuffer(body, dtype=kind).reshape(shape, order="F" if fortran else "C")
    with np.errstate(all="ignore"):  # what is not finite is refused with a sentence of its own
        return torch.from_numpy(array.astype(np.float64, order="C")).float()


def _word(raw: bytes) -> str:
    kind, shape, _, body = _head(raw, "positions")
    if kind.kind != "U" or shape != () or not 0 < kind.itemsize == len(body):
        raise VectorError("its array 'positions' is not one word: save it again")
    return str(np.frombuffer(body, dtype=kind)[0])


def _head(raw: bytes, key: str) -> tuple[np.dtype[Any], tuple[int, ...], bool, bytes]:
    stream = io.BytesIO(raw)
    try:
        read = _HEADERS[np.lib.format.read_magic(stream)]
        shape, fortran, kind = read(stream, max_header_size=_MAX_ARRAY_HEADER)
    except Exception as error:  # NumPy parses the header as Python, which fails in many ways
        raise VectorError(f"its array {quote(key)} has no header that NumPy reads: save it again") from error
    return kind, shape, fortran, raw[stream.tell() :]
