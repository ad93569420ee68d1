"""Read arrays of NumPy's `.npy` and `.npz` files with limits; nothing is unpickled."""

import io
import math
import zipfile
from typing import Any, BinaryIO, Final

import numpy as np
import torch
from torch import Tensor

from vectors.common.errors import VectorError
from vectors.common.validation import quote
from vectors.concepts.vector_file import MAX_BYTES
from vectors.formats.layer_shifts import MAX_ROWS

NPY: Final = ".npy"
_ZIP_ENTRY: Final = b"PK\x01\x02"  # signature of each entry in a zip archive's directory
_HEADERS: Final = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
_MAX_ARRAY_HEADER: Final = 4096


def read_npz(data: bytes) -> dict[str, Any]:
    """Return what the bytes of a `.npz` file hold by name: tensors, and single numbers and words as themselves.

    Raises:
        VectorError: a damaged archive, one that declares more than 64 MiB, or arrays of other values.
    """
    if data.count(_ZIP_ENTRY) > 2 * MAX_ROWS:
        raise VectorError(f"it says that it holds more than {MAX_ROWS} arrays: save those of the layers alone")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return _unpack(archive)
    except VectorError:
        raise
    except Exception as error:  # zipfile and zlib raise errors of many kinds on damaged archives
        raise VectorError(f"it is truncated, or no .npz file ({quote(error)}): save it with numpy.savez") from error


def read_npy(raw: bytes, key: str = "") -> Any:
    """Return the array in the bytes of a `.npy` file as a tensor; a single number or word as itself.

    The shape is compared with the number of bytes before anything is allocated.

    Raises:
        VectorError: a damaged file, Python objects, or values that are no numbers.
    """
    stream = io.BytesIO(raw)
    dtype, shape, fortran = read_npy_header(stream, key)
    body = raw[stream.tell() :]
    if shape == () and dtype.kind in "biufU" and dtype.itemsize == len(body) > 0:
        return np.frombuffer(body, dtype=dtype)[0].item()
    lists_layers = key.startswith("layer") and not any(character.isdigit() for character in key)
    if lists_layers and dtype.kind in "iu" and len(shape) == 1 and shape[0] * dtype.itemsize == len(body) > 0:
        return np.frombuffer(body, dtype=dtype)[:MAX_ROWS].tolist()
    if dtype.kind != "f" or dtype.itemsize > 8:
        what = "Python objects, which only pickle reads" if dtype.hasobject else f"{dtype}"
        raise VectorError(
            f"its array {quote(key)} holds {what}, expected floating-point numbers: save it with "
            "numpy.savez(..., a.astype('float32'))"
        )
    if not 0 < len(shape) <= 3 or min(shape) < 1 or math.prod(shape) * dtype.itemsize != len(body):
        raise VectorError(
            f"its array {quote(key)} is of shape {quote(shape)} in {len(body)} bytes, expected one row, d_model, or "
            "one row for each layer"
        )
    array = np.frombuffer(body, dtype=dtype).reshape(shape, order="F" if fortran else "C")
    return to_float32(array)


def to_float32(array: np.ndarray) -> Tensor:
    """Return an array of floating-point numbers as a tensor of its own, in float32."""
    with np.errstate(all="ignore"):  # values that are not finite are refused later, with a message of their own
        return torch.from_numpy(array.astype(np.float64, order="C")).float()


def read_npy_header(stream: BinaryIO | io.BufferedIOBase, key: str) -> tuple[np.dtype[Any], tuple[int, ...], bool]:
    """Return the dtype, the shape and whether columns come first; the stream is left at the first number.

    Raises:
        VectorError: no header that NumPy reads.
    """
    try:
        read = _HEADERS[np.lib.format.read_magic(stream)]
        shape, fortran, dtype = read(stream, max_header_size=_MAX_ARRAY_HEADER)
    except Exception as error:  # NumPy parses the header as Python, which fails in many ways
        raise VectorError(f"its array {quote(key)} has no header that NumPy reads: save it again") from error
    return dtype, shape, fortran


def _unpack(archive: zipfile.ZipFile) -> dict[str, Any]:
    members = archive.infolist()
    if (size := sum(member.file_size for member in members)) > MAX_BYTES:
        raise VectorError(f"it says that it unpacks to {size} bytes, expected {MAX_BYTES} at most")
    content: dict[str, Any] = {}
    for member in members:
        check_member(member)
        key = member.filename.removesuffix(NPY)
        if key in content:
            raise VectorError(f"it holds {quote(member.filename)} twice: save it with numpy.savez")
        with archive.open(member) as stream:
            raw = stream.read(member.file_size + 1)
        content[key] = read_npy(raw, key)
    return content


def check_member(member: zipfile.ZipInfo) -> None:
    """Refuse a member of an archive that NumPy does not write.

    Raises:
        VectorError: naming it.
    """
    packed = member.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
    if not member.filename.endswith(NPY) or not packed:
        raise VectorError(
            f"it holds {quote(member.filename)}, which is no array that numpy.savez packs: save it with numpy.savez"
        )
