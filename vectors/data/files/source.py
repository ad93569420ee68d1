"""Open a file, a pipe or stdin as a stream of bytes, decompressed if it is compressed."""

import bz2
import gzip
import io
import lzma
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from vectors.common.errors import InputError
from vectors.common.files import expand_path
from vectors.common.validation import quote

STDIN = "-"
HEAD = 1 << 16
"""Bytes that are looked at to tell what a file holds."""

_FREE_BYTES = 1 << 26  # decompressed bytes from which the ratio is looked at
_MOST_TIMES = 200  # text shrinks three- to twentyfold, the most repetitive logs hundredfold

_COMPRESSED: dict[bytes, tuple[str, Callable[[IO[bytes]], Any]]] = {
    b"\x1f\x8b": ("gzip", lambda stream: gzip.GzipFile(fileobj=stream)),
    b"BZh": ("bzip2", bz2.BZ2File),
    b"\xfd7zXZ\x00": ("xz", lzma.LZMAFile),
    b"\x28\xb5\x2f\xfd": ("zstd", lambda stream: _zstd(stream)),
}
_NOT_TEXTS = {
    b"PK\x03\x04": "a zip archive (unzip it first; of a spreadsheet, save the sheet as CSV)",
    b"\xd0\xcf\x11\xe0": "an Office document (save it as CSV or as text)",
    b"%PDF-": "a PDF (turn it into text, such as by pdftotext)",
    b"GGUF": "a GGUF model or control vector (a vector is read by steer import)",
    b"\x89PNG": "a picture",
    b"\x89HDF": "an HDF5 file",
    b"SQLite format 3": "an SQLite database (export the table as CSV)",
    b"\x80\x02": "a pickle, which is never opened (save the texts as jsonl)",
    b"\x80\x03": "a pickle, which is never opened (save the texts as jsonl)",
    b"\x80\x04": "a pickle, which is never opened (save the texts as jsonl)",
    b"\x80\x05": "a pickle, which is never opened (save the texts as jsonl)",
    b"\x93NUMPY": "a NumPy array (save the texts as jsonl)",
    b"version https://git-lfs": "a Git LFS pointer, not the file (fetch it: git lfs pull)",
}
_ENDINGS = {".gz", ".bz2", ".xz", ".zst"}


@dataclass
class Source:
    """An open file.

    Attributes:
        name: The quoted path, for messages.
        ending: The suffix of the path in lower case, without that of a compression; empty for a pipe.
        head: The first bytes, decompressed; `stream` gives them again.
        stream: All bytes, decompressed.
        path: The path, if it is a regular file that is not compressed.
    """

    name: str
    ending: str
    head: bytes
    stream: io.BufferedReader
    path: Path | None


def is_stdin(path: str | Path | None) -> bool:
    """Return whether a path stands for stdin, which can be read only once."""
    return str(path) in (STDIN, "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0")


def open_source(path: str | Path) -> Source:
    """Open a file, a pipe or, for `-`, stdin.

    Raises:
        InputError: There is no such file, it cannot be read, or it is of a kind that holds no texts.
    """
    name, regular = quote(path), None
    if str(path) == STDIN:
        if sys.stdin is None:
            raise InputError("stdin is closed: pipe the texts in, or name a file in place of -")
        opened: IO[bytes] = sys.stdin.buffer
    else:
        file = expand_path(path, InputError)
        opened = _open(file, name)
        regular = file if file.is_file() else None
    head, stream = _look(opened, name)
    for magic, (kind, opener) in _COMPRESSED.items():
        if head.startswith(magic):
            inner = io.BufferedReader(_Decompressed(stream, name, kind, opener), HEAD)
            head, stream = _look(inner, name)
            regular = None
            break
    for magic, what in _NOT_TEXTS.items():
        if head.startswith(magic):
            raise InputError(f"{name} is {what}: give a file of texts")
    if head[257:262] == b"ustar":
        raise InputError(f"{name} is a tar archive: unpack it, and give a file of texts")
    suffixes = [suffix.lower() for suffix in Path(path).suffixes]
    if suffixes and suffixes[-1] in _ENDINGS:
        suffixes.pop()
    return Source(name, suffixes[-1] if suffixes else "", head, stream, regular)


def _open(path: Path, name: str) -> IO[bytes]:
    try:
        if not path.exists():
            raise InputError(f"there is no file {name}: give the path of a text file")
        if path.is_block_device() or path.is_socket():
            raise InputError(f"{name} is not a regular file: give the path of a text file")
        return path.open("rb")
    except OSError as cause:
        raise InputError(f"cannot read {name} ({cause.strerror}): give the readable path of a text file") from cause


def _look(stream: Any, name: str) -> tuple[bytes, io.BufferedReader]:
    """Return the first bytes of a stream, and a stream that begins with them."""
    head = b""
    try:
        while len(head) < HEAD and (more := stream.read(HEAD - len(head))):
            head += more
    except OSError as cause:
        raise InputError(f"cannot read {name} ({cause.strerror}): give the readable path of a text file") from cause
    return head, io.BufferedReader(_Joined(head, stream), HEAD)


class _Joined(io.RawIOBase):
    """Some bytes, then the rest of a stream; stdin stays open when this is closed."""

    def __init__(self, head: bytes, rest: Any) -> None:
        super().__init__()
        self.head, self.rest = head, rest

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        if not self.closed and self.rest is not getattr(sys.stdin, "buffer", None):
            self.rest.close()
        super().close()

    def readinto(self, buffer: Any) -> int:
        data = self.head[: len(buffer)] if self.head else self.rest.read(len(buffer))
        self.head = self.head[len(data) :]
        buffer[: len(data)] = data
        return len(data)


class _Decompressed(io.RawIOBase):
    """A compressed stream, decompressed as it is read; what would fill the memory is refused."""

    def __init__(self, stream: Any, name: str, kind: str, opener: Callable[[Any], Any]) -> None:
        super().__init__()
        self.compressed = _Counting(stream)
        self.name, self.kind, self.written = name, kind, 0
        self.inner = opener(io.BufferedReader(self.compressed, HEAD))

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self.compressed.close()
        super().close()

    def readinto(self, buffer: Any) -> int:
        try:
            data = self.inner.read(len(buffer))
        except (OSError, EOFError, zlib.error, lzma.LZMAError, ValueError) as cause:
            reason = quote(cause) or "it ends early"
            raise InputError(f"{self.name} is a damaged {self.kind} file ({reason}): fetch it again") from cause
        self.written += len(data)
        if self.written > max(_FREE_BYTES, _MOST_TIMES * self.compressed.count):
            raise InputError(
                f"{self.name} grows more than {_MOST_TIMES}-fold when decompressed, which no texts do: decompress it "
                "yourself if you trust it"
            )
        buffer[: len(data)] = data
        return len(data)


class _Counting(io.RawIOBase):
    """A stream that counts the bytes read from it."""

    def __init__(self, stream: Any) -> None:
        super().__init__()
        self.stream, self.count = stream, 0

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self.stream.close()
        super().close()

    def readinto(self, buffer: Any) -> int:
        data = self.stream.read(len(buffer))
        buffer[: len(data)] = data
        self.count += len(data)
        return len(data)


def _zstd(stream: IO[bytes]) -> Any:
    import pyarrow

    return pyarrow.CompressedInputStream(pyarrow.PythonFile(stream, "r"), "zstd")
