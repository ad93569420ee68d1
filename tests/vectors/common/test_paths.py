"""The user's library is found, listed and created, and refused where it cannot be used."""

import os
from pathlib import Path

import pytest

from vectors.common.errors import OutputError, VectorError
from vectors.common.paths import list_folder, model_folder, user_library, vector_files, writable_model_folder

DIGEST = "0123456789abcdef"


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STEER_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_the_library_has_a_default_when_unset_or_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    for value in ("", None):
        monkeypatch.setenv("STEER_HOME", value) if value is not None else monkeypatch.delenv("STEER_HOME")
        assert user_library() == Path("/home/someone/.local/share/steer")


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("gpt2", "gpt2-01234567"),
        ("org/some model", "org-some-model-01234567"),
        ("/a/local/folder", "folder-01234567"),
        ("./folder", "folder-01234567"),
        ("猫", "model-01234567"),
        ("x" * 100, "x" * 60 + "-01234567"),
    ],
)
def test_a_folder_is_named_after_the_model_and_its_hash(library: Path, name: str, folder: str) -> None:
    assert model_folder(name, DIGEST) == library / folder


def test_the_same_weights_under_another_name_share_a_folder(library: Path) -> None:
    first = writable_model_folder("first", DIGEST)
    assert model_folder("second", DIGEST) == first
    assert model_folder("second", "f" * 16) == library / "second-ffffffff"


def test_a_writable_folder_is_created_once(library: Path) -> None:
    folder = writable_model_folder("gpt2", DIGEST)
    assert folder == library / "gpt2-01234567" and folder.is_dir()
    assert writable_model_folder("gpt2", DIGEST) == folder


def test_a_folder_that_cannot_be_created_is_refused(library: Path) -> None:
    library.write_text("a file")
    with pytest.raises(OutputError, match="set STEER_HOME to a writable folder"):
        writable_model_folder("gpt2", DIGEST)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_write_permission_is_refused(library: Path) -> None:
    writable_model_folder("gpt2", DIGEST).chmod(0o500)
    with pytest.raises(OutputError, match="you may not write there"):
        writable_model_folder("gpt2", DIGEST)


def test_a_missing_folder_lists_as_empty_and_an_unreadable_one_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("x")
    assert list_folder(tmp_path / "none") == list_folder(tmp_path / "file") == []

    def fail(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", fail)
    with pytest.raises(VectorError, match="make it readable or set STEER_HOME"):
        list_folder(tmp_path)


def test_only_files_with_concept_names_are_vector_files(tmp_path: Path) -> None:
    for name in ("cat.safetensors", "slow burn.safetensors", ".steer-0123.tmp", "two\nlines.safetensors", "notes.txt"):
        (tmp_path / name).write_bytes(b"x")
    assert vector_files(tmp_path) == {name: tmp_path / f"{name}.safetensors" for name in ("cat", "slow burn")}
