"""Read and write shifts by layer as plain arrays: safetensors, as steering-lite writes it, and NumPy's `.npz`."""

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
from vectors.formats.layer_shifts import MAX_ROWS, LayerShifts
from vectors.model.positions import check_positions

SAFETENSORS, NPZ, NPY = ".safetensors", ".npz", ".npy"
FORMAT = "steer-shifts/1"
_ADDITIVE = ("mean_diff", "pca", "random")  # the methods of steering-lite that add `coeff` times the row
_FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
_ZIP_ENTRY = b"PK\x01\x02"  # signature of each entry in a zip archive's directory
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
_MAX_ARRAY_HEADER = 4096


def write_arrays(
    path: str | Path, deltas: Mapping[int, Tensor], *, positions: str = "all", name: str = "", force: bool = False
) -> Path:
    """Write shifts by layer as float32 rows `layers.N` in one step, and return the path.

    Args:
        path: ends with `.safetensors`, where positions and name are metadata, or with `.npz`, where the positions are
            another array.
        deltas: the shift of each block's output, by 0-based block, "d_model" each.
        positions: where the shifts are added.
        name: of the vector, written to the metadata.
        force: replace an existing file.

    Raises:
        OutputError: another ending, no shifts, or a path that cannot be written.
    """
    if not str(path).endswith((SAFETENSORS, NPZ)):
        raise OutputError(f"{quote(path)} ends neither with {SAFETENSORS} nor with {NPZ}: give it either ending")
    if not deltas:
        raise OutputError("there is no shift to write: give one for at least one layer")
    rows = {f"layers.{layer}": deltas[layer].detach().cpu().float().contiguous() for layer in sorted(deltas)}
    if str(path).endswith(SAFETENSORS):
        data = safetensors.torch.save(rows, {"format": FORMAT, "positions": positions, "name": name})
    else:
        stream = io.BytesIO()
        arrays: dict[str, Any] = {key: row.numpy() for key, row in rows.items()}
        np.savez(stream, **arrays, positions=np.array(positions))
        data = stream.getvalue()
    return write_atomically(path, data, force=force)


def read_arrays(path: str | Path, *, layer: int | None = None, n_layers: int) -> LayerShifts:
    """Return the shifts of a `.safetensors`, `.npz` or `.npy` file.

    Either each array is a row, "d_model", with its layer in its name, or one array has a row for each layer of the
    model, "n_layers d_model". Nothing is unpickled, and archives that declare more than 64 MiB are not unpacked.

    Args:
        path: the file.
        layer: the layer of a row whose name has none; of several rows, the one to read.
        n_layers: number of layers of the model.

    Raises:
        VectorError: a file that is missing, corrupt or too large, arrays of other shapes or of objects, names without
            a layer, or a steering-lite file whose method does not add its rows.
    """
    ending = next((suffix for suffix in (SAFETENSORS, NPZ, NPY) if str(path).endswith(suffix)), "")
    data = read_bytes(path, "a file of rows by layer (.safetensors, .npz, .npy)", limit=MAX_BYTES, error=VectorError)
    try:
        if ending == SAFETENSORS:
            arrays, metadata = _from_safetensors(data)
        else:
            arrays, metadata = _from_npz(data) if ending == NPZ else ({"": _from_npy(data, "")}, {})
        method, factor = _method(metadata, ending)
        rows = _rows(arrays, layer, n_layers)
        positions = check_positions(metadata.get("positions", "all"))
        return LayerShifts({layer: row.float() * factor for layer, row in rows.items()}, method, positions)
    except SteerError as error:
        raise VectorError(f"{quote(path)} holds no usable rows by layer: {error}") from error


def _rows(arrays: dict[str, Tensor], layer: int | None, n_layers: int) -> dict[int, Tensor]:
    """Return the row of each layer; with `layer`, of that one only."""
    if not 0 < len(arrays) <= MAX_ROWS:
        raise VectorError(f"it holds {len(arrays)} arrays, expected 1 to {MAX_ROWS}")
    for key, array in arrays.items():
        if array.dtype not in _FLOATS:
            raise VectorError(f"its array {quote(key)} is of {array.dtype}, expected floating-point numbers")
    rows = _single_array(arrays, layer, n_layers) if len(arrays) == 1 else _named_arrays(arrays)
    if layer is not None:
        if layer not in rows:
            raise VectorError(f"it holds no row for layer {layer}, but for {quote(', '.join(map(str, sorted(rows))))}")
        rows = {layer: rows[layer]}
    for block, row in rows.items():
        if row.ndim != 1:
            raise VectorError(
                f"its array for layer {block} has shape {tuple(row.shape)}, expected one dimension, d_model"
            )
    return rows


