"""A library survives a trip through one file; damaged and hostile files change nothing."""

import contextlib
import io
import zipfile
from pathlib import Path

import pytest
import torch
from helpers.points import axis

from vectors.common.errors import InputError, OutputError, VectorError
from vectors.concepts.library import keep
from vectors.concepts.library_file import Arrival, export_library, import_library
from vectors.concepts.vector_file import load_file


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STEER_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """A library file with concepts of two models."""
    keep(axis("cat", 1.0, other_shifts={(1, "bos"): torch.ones(16)}))
    keep(axis("sea", 0.0, 1.0))
    keep(axis("cat", 1.0, model="other", model_hash="ffff"))
    assert len(export_library(tmp_path / "mine.zip")) == 3
    return tmp_path / "mine.zip"


def test_all_concepts_arrive_under_their_models(
    shared: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path.relative_to(home): path.read_bytes() for path in home.rglob("*.safetensors")}
    monkeypatch.setenv("STEER_HOME", str(tmp_path / "elsewhere"))
    done: list[tuple[int, int]] = []
    arrivals = import_library(shared, progress=lambda *call: done.append(call))
    assert [arrival.outcome for arrival in arrivals] == ["imported"] * 3 and done[-1] == (3, 3)
    there = tmp_path / "elsewhere"
    assert {path.relative_to(there): path.read_bytes() for path in there.rglob("*.safetensors")} == before
    assert {arrival.outcome for arrival in import_library(shared)} == {"known"}


def test_a_taken_name_stays_unless_it_is_forced(shared: Path, home: Path) -> None:
    own = next(path for path in home.rglob("sea.safetensors"))
    keep(axis("sea", 0.0, 0.0, 1.0), force=True)
    mine = own.read_bytes()
    assert Arrival("sea", "tiny", "kept") in import_library(shared) and own.read_bytes() == mine
    assert Arrival("sea", "tiny", "replaced") in import_library(shared, force=True) and own.read_bytes() != mine
    assert load_file(own).direction.tolist()[:2] == [0.0, 1.0]


def test_only_the_concepts_of_one_model_are_exported(shared: Path, tmp_path: Path) -> None:
    assert [vector.model for vector in export_library(tmp_path / "one.zip", model="other")] == ["other"]
    with pytest.raises(InputError, match="no concept of 'none' to export"):
        export_library(tmp_path / "none.zip", model="none")
    with pytest.raises(OutputError, match=r"does not end with \.zip"):
        export_library(tmp_path / "one.tar")
    with pytest.raises(OutputError, match="--force"):
        export_library(shared)
    assert len(export_library(shared, force=True)) == 3 and not (tmp_path / "none.zip").exists()


def rewritten(shared: Path, change: dict[str, bytes | None]) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(shared) as old, zipfile.ZipFile(data, "w") as new:
        contents = {name: old.read(name) for name in old.namelist()} | change
        for name, content in contents.items():
            if content is not None:
                new.writestr(name, content)
    return data.getvalue()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"steer-library.json": None}, "is not a library file: give a file that `steer library export` wrote"),
        ({"steer-library.json": b'{"format": "steer-library/9"}'}, "not a library file of this version"),
        ({"steer-library.json": b"["}, "is not a library file"),
        ({"x/mouse.safetensors": b"half"}, "mouse.safetensors' is not a usable vector file"),
        ({"../../up.safetensors": b""}, "is not a usable vector file"),
    ],
)  # fmt: skip
def test_unusable_files_are_refused_before_anything_is_written(
    shared: Path, home: Path, change: dict[str, bytes | None], why: str
) -> None:
    shared.write_bytes(rewritten(shared, change))
    for path in home.rglob("*.safetensors"):
        path.unlink()
    with pytest.raises(VectorError, match=why):
        import_library(shared)
    assert not list(home.rglob("*.safetensors"))


def test_names_and_folders_of_the_archive_lead_nowhere_else(shared: Path, home: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(shared) as archive:
        content = archive.read(next(name for name in archive.namelist() if name.endswith("sea.safetensors")))
    shared.write_bytes(rewritten(shared, {"../../up.safetensors": content}))
    assert Arrival("up", "tiny", "imported") in import_library(shared)
    assert {path.parent.parent for path in tmp_path.rglob("up.safetensors")} == {home}
    shared.write_bytes(rewritten(shared, {"x/..safetensors": content}))
    with pytest.raises(VectorError, match="a name that no concept can have"):
        import_library(shared)


def test_every_damaged_byte_is_refused_or_harmless(shared: Path, home: Path) -> None:
    whole = shared.read_bytes()
    for at in range(0, len(whole), max(1, len(whole) // 150)):
        shared.write_bytes(whole[:at] + bytes([whole[at] ^ 0x5A]) + whole[at + 1 :])
        with contextlib.suppress(VectorError):
            import_library(shared)
    for cut in (0, 10, len(whole) // 2, len(whole) - 1):
        shared.write_bytes(whole[:cut])
        with pytest.raises(VectorError):
            import_library(shared)
