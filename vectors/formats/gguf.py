"""Read and write GGUF control vectors, as repeng writes them and llama.cpp reads them (`--control-vector`).

Tensor `direction.N` is added to the output of block N, counted from 0 like the layers here: llama.cpp adds it after the
second residual sum of block N (`build_cvec`), and repeng wraps the block itself. llama.cpp's buffers have no row for
block 0, and it refuses a file that has one; repeng writes and reads such files, and so they are read here.
"""

import struct
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vectors.common.errors import OutputError, VectorError
from vectors.common.files import read_bytes, write_atomically
from vectors.common.layer_ranges import LayerRanges, format_layers
from vectors.common.validation import quote
from vectors.concepts.vector_file import MAX_BYTES
from vectors.formats.layer_shifts import MAX_ROWS, LayerShifts
from vectors.formats.rows.meaning import check_meaning

SUFFIX = ".gguf"
ARCHITECTURE = "controlvector"
_MAGIC = b"GGUF"
_VERSION = 3
_ALIGNMENT = 32
_MAX_TEXT = 2**16
_UINT32, _STRING, _ARRAY = 4, 8, 9
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
# GGUF tensor types that are read
_FLOATS: dict[int, np.dtype[Any]] = {0: np.dtype("<f4"), 1: np.dtype("<f2"), 28: np.dtype("<f8")}


def write_gguf(
    path: str | Path,
    deltas: Mapping[int, Tensor],
    *,
    model_type: str,
    positions: str = "all",
    name: str = "",
    force: bool = False,
) -> Path:
    """Write shifts by layer to a control-vector file in one step, and return its path.

    Args:
        path: ends with `.gguf`.
        deltas: the shift of each block's output, by 0-based block, "d_model" each.
        model_type: family of the model, which readers may compare with their own.
        positions: where the shifts are added; the format only supports `all`.
        name: of the vector, written to the header.
        force: replace an existing file.

    Raises:
        OutputError: other positions, no shifts, a shift at layer 0, or a path that cannot be written.
    """
    if not str(path).endswith(SUFFIX):
        raise OutputError(f"{quote(path)} does not end with {SUFFIX}: give the control vector that ending")
    if positions != "all":
        raise OutputError(
            f"this point is added at positions {positions}, and readers of GGUF add a control vector at every "
            "position: extract its concepts with --positions all, or write a checkpoint"
        )
    if not deltas:
        raise OutputError("there is no shift to write: give one for at least one layer")
    if 0 in deltas:
        rest = [layer for layer in deltas if layer]
        mend = f"leave it out by --layers {format_layers(rest)} (layers=), or" if rest else "extract it at layer 1, or"
        raise OutputError(
            "this point shifts layer 0, and llama.cpp refuses a file with a row for it, direction.0: "
            f"{mend} write a .safetensors or .npz file, or a checkpoint"
        )
    rows = {
        f"direction.{layer}": deltas[layer].detach().cpu().float().numpy().astype("<f4") for layer in sorted(deltas)
    }
    entries: dict[str, str | int] = {
        "general.architecture": ARCHITECTURE,
        f"{ARCHITECTURE}.model_hint": model_type,
        f"{ARCHITECTURE}.layer_count": len(rows),
    }
    if name:
        entries["general.name"] = name
    head = _MAGIC + struct.pack("<IQQ", _VERSION, len(rows), len(entries))
    for key, value in entries.items():
        head += _encode(key) + (
            struct.pack("<I", _STRING) + _encode(value)
            if isinstance(value, str)
            else struct.pack("<II", _UINT32, value)
        )
    body = b""
    for tensor, row in rows.items():
        head += _encode(tensor) + struct.pack("<IQIQ", 1, len(row), 0, len(body))
        body += _pad(row.tobytes())
    return write_atomically(path, _pad(head) + body, force=force)


def read_gguf(path: str | Path, *, chosen: LayerRanges | None = None) -> LayerShifts:
    """Return the shifts of a control-vector file; with chosen layers, of these only.

    The rows are what a reader adds at strength 1. Sizes in the header are compared with the size of the file before
    anything is allocated.

    Raises:
        VectorError: a file that is missing, truncated, corrupt, larger than 64 MiB, of another format, whose tensors
            are not rows of floating-point numbers, that lacks a chosen layer, or whose header says that its vectors are
            not added to the residual stream.
    """
    data = read_bytes(path, "a control-vector file (.gguf)", limit=MAX_BYTES, error=VectorError)
    try:
        shifts = _parse(_Cursor(data))
        if chosen is None:
            return shifts
        layers = chosen.choose(shifts.rows, "it", error=VectorError)
        return replace(shifts, rows={layer: shifts.rows[layer] for layer in layers})
    except VectorError as error:
        raise VectorError(f"{quote(path)} is not a usable control-vector file: {error}") from error