def _single_array(arrays: dict[str, Tensor], layer: int | None, n_layers: int) -> dict[int, Tensor]:
    ((key, array),) = arrays.items()
    if array.ndim == 2 and len(array) == 1:
        array = array[0]
    if array.ndim != 2:
        return {_layer_of(key) if layer is None else layer: array}
    if len(array) != n_layers:
        raise VectorError(
            f"it holds {len(array)} rows, and the model has {n_layers} layers: give one row for each layer, the "
            "first for block 0 (leave that of the embeddings out)"
        )
    return dict(enumerate(array))


def _named_arrays(arrays: dict[str, Tensor]) -> dict[int, Tensor]:
    rows: dict[int, Tensor] = {}
    for key, row in arrays.items():
        block = _layer_of(key)
        if block in rows:
            raise VectorError(f"two of its arrays are for layer {block}: leave one out")
        rows[block] = row
    return rows


def _layer_of(key: str) -> int:
    try:
        return layer_of(key)
    except VectorError as error:
        raise VectorError(f"{error}, or say its layer with --layer (layer=...) if it is the only row") from error


def _method(metadata: Mapping[str, str], ending: str) -> tuple[str, float]:
    """Return the extraction method and the factor of the rows; steering-lite writes both as JSON."""
    if "cfg" not in metadata:
        return ending.removeprefix("."), 1.0
    try:
        cfg = json.loads(metadata["cfg"])
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


def _from_safetensors(data: bytes) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        return read_tensors(data)
    except VectorError as error:
        raise VectorError(f"{error}: save it again") from error


def _from_npz(data: bytes) -> tuple[dict[str, Tensor], dict[str, str]]:
    if data.count(_ZIP_ENTRY) > 2 * MAX_ROWS:
        raise VectorError(f"it says that it holds more than {MAX_ROWS} arrays: save those of the layers alone")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return _unpack(archive)
    except VectorError:
        raise
    except Exception as error:  # zipfile and zlib raise errors of many kinds on damaged archives
        raise VectorError(f"it is truncated, or no .npz file ({quote(error)}): save it with numpy.savez") from error


def _unpack(archive: zipfile.ZipFile) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the arrays of a NumPy archive, and its positions as metadata."""
    members = archive.infolist()
    if (size := sum(member.file_size for member in members)) > MAX_BYTES:
        raise VectorError(f"it says that it unpacks to {size} bytes, expected {MAX_BYTES} at most")
    arrays: dict[str, Tensor] = {}
    metadata: dict[str, str] = {}
    for member in members:
        packed = member.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
        if not member.filename.endswith(NPY) or not packed:
            raise VectorError(
                f"it holds {quote(member.filename)}, which is no array that numpy.savez packs: save it with numpy.savez"
            )
        key = member.filename.removesuffix(NPY)
        if key in arrays or key in metadata:
            raise VectorError(f"it holds {quote(member.filename)} twice: save it with numpy.savez")
        with archive.open(member) as stream:
            raw = stream.read(member.file_size + 1)
        if key == "positions":
            metadata[key] = _word(raw)
        else:
            arrays[key] = _from_npy(raw, key)
    return arrays, metadata


def _from_npy(raw: bytes, key: str) -> Tensor:
    """Return an array of numbers; its shape is compared with the number of bytes before anything is allocated."""
    dtype, shape, fortran, body = _npy_header(raw, key)
    if dtype.kind != "f" or dtype.itemsize > 8:
        what = "Python objects, which only pickle reads" if dtype.hasobject else f"{dtype}"
        raise VectorError(
            f"its array {quote(key)} holds {what}, expected floating-point numbers: save it with "
            "numpy.savez(..., a.astype('float32'))"
        )
    if not 0 < len(shape) <= 2 or min(shape) < 1 or math.prod(shape) * dtype.itemsize != len(body):
        raise VectorError(
            f"its array {quote(key)} is of shape {quote(shape)} in {len(body)} bytes, expected one row, d_model, or "
            "one row for each layer"
        )
    array = np.frombuffer(body, dtype=dtype).reshape(shape, order="F" if fortran else "C")
    with np.errstate(all="ignore"):  # values that are not finite are refused later, with a message of their own
        return torch.from_numpy(array.astype(np.float64, order="C")).float()


def _word(raw: bytes) -> str:
    dtype, shape, _, body = _npy_header(raw, "positions")
    if dtype.kind != "U" or shape != () or not 0 < dtype.itemsize == len(body):
        raise VectorError("its array 'positions' is not one word: save it again")
    return str(np.frombuffer(body, dtype=dtype)[0])


def _npy_header(raw: bytes, key: str) -> tuple[np.dtype[Any], tuple[int, ...], bool, bytes]:
    stream = io.BytesIO(raw)
    try:
        read = _HEADERS[np.lib.format.read_magic(stream)]
        shape, fortran, dtype = read(stream, max_header_size=_MAX_ARRAY_HEADER)
    except Exception as error:  # NumPy parses the header as Python, which fails in many ways
        raise VectorError(f"its array {quote(key)} has no header that NumPy reads: save it again") from error
    return dtype, shape, fortran, raw[stream.tell() :]
