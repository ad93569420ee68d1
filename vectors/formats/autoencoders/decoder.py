"""Read one feature of a decoder from a file of weights, and nothing else where the format allows it."""

import zipfile
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
import torch
from torch import Tensor

from vectors.common.errors import InputError, VectorError
from vectors.common.files import check_no_pointer
from vectors.common.tensor_file import TensorEntry, locate_tensor, read_header
from vectors.common.validation import check_integer, list_names, quote
from vectors.formats.rows.npy import check_member, read_npy_header, to_float32
from vectors.formats.rows.torch_file import load_tensors

ROWS: Final = ("W_dec", "w_dec", "W_D", "dictionary")
"""Names of decoders that have a row for each feature, "features d_model"."""

COLUMNS: Final = ("decoder.weight", "decoder_linear.weight")
"""Names of decoders that have a column for each feature, "d_model features"."""

SKIPS: Final = ("W_skip", "affine_skip_connection")
"""Names of weights that only transcoders have."""

_STEP: Final = 2**20
_MAX_UNPACKED: Final = 2**34


def read_feature(path: Path, row: int, *, d_model: int) -> tuple[Tensor, set[str]]:
    """Return the decoder's vector of a feature, float32, and the names of all weights in the file.

    Args:
        path: a `.safetensors`, `.npz` or torch file.
        row: 0-based index of the feature.
        d_model: width of the model.

    Raises:
        InputError: a feature that the decoder does not have.
        VectorError: a file that is missing or damaged, without a decoder, or with one of another width.
    """
    read = {".safetensors": _from_safetensors, ".npz": _from_npz}.get(path.suffix.lower(), _from_torch)
    try:
        with path.open("rb") as stream:
            check_no_pointer(stream.read(64), path, VectorError)
        vector, names = read(path, row, d_model)
    except OSError as error:
        raise VectorError(f"cannot read {quote(path)} ({error.strerror}): give a folder with its weights") from error
    return vector, names


def _decoder_name(names: set[str]) -> str:
    found = [name for name in (*ROWS, *COLUMNS) if name in names]
    if not found:
        raise VectorError(
            f"it holds no tensor {ROWS[0]} and no {COLUMNS[0]}, but {list_names(sorted(names)) or 'nothing'}: give the "
            "weights of a sparse autoencoder with its decoder"
        )
    return found[0]


def _checked(shape: tuple[int, ...], name: str, row: int, d_model: int) -> tuple[int, int]:
    """Return the index of a feature, and the number of features, after a check of the decoder's shape."""
    by_row = name in ROWS
    width = shape[1 if by_row else 0] if len(shape) == 2 else 0
    if len(shape) != 2 or min(shape) < 1 or width != d_model:
        expected = f"(features, {d_model})" if by_row else f"({d_model}, features)"
        raise VectorError(
            f"its {name} has shape {quote(shape)}, expected {expected}: it was made for another model or another point"
        )
    features = shape[0] if by_row else shape[1]
    try:
        return check_integer(row, "row", high=features - 1), features
    except InputError as error:
        raise InputError(f"row is {quote(row)}: this autoencoder has the features 0 to {features - 1}") from error


def _from_safetensors(path: Path, row: int, d_model: int) -> tuple[Tensor, set[str]]:
    """Seek to the numbers: safetensors' own slices map the whole file into memory."""
    try:
        with path.open("rb") as stream:
            names = {name for name in read_header(stream) if name != "__metadata__"}
            stream.seek(0)
            name = _decoder_name(names)
            decoder = locate_tensor(stream, name)
            chosen, features = _checked(decoder.shape, name, row, d_model)
            stride = features if name in COLUMNS else 1
            start = chosen if name in COLUMNS else chosen * d_model
            return _strided(stream, decoder, start, stride, d_model), names
    except VectorError as error:
        raise VectorError(f"{path.name}: {error}") from error


def _strided(stream: BinaryIO, decoder: TensorEntry, start: int, stride: int, count: int) -> Tensor:
    """Read `count` numbers that are `stride` apart."""
    size = decoder.dtype.itemsize
    if stride == 1:
        stream.seek(decoder.offset + start * size)
        raw = bytearray(stream.read(count * size))
    else:
        raw = bytearray()
        for index in range(count):
            stream.seek(decoder.offset + (start + index * stride) * size)
            raw += stream.read(size)
    if len(raw) != count * size:
        raise VectorError("it is truncated: download it again")
    return torch.frombuffer(raw, dtype=decoder.dtype).float()


def _from_npz(path: Path, row: int, d_model: int) -> tuple[Tensor, set[str]]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = {name.removesuffix(".npy") for name in archive.namelist()}
            name = _decoder_name(names)
            member = archive.getinfo(f"{name}.npy")
            check_member(member)
            if member.compress_type != zipfile.ZIP_STORED and member.file_size > _MAX_UNPACKED:
                raise VectorError(
                    f"its {name} says that it unpacks to {member.file_size} bytes: save it with numpy.savez"
                )
            with archive.open(member) as stream:
                return _from_npy(stream, member.file_size, name, row, d_model), names
    except (VectorError, InputError):
        raise
    except Exception as error:  # zipfile and zlib raise errors of many kinds on damaged archives
        raise VectorError(f"{path.name} is truncated, or no .npz file ({quote(error)}): download it again") from error


def _from_npy(stream: Any, size: int, name: str, row: int, d_model: int) -> Tensor:
    dtype, shape, fortran = read_npy_header(stream, name)
    if dtype.kind != "f" or dtype.itemsize > 8:
        raise VectorError(f"its {name} holds {dtype}, expected floating-point numbers")
    chosen, features = _checked(shape, name, row, d_model)
    if size - stream.tell() != features * d_model * dtype.itemsize:
        raise VectorError(f"the bytes of its {name} do not match its shape: download it again")
    together = (name in ROWS) != fortran  # whether the numbers of a feature lie beside each other
    numbers = np.empty(d_model, dtype)
    start = stream.tell()
    if together:
        raw = _read_at(stream, start + chosen * d_model * dtype.itemsize, d_model * dtype.itemsize)
        numbers[:] = np.frombuffer(raw, dtype)
    else:
        for index in range(d_model):
            raw = _read_at(stream, start + (index * features + chosen) * dtype.itemsize, dtype.itemsize)
            numbers[index] = np.frombuffer(raw, dtype)[0]
    return to_float32(numbers)


def _read_at(stream: Any, offset: int, size: int) -> bytes:
    stream.seek(offset)
    raw: bytes = stream.read(size)
    if len(raw) != size:
        raise VectorError("it is truncated: download it again")
    return raw


def _from_torch(path: Path, row: int, d_model: int) -> tuple[Tensor, set[str]]:
    content = load_tensors(path, lazily=True)
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise VectorError(f"{path.name} holds no weights by name: give the weights of a sparse autoencoder")
    weights = {name.removeprefix("_orig_mod."): value for name, value in content.items()}
    name = _decoder_name(set(weights))
    decoder = weights[name]
    if not isinstance(decoder, Tensor) or not decoder.is_floating_point() or decoder.layout is not torch.strided:
        raise VectorError(f"its {name} in {path.name} is no tensor of floating-point numbers: download it again")
    chosen, _ = _checked(tuple(decoder.shape), name, row, d_model)
    vector = decoder[chosen] if name in ROWS else decoder[:, chosen]
    return vector.detach().float().clone(), set(weights)
