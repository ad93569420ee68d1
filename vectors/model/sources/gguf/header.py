"""Read the header of a GGUF file, and check that the file holds a whole language model.

Sizes in the header are compared with the size of the file before anything is allocated.
"""

import mmap
import re
import struct
from dataclasses import dataclass
from functools import cache, cached_property
from math import prod
from pathlib import Path
from typing import Any, Final

from vectors.common.errors import ModelError
from vectors.common.validation import quote

SUFFIX: Final = ".gguf"

_MAGIC: Final = b"GGUF"
_LFS: Final = b"version https://git-lfs"
_STRING, _ARRAY = 8, 9
_SCALARS: Final = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_MAX_DIMENSIONS: Final = 4
_MAX_FIRST: Final = 64  # entries that describe a file in general
_MEND: Final = "download it again"
SPLIT: Final = re.compile(r"-\d{5}-of-\d{5}$")
"""How the name of a part ends, before `.gguf`."""

_NO_MODEL: Final = {
    "controlvector": "a control vector: read it with `steer import`",
    "imatrix": "an importance matrix, which only quantising needs: give the model's own file",
    "adapter": "a LoRA adapter: merge it into its model with llama.cpp's llama-export-lora, and give the result",
    "mmproj": "the image part of a model: give the file of the language model",
    "clip": "the image part of a model: give the file of the language model",
    "vocab": "a vocabulary without weights: give the model's own file",
}


@dataclass(frozen=True)
class GgufTensor:
    """A tensor of the file: its name, its shape as torch has it, its type number, and where its bytes begin and end."""

    name: str
    shape: tuple[int, ...]
    kind: int
    start: int
    end: int


@dataclass(frozen=True)
class GgufFile:
    """What the header of a GGUF file says; the tensors are not read.

    Attributes:
        path: the file.
        metadata: its values by key, arrays as lists.
        tensors: its tensors by name.
        size: bytes of the file.
    """

    path: Path
    metadata: dict[str, Any]
    tensors: dict[str, GgufTensor]
    size: int

    @property
    def architecture(self) -> str:
        """The name of the architecture, as llama.cpp has it."""
        return str(self.metadata.get("general.architecture"))

    @cached_property
    def own(self) -> dict[str, Any]:
        """The values that describe this architecture, without their prefix: `block_count`, `attention.head_count`."""
        prefix = f"{self.architecture}."
        return {key.removeprefix(prefix): value for key, value in self.metadata.items() if key.startswith(prefix)}

    @cached_property
    def precision(self) -> str:
        """The name of its quantisation, such as Q4_K_M; of most of its weights, if the file does not say."""
        from gguf import GGMLQuantizationType, LlamaFileType

        try:
            return LlamaFileType(self.metadata["general.file_type"]).name.removeprefix("MOSTLY_").removeprefix("ALL_")
        except (KeyError, ValueError):
            sizes: dict[int, int] = {}
            for tensor in self.tensors.values():
                sizes[tensor.kind] = sizes.get(tensor.kind, 0) + prod(tensor.shape)
            return GGMLQuantizationType(max(sizes, key=lambda kind: sizes[kind])).name


