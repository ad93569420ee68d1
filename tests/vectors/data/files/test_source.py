"""Compressed files are decompressed within bounds; files that hold no texts are named for what they are."""

import bz2
import gzip
import io
import lzma
import pickle
import tarfile
import zipfile
from pathlib import Path

import pyarrow
import pytest

from vectors.common.errors import InputError
from vectors.data.text_files import read_texts

TEXT = b"one\ntwo\n"


def zstd(data: bytes) -> bytes:
    return pyarrow.compress(data, codec="zstd", asbytes=True)


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress, zstd])
def test_compressed_files_are_read_under_any_name(tmp_path: Path, compress) -> None:
    for name in ("a.txt.gz", "a.txt", "a"):
        (tmp_path / name).write_bytes(compress(TEXT))
        assert read_texts(tmp_path / name) == ("one", "two")
    (tmp_path / "a.csv.gz").write_bytes(compress(b"text,label\nwaves,1\n"))
    assert read_texts(tmp_path / "a.csv.gz") == ("waves",)


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress, zstd])
def test_torn_compressed_files_are_refused(tmp_path: Path, compress) -> None:
    data = compress(bytes(range(1, 128)) * 2000)
    (tmp_path / "a.gz").write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match=r"is a damaged (gzip|bzip2|xz|zstd) file .*: fetch it again"):
        read_texts(tmp_path / "a.gz")


def test_a_bomb_is_refused(tmp_path: Path) -> None:
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb") as file:
        for _ in range(100):
            file.write(b"a" * (1 << 20))
    (tmp_path / "a.txt.gz").write_bytes(packed.getvalue())
    with pytest.raises(InputError, match="grows more than 200-fold when decompressed"):
        read_texts(tmp_path / "a.txt.gz")


def test_files_of_other_kinds_are_called_by_their_kind(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "text")
    expect(path, "is a zip archive")
    with tarfile.open(path, "w") as archive:
        archive.add(tmp_path, "folder")
    expect(path, "is a tar archive")
    path.write_bytes(pickle.dumps(["text"]))
    expect(path, "is a pickle, which is never opened")
    path.write_bytes(b"%PDF-1.7\n")
    expect(path, "is a PDF")
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    expect(path, "is a Git LFS pointer, not the file .fetch it: git lfs pull")


def expect(path: Path, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_texts(path)
    assert len(str(caught.value).splitlines()) == 1
