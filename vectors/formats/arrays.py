"""Read and write shifts by layer as plain arrays: safetensors, as steering-lite writes it, and NumPy's `.npz`."""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
from torch import Tensor

from vectors.common.errors import OutputError, SteerError, VectorError
from vectors.common.files import read_bytes, write_atomically
from vectors.common.layer_ranges import LayerRanges, parse_layers
from vectors.common.tensor_file import read_tensors
from vectors.common.validation import check_number, quote
from vectors.concepts.vector_file import MAX_BYTES
from vectors.formats.layer_shifts import LayerShifts
from vectors.formats.rows.containers import rows_in
from vectors.formats.rows.npy import read_npy, read_npz
from vectors.model.positions import check_positions

SAFETENSORS, NPZ, NPY = ".safetensors", ".npz", ".npy"
FORMAT = "steer-shifts/1"
_ADDITIVE = ("mean_diff", "pca", "random")  # the methods of steering-lite that add `coeff` times the row


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


def read_arrays(
    path: str | Path, *, layer: LayerRanges | int | None = None, n_layers: int, named: int | None = None
) -> LayerShifts:
    """Return the shifts of a `.safetensors`, `.npz` or `.npy` file.

    The arrays are rows, "d_model", with their layers in their names, or one array has a row for each layer of the
    model; `vectors.formats.rows.containers` lists all shapes. Nothing is unpickled, and archives that declare more
    than 64 MiB are not unpacked.

    Args:
        path: the file.
        layer: the layer of a row whose name has none; of several rows, those to read.
        n_layers: number of layers of the model.
        named: the layer that the name of the file says, if any.

    Raises:
        VectorError: a file that is missing, corrupt or too large, arrays of other shapes or of objects, names without
            a layer, or vectors that are not meant to be added to the residual stream.
    """
    ending = Path(path).suffix.lower()
    data = read_bytes(path, "a file of rows by layer (.safetensors, .npz, .npy)", limit=MAX_BYTES, error=VectorError)
    try:
        if ending == SAFETENSORS:
            arrays, metadata = _from_safetensors(data)
            content: Any = {key: text for key, text in metadata.items() if key != "cfg"} | dict(arrays)
        else:
            content, metadata = read_npz(data) if ending == NPZ else read_npy(data), {}
        positions = content.pop("positions", "all") if isinstance(content, dict) else "all"
        method, factor = _method(metadata, ending)
        chosen = None if layer is None else parse_layers(layer)
        rows = rows_in(content, n_layers=n_layers, chosen=chosen, named=named)
        if not isinstance(positions, str):
            raise VectorError("its array 'positions' is not one word: save it again")
        shifts = {block: row.float() * factor for block, row in rows.by_layer.items()}
        return LayerShifts(shifts, method, check_positions(positions), rows.notes, rows.model)
    except SteerError as error:
        raise VectorError(f"{quote(path)} holds no usable rows by layer: {error}") from error


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