def read_gguf_model(path: Path) -> GgufFile:
    """Read the header of a file that should hold a model.

    Raises:
        ModelError: the file is no GGUF file, is cut or damaged, has no model in it, or has tensors of a type that is
            not read.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            start = stream.read(64)
            if problem := _wrong_start(start, size):
                raise ModelError(f"{quote(path)} {problem}")
            with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
                try:
                    return _parse(path, _Cursor(data, size))
                except ModelError as error:
                    raise ModelError(f"{quote(path)} {error}") from error
    except OSError as error:
        raise ModelError(f"{quote(path)} cannot be read ({error.strerror}): make it readable") from error


def what_instead_of_a_model(path: Path) -> str | None:
    """Return what a file holds instead of a model, as its first entries say; None for a model, or a damaged file."""
    try:
        with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            cursor = _Cursor(data, len(data))
            cursor.take(4)  # the version
            for _ in range(min(cursor.numbers("Q", 2)[1], _MAX_FIRST)):
                key, value = cursor.text(), cursor.value()
                if key in ("general.architecture", "general.type") and value in _NO_MODEL:
                    return _NO_MODEL[value]
                if not key.startswith("general."):  # which come first
                    return None
    except (OSError, ValueError, ModelError):  # what is wrong with it is said when it is read
        return None
    return None


def _wrong_start(start: bytes, size: int) -> str | None:
    if not size:
        return f"is empty: {_MEND}"
    if start.startswith(_LFS):
        return "is a Git LFS pointer, not the weights: run `git lfs pull` in its folder"
    if not start.startswith(_MAGIC):
        return "does not begin as a GGUF file does: give a GGUF file, or a folder in Hugging Face format"
    if size < 24:
        return f"is cut after {size} bytes: {_MEND}"
    version = int.from_bytes(start[4:8], "little")
    if version & 0xFFFF == 0:
        return "is a GGUF file for machines of the other byte order: download the little-endian one"
    if version not in (2, 3):
        return f"is of GGUF version {version}, expected 2 or 3: convert the model again"
    return None


class _Cursor:
    """Reads values one after the other from a mapped file; past its end it raises an error."""

    def __init__(self, data: mmap.mmap, size: int) -> None:
        self.data, self.size, self.offset = data, size, 4

    def take(self, n: int) -> bytes:
        if n > self.size - self.offset:
            raise ModelError(f"is cut or damaged in its header: {_MEND}")
        self.offset += n
        return self.data[self.offset - n : self.offset]

    def numbers(self, kind: str, count: int = 1) -> tuple[Any, ...]:
        if count > self.size - self.offset:  # before a format of that length is built
            raise ModelError(f"is cut or damaged in its header: {_MEND}")
        layout = f"<{count}{kind}"
        return struct.unpack(layout, self.take(struct.calcsize(layout)))

    def text(self) -> str:
        raw = self.take(self.numbers("Q")[0])
        try:
            return raw.decode()
        except UnicodeDecodeError as error:
            raise ModelError(f"holds a name or text that is not UTF-8: {_MEND}") from error

    def value(self) -> Any:
        kind = self.numbers("I")[0]
        if kind == _STRING:
            return self.text()
        if kind in _SCALARS:
            return self.numbers(_SCALARS[kind])[0]
        if kind == _ARRAY:
            item, count = self.numbers("I")[0], self.numbers("Q")[0]
            if item in _SCALARS:
                return list(self.numbers(_SCALARS[item], count))
            if item == _STRING and count <= self.size - self.offset:
                return [self.text() for _ in range(count)]
            if item == _ARRAY:
                raise ModelError(f"has an array of arrays in its header, which no model has: {_MEND}")
            kind = item
        raise ModelError(f"has a value of type {kind} in its header, which GGUF does not have: {_MEND}")


def _parse(path: Path, cursor: _Cursor) -> GgufFile:
    cursor.take(4)  # the version
    n_tensors, n_values = cursor.numbers("Q", 2)
    metadata: dict[str, Any] = {}
    for _ in range(n_values):
        key = cursor.text()
        metadata[key] = cursor.value()
    _check_is_model(path, metadata, n_tensors)
    found = []
    for _ in range(n_tensors):
        name, n_dimensions = cursor.text(), cursor.numbers("I")[0]
        if not 0 < n_dimensions <= _MAX_DIMENSIONS:
            raise ModelError(f"has a tensor {quote(name)} of {n_dimensions} dimensions: {_MEND}")
        shape = tuple(reversed(cursor.numbers("Q", n_dimensions)))
        found.append((name, shape, *cursor.numbers("I"), *cursor.numbers("Q")))
    alignment = metadata.get("general.alignment", 32)
    if type(alignment) is not int or not 0 < alignment <= 2**16 or alignment & (alignment - 1):
        raise ModelError(f"has an alignment of {quote(alignment)}, expected a power of two: {_MEND}")
    first = -(-cursor.offset // alignment) * alignment
    tensors: dict[str, GgufTensor] = {}
    for name, shape, kind, offset in found:
        if name in tensors:
            raise ModelError(f"holds {quote(name)} twice: convert the model again")
        start = first + offset
        tensors[name] = GgufTensor(name, shape, kind, start, start + _n_bytes(name, shape, kind))
    end = max(tensor.end for tensor in tensors.values())
    if end > cursor.size:
        raise ModelError(f"is cut: it has {cursor.size:,} bytes, and its tensors end at {end:,}; {_MEND}")
    return GgufFile(path, metadata, tensors, cursor.size)


def _check_is_model(path: Path, metadata: dict[str, Any], n_tensors: int) -> None:
    architecture, kind = metadata.get("general.architecture"), metadata.get("general.type", "model")
    if not isinstance(architecture, str):
        raise ModelError("does not name its architecture (general.architecture): convert the model again")
    for name in (architecture, kind):
        if isinstance(name, str) and name in _NO_MODEL:
            raise ModelError(f"is {_NO_MODEL[name]}")
    if (parts := metadata.get("split.count", 1)) != 1 or SPLIT.search(path.stem):
        raise ModelError(f"is one of {quote(parts)} parts: join them with llama.cpp's llama-gguf-split --merge")
    if not n_tensors:
        raise ModelError(f"is {_NO_MODEL['vocab']}")


def _n_bytes(name: str, shape: tuple[int, ...], kind: int) -> int:
    """Return the size of a tensor, after checking that its type can be read."""
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    try:
        block, width = GGML_QUANT_SIZES[GGMLQuantizationType(kind)]
    except (ValueError, KeyError) as error:
        raise ModelError(
            f"has tensors of GGUF type {kind} ({quote(name)}), which is not read here: give a file in one of "
            "llama.cpp's own types, such as Q8_0, Q4_K_M or F16"
        ) from error
    if not is_readable(kind):
        raise ModelError(
            f"has tensors of type {GGMLQuantizationType(kind).name} ({quote(name)}), which is not read here: give a "
            "file in another type, such as Q8_0, Q4_K_M or F16"
        )
    if min(shape) < 1 or shape[-1] % block:
        raise ModelError(f"has a tensor {quote(name)} of shape {shape}, which its type cannot hold: {_MEND}")
    return prod(shape) * width // block


@cache
def is_readable(kind: int) -> bool:
    """Return whether the `gguf` package turns tensors of this type into floats."""
    import numpy as np
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, dequantize

    try:
        dequantize(np.zeros((1, GGML_QUANT_SIZES[GGMLQuantizationType(kind)][1]), np.uint8), GGMLQuantizationType(kind))
    except NotImplementedError:
        return False
    return True
