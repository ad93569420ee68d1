"""Writing is all or nothing, and every refusal leaves the folder as it was."""

import os
from pathlib import Path

import pytest

from vectors.common.errors import InputError, OutputError
from vectors.common.files import read_bytes, write_atomically


def test_a_file_is_written_and_read_back(tmp_path: Path) -> None:
    place = write_atomically(tmp_path / "a.bin", b"\0\1")
    assert read_bytes(place, "a file") == b"\0\1"
    assert [each.name for each in tmp_path.iterdir()] == ["a.bin"]


def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        place = write_atomically(tmp_path / "a.bin", b"x")
    finally:
        os.umask(before)
    assert place.stat().st_mode & 0o777 == 0o640


def test_an_existing_file_is_kept_unless_forced(tmp_path: Path) -> None:
    place = tmp_path / "a.bin"
    place.write_bytes(b"old")
    with pytest.raises(OutputError, match="exists: pass --force"):
        write_atomically(place, b"new")
    assert place.read_bytes() == b"old"
    write_atomically(place, b"new", force=True)
    assert place.read_bytes() == b"new"


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_midway_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, failure: BaseException
) -> None:
    place = tmp_path / "a.bin"
    place.write_bytes(b"old")

    def fail(*_: object) -> None:
        raise failure

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(OutputError if isinstance(failure, OSError) else KeyboardInterrupt):
        write_atomically(place, b"new", force=True)
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == {"a.bin": b"old"}


def test_two_writers_cannot_take_one_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "a.bin"
    monkeypatch.setattr(os, "fsync", lambda _: place.write_bytes(b"theirs"))  # between our check and our naming
    with pytest.raises(OutputError, match="another process has just written it"):
        write_atomically(place, b"ours")
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == {"a.bin": b"theirs"}


def test_places_that_cannot_be_written_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    cases: list[tuple[str | Path, str]] = [
        (tmp_path, "it is a folder"),
        (tmp_path / "none" / "a", "there is no folder .* create it first"),
        (tmp_path / "file" / "a", "there is no folder|Not a directory"),
        (tmp_path / ("x" * 300), "File name too long"),
        ("", "is not a path"),
        ("a\0b", "is not a path"),
        ("/dev/null", "not a regular file"),
        ("/proc/a", "cannot write"),
    ]
    for place, why in cases:
        with pytest.raises(OutputError, match=why):
            write_atomically(place, b"x", force=True)
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="Permission denied"):
        write_atomically(tmp_path / "a", b"x")


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(b"x" * 11)
    cases: list[tuple[str | Path, str]] = [
        (tmp_path, "is a folder"),
        (tmp_path / "none", "there is no file"),
        (tmp_path / "big", "larger than 10 bytes"),
        ("/dev/zero", "not a regular file"),
        (tmp_path / ("x" * 300), "File name too long|there is no file"),
        ("a\0", "is not a path"),
    ]
    for place, why in cases:
        with pytest.raises(InputError, match=why):
            read_bytes(place, "a test", limit=10)


def test_a_pointer_of_git_lfs_is_called_one(tmp_path: Path) -> None:
    (tmp_path / "v.gguf").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n")
    with pytest.raises(InputError, match=r"v\.gguf' is a Git LFS pointer.*git lfs pull"):
        read_bytes(tmp_path / "v.gguf", "a vector file")
