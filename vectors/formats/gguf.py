"""Control vectors in GGUF, as repeng writes them and llama.cpp reads them (`--control-vector`).

Tensor `direction.N` is added to the output of block N, counted from 0, which is what a layer is here: llama.cpp's
graphs add it behind the second residual sum of block N (`build_cvec`), and repeng wraps the block itself. llama.cpp has
no row for block 0, whose place in its buffers does not exist, and refuses a file that names it.
"""

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vectors.common.errors import OutputError, VectorError
from vectors.common.files import read_bytes, write_atomically
from vectors.common.validation import quote
from vectors.concepts.vector_file import MAX_BYTES
from vectors.formats.layer_shifts import MAX_ROWS, Shifts

SUFFIX = ".gguf"
ARCHITECTURE = "controlvector"
_MAGIC = b"GGUF"
_VERSION = 3
_ALIGNMENT = 32
_MAX_TEXT = 2**16
_UINT32, _STRING, _ARRAY = 4, 8, 9
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
# types of tensors that rows may have
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
    """Write shifts by layer to a control-vector file, all or nothing, and return its path.

    Args:
        path: ends with `.gguf`.
        deltas: by 0-based block, what is added to its output, "d_model" each.
        model_type: which the readers compare with their model's.
        positions: where the shifts belong: all that llama.cpp and repeng know is every position.
        name: what the file says it holds.
        force: replace a file.

    Raises:
        OutputError: shifts that belong elsewhere than everywhere, a shift at layer 0, or a place that cannot be
            written.
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
        raise OutputError(
            "this point shifts layer 0, and llama.cpp reads control vectors from layer 1 on: extract its concepts at "
            "layer 1 or above, or write a checkpoint"
        )
    rows = {f"direction.{at}": deltas[at].detach().cpu().float().numpy().astype("<f4") for at in sorted(deltas)}
    told: dict[str, str | int] = {
        "general.architecture": ARCHITECTURE,
        f"{ARCHITECTURE}.model_hint": model_type,
        f"{ARCHITECTURE}.layer_count": len(rows),
    }
    if name:
        told["general.name"] = name
    head = _MAGIC + struct.pack("<IQQ", _VERSION, len(rows), len(told))
    for key, value in told.items():
        head += _text(key) + (
            struct.pack("<I", _STRING) + _text(value) if isinstance(value, str) else struct.pack("<II", _UINT32, value)
        )
    body = b""
    for tensor, row in rows.items():
        head += _text(tensor) + struct.pack("<IQIQ", 1, len(row), 0, len(body))
        body += _padded(row.tobytes())
    return write_atomically(path, _padded(head) + body, force=force)


def read_gguf(path: str | Path) -> tuple[Shifts, str | None]:
    """Return what a control-vector file adds by layer, and what model it says it is for.

    Rows are what a reader adds at strength 1, whatever their lengths. Nothing is allocated or counted through that the
    file is too short to hold.

    Raises:
        VectorError: a file that is missing, cut short, corrupt, larger than 64 MiB, of another kind, or whose tensors
            are no rows of floating-point numbers.
    """
    data = read_bytes(path, "a control-vector file (.gguf)", limit=MAX_BYTES, error=VectorError)
    try:
        return _parsed(_Cursor(data))
    except VectorError as error:
        raise VectorError(f"{quote(path)} is not a usable control-vector file: {error}") from error


class _Cursor:
    """Reads forward through bytes, and never past their end."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, size: int) -> bytes:
        if size > len(self.data) - self.at:
            raise VectorError("it is truncated or corrupt: write or download it again")
        self.at += size
        return self.data[self.at - size : self.at]

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
        """Return one entry of the header's; of an array, nothing."""
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
            raise VectorError(f"its header holds an entry of kind {item}, {count} times: that is no control vector's")
        return None


def _parsed(cursor: _Cursor) -> tuple[Shifts, str | None]:
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
    told: dict[str, Any] = {}
    for _ in range(n_entries):
        key = cursor.text()
        told[key] = cursor.value()
    architecture = told.get("general.architecture")
    if architecture != ARCHITECTURE:
        raise VectorError(
            f"its architecture is {quote(architecture)}, expected {quote(ARCHITECTURE)}: give a control vector, not a "
            "model"
        )
    infos = []
    for _ in range(n_tensors):
        name, n_dims = cursor.text(), cursor.number("I")
        if n_dims != 1:
            raise VectorError(f"its tensor {quote(name)} has {n_dims} dimensions, expected one, d_model")
        infos.append((name, cursor.number("Q"), cursor.number("I"), cursor.number("Q")))
    alignment = told.get("general.alignment", _ALIGNMENT)
    if type(alignment) is not int or not 0 < alignment <= _MAX_TEXT or alignment & (alignment - 1):
        raise VectorError(f"its alignment is {quote(alignment)}, expected a power of two")
    start = -(-cursor.at // alignment) * alignment
    rows: dict[int, Tensor] = {}
    for name, width, kind, offset in infos:
        layer = _layer(name)
        if layer in rows:
            raise VectorError(f"it holds {quote(name)} twice: write it again")
        if kind not in _FLOATS:
            raise VectorError(f"its tensor {quote(name)} is of GGUF type {kind}, expected F32, F16 or F64")
        cursor.at = min(start + offset, len(cursor.data))
        raw = np.frombuffer(cursor.take(width * _FLOATS[kind].itemsize), dtype=_FLOATS[kind])
        with np.errstate(all="ignore"):  # what is not finite is refused with a sentence of its own
            rows[layer] = torch.from_numpy(raw.astype(np.float64)).float()
    hint = told.get(f"{ARCHITECTURE}.model_hint")
    return Shifts(rows, method="gguf"), hint if isinstance(hint, str) else None


def _layer(name: str) -> int:
    stem, _, number = name.partition(".")
    if stem != "direction" or not number.isascii() or not number.isdigit() or str(int(number[:9])) != number:
        raise VectorError(f"it holds a tensor {quote(name)}, expected direction.N with the number of a block")
    return int(number)


def _text(text: str) -> bytes:
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % _ALIGNMENT)
