"""Read safetensors files, with limits: the header, all tensors, or the location of one tensor."""

import io
import json
import math
import os
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from vectors.common.errors import InputError, VectorError
from vectors.common.validation import check_integer, quote

MAX_HEADER: Final = 2**20
"""Default limit on the size of a header, in bytes."""

_FLOATS: Final = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "F64": torch.float64}


@dataclass(frozen=True)
class TensorEntry:
    """Location of a tensor in a safetensors file: its dtype, its shape, and the offset of its first byte."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    offset: int


def read_header(stream: BinaryIO, *, limit: int = MAX_HEADER) -> dict[str, Any]:
    """Return the header of a safetensors file, and leave the stream at the first byte after it.

    Raises:
        VectorError: a truncated file, or a header that is longer than `limit` bytes or no JSON object.
    """
    start = stream.read(8)
    length = int.from_bytes(start, "little")
    raw = stream.read(length) if length <= limit else b""
    if len(start) < 8 or len(raw) < length:
        raise VectorError("it is truncated, or no safetensors file")
    try:
        header = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise VectorError(f"it is corrupt ({quote(error)})") from error
    if not isinstance(header, dict):
        raise VectorError("it is corrupt (its header is no JSON object)")
    return header


def read_tensors(data: bytes, *, limit: int = MAX_HEADER) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors and the metadata of a safetensors file.

    Raises:
        VectorError: a truncated or corrupt file, or a header that is longer than `limit` bytes.

    >>> read_tensors(safetensors.torch.save({"direction.3": torch.ones(2)}, {"name": "cat"}))
    ({'direction.3': tensor([1., 1.])}, {'name': 'cat'})
    """
    header = read_header(io.BytesIO(data), limit=limit)
    try:
        tensors = safetensors.torch.load(data)
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise VectorError(f"it is corrupt ({quote(error)})") from error
    return tensors, header.get("__metadata__") or {}


def locate_tensor(stream: BinaryIO, name: str) -> TensorEntry:
    """Return the location of a floating-point tensor in a safetensors file, without reading the tensor.

    Raises:
        VectorError: a truncated or corrupt file, no tensor of that name, or one of another dtype.
    """
    header = read_header(stream)
    start = stream.tell()
    size = stream.seek(0, os.SEEK_END) - start
    try:
        kind, shape, (first, end) = (header[name][key] for key in ("dtype", "shape", "data_offsets"))
        shape = tuple(check_integer(length, "shape") for length in shape)
        first, end = check_integer(first, "start"), check_integer(end, "end", high=size)
    except (ValueError, KeyError, TypeError, InputError) as error:
        raise VectorError(f"it is truncated, or holds no tensor {name}") from error
    if not isinstance(kind, str) or kind not in _FLOATS:
        raise VectorError(f"its tensor {name} is of {quote(kind)}, expected one of {', '.join(_FLOATS)}")
    if end - first != math.prod(shape) * _FLOATS[kind].itemsize:
        raise VectorError(f"it is corrupt (the bytes of its tensor {name} do not match its shape)")
    return TensorEntry(_FLOATS[kind], shape, start + first)