class _Cursor:
    """Reads values one after the other from bytes; past their end it raises an error."""

    def __init__(self, data: bytes) -> None:
        self.data, self.offset = data, 0

    def take(self, size: int) -> bytes:
        if size > len(self.data) - self.offset:
            raise VectorError("it is truncated or corrupt: write or download it again")
        self.offset += size
        return self.data[self.offset - size : self.offset]

    def number(self, kind: str) -> Any:
        return struct.unpack(f"<{kind}", self.take(struct.calcsize(f"<{kind}")))[0]

    def text(self) -> str:
        size = self.number("Q")
        if size > _MAX_TEXT:
            raise VectorError(f"it holds a name or text of {size} bytes, expected {_MAX_TEXT} at most")
        try:
            return self.take(size).decode()
        except UnicodeDecodeError as error:
            raise VectorError("it holds a name or text that is not UTF-8: write it again") from error

    def value(self) -> Any:
        """Return one value of the header; arrays are skipped and give None."""
        kind = self.number("I")
        if kind == _STRING:
            return self.text()
        if kind in _SCALARS:
            return self.number(_SCALARS[kind])
        item, count = (self.number("I"), self.number("Q")) if kind == _ARRAY else (kind, 0)
        if item in _SCALARS:
            self.take(count * struct.calcsize(f"<{_SCALARS[item]}"))
        elif item == _STRING and count <= _MAX_TEXT:
            for _ in range(count):
                self.text()
        else:
            raise VectorError(f"its header has an array of {count} items of type {item}: no control vector has that")
        return None


def _parse(cursor: _Cursor) -> LayerShifts:
    if cursor.data[:4] != _MAGIC:
        raise VectorError("it does not begin as a GGUF file does: give one that `steer export` or repeng wrote")
    cursor.take(4)
    version, n_tensors, n_entries = cursor.number("I"), cursor.number("Q"), cursor.number("Q")
    if version not in (2, _VERSION):
        order = " (or of a machine of the other byte order)" if version & 0xFFFF == 0 else ""
        raise VectorError(f"it is of GGUF version {version}{order}, expected 2 or 3: write it again")
    if not 0 < n_tensors <= MAX_ROWS or n_entries > MAX_ROWS:
        raise VectorError(
            f"it says that it has {n_tensors} tensors and {n_entries} entries, expected 1 to {MAX_ROWS} of each"
        )
    entries: dict[str, Any] = {}
    for _ in range(n_entries):
        key = cursor.text()
        entries[key] = cursor.value()
    architecture = entries.get("general.architecture")
    if architecture != ARCHITECTURE:
        raise VectorError(
            f"its architecture is {quote(architecture)}, expected {quote(ARCHITECTURE)}: give a control vector, not a "
            "model"
        )
    own = {key: value for key, value in entries.items() if not key.startswith(("general.", "GGUF."))}
    notes = check_meaning(own)
    infos = []
    for _ in range(n_tensors):
        name, n_dims = cursor.text(), cursor.number("I")
        if n_dims != 1:
            raise VectorError(f"its tensor {quote(name)} has {n_dims} dimensions, expected one, d_model")
        infos.append((name, cursor.number("Q"), cursor.number("I"), cursor.number("Q")))
    alignment = entries.get("general.alignment", _ALIGNMENT)
    if type(alignment) is not int or not 0 < alignment <= _MAX_TEXT or alignment & (alignment - 1):
        raise VectorError(f"its alignment is {quote(alignment)}, expected a power of two")
    start = -(-cursor.offset // alignment) * alignment
    rows: dict[int, Tensor] = {}
    for name, width, kind, offset in infos:
        layer = _layer(name)
        if layer in rows:
            raise VectorError(f"it holds {quote(name)} twice: write it again")
        if kind not in _FLOATS:
            raise VectorError(f"its tensor {quote(name)} is of GGUF type {kind}, expected F32, F16 or F64")
        cursor.offset = min(start + offset, len(cursor.data))
        raw = np.frombuffer(cursor.take(width * _FLOATS[kind].itemsize), dtype=_FLOATS[kind])
        with np.errstate(all="ignore"):  # values that are not finite are refused later, with a message of their own
            rows[layer] = torch.from_numpy(raw.astype(np.float64)).float()
    hint = entries.get(f"{ARCHITECTURE}.model_hint")
    return LayerShifts(rows, "gguf", notes=tuple(notes), model=hint if isinstance(hint, str) else None)


def _layer(name: str) -> int:
    stem, _, number = name.partition(".")
    if stem != "direction" or not number.isascii() or not number.isdigit() or str(int(number[:9])) != number:
        raise VectorError(f"it holds a tensor {quote(name)}, expected direction.N with the number of a block")
    return int(number)


def _encode(text: str) -> bytes:
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw


def _pad(data: bytes) -> bytes:
    return data + bytes(-len(data) % _ALIGNMENT)
