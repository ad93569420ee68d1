"""The library finds concepts by name or path, prefers the user's own, suggests near names, and refuses the rest."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from vectors.common.errors import InputError, OutputError, VectorError
from vectors.concepts.library import catalog, keep, load, names
from vectors.concepts.vector import ConceptVector
from vectors.concepts.vector_file import save


@dataclass
class StandInModel:
    """The properties of a model that the library uses."""

    name: str = "tiny"
    hash: str = "0123456789abcdef"
    n_layers: int = 4
    d_model: int = 4
    library: Path | None = None


def concept(name: str = "cat", **changes: Any) -> ConceptVector:
    fields: dict[str, Any] = {
        "name": name,
        "model": "tiny",
        "model_hash": "0123456789abcdef",
        "layer": 1,
        "direction": torch.tensor([0.5, 0.5, 0.5, 0.5]),
        "mean": torch.tensor([1.0, 2.0, 3.0, 4.0]),
        "gap": 2.5,
        "method": "mean",
        "positions": "all",
        "created": "2024-01-02T03:04:05+00:00",
    }
    return ConceptVector(**(fields | changes))


@pytest.fixture(autouse=True)
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "home"
    monkeypatch.setenv("STEER_HOME", str(path))
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return save(concept(), tmp_path / "cat.safetensors")


def test_a_kept_vector_is_found_by_name(library: Path) -> None:
    path = keep(concept())
    assert path == library / "tiny-01234567" / "cat.safetensors"
    assert load("cat", StandInModel()) == concept()
    with pytest.raises(OutputError, match="exists"):
        keep(concept())


@pytest.mark.parametrize("model", ["../../etc", "Org/Name-1.5", "", "/", "x" * 500, "a\nb", "🦙", "C:\\m", ".."])
def test_any_model_name_makes_one_folder_of_the_library(library: Path, model: str) -> None:
    path = keep(concept(model=model or "m"))
    assert path.parent.parent == library
    assert load("cat", StandInModel(name=model)).gap == 2.5


def test_the_same_weights_under_another_name_share_the_library(library: Path) -> None:
    keep(concept())
    assert load("cat", StandInModel(name="/some/copy/of/tiny")) == concept()
    keep(concept("dog", model="copy"))
    assert names(StandInModel()) == ["cat", "dog"]
    assert len(list(library.iterdir())) == 1


def test_the_users_vector_shadows_the_shipped_one(tmp_path: Path) -> None:
    shipped = tmp_path / "shipped"
    shipped.mkdir()
    save(concept("cat", gap=1.0), shipped / "cat.safetensors")
    save(concept("sea", gap=1.0), shipped / "sea.safetensors")
    (shipped / "notes.txt").write_text("not a vector")
    model = StandInModel(library=shipped)
    assert names(model) == ["cat", "sea"]
    assert load("cat", model).gap == 1.0
    keep(concept("cat", gap=7.0))
    assert load("cat", model).gap == 7.0
    assert names(model) == ["cat", "sea"]
    assert catalog(model)["sea"].parent == shipped


def test_an_unknown_name_lists_the_nearest_and_says_how_to_list_all() -> None:
    for name in ("sonnet", "sonata", "cat", "gloomy"):
        keep(concept(name))
    with pytest.raises(InputError, match=r"no concept 'Sonett' .*nearest are sonnet, .*`steer ls` lists all"):
        load("Sonett", StandInModel())


def test_an_unknown_name_says_where_else_it_exists() -> None:
    keep(concept(model="other", model_hash="ffffffffffff"))
    with pytest.raises(InputError, match=r"there is one for 'other-ffffffff'\): its library is empty"):
        load("cat", StandInModel())


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".", "..", "a\0b", "x" * 300, "CON", "a\\b", "\n"])
def test_hostile_names_are_refused(name: str) -> None:
    with pytest.raises(InputError, match=r"cannot name a concept|no concept name") as caught:
        load(name, StandInModel())
    assert len(str(caught.value).splitlines()) == 1


def test_a_path_is_loaded_as_a_path(file: Path) -> None:
    assert load(str(file), StandInModel()) == concept()
    assert load(file, StandInModel()) == concept()
    with pytest.raises(VectorError, match="there is no file"):
        load("nowhere/cat.safetensors", StandInModel())
    with pytest.raises(VectorError, match="is not a path"):
        load("\0.safetensors", StandInModel())


def test_a_renamed_library_file_answers_to_its_new_name() -> None:
    path = keep(concept("cat"))
    path.rename(path.with_name("kitty.safetensors"))
    assert load("kitty", StandInModel()) == replace(concept("cat"), name="kitty")


def test_stray_files_do_not_spoil_a_listing(library: Path) -> None:
    keep(concept())
    folder = library / "tiny-01234567"
    (folder / ".steer-0123.tmp").write_bytes(b"half")
    (folder / "two\nlines.safetensors").write_bytes(b"x")
    assert names(StandInModel()) == ["cat"]


def test_vectors_of_another_model_are_refused_by_name(file: Path) -> None:
    with pytest.raises(VectorError, match=r"'tiny' \(width 4, .*'gpt2' \(width 768, .*extract it again"):
        load(file, StandInModel(name="gpt2", d_model=768, hash="ffff"))
    with pytest.raises(VectorError, match=r"'tiny' \(width 4, .*'tuned' \(width 4, "):
        load(file, StandInModel(name="tuned", hash="ffff"))
    with pytest.raises(VectorError, match="steers layer 1, but 'shallow' has layers 0 to 0"):
        load(file, StandInModel(name="shallow", n_layers=1))
    assert load(file, StandInModel(name="the same by another name")) == concept()


def test_a_library_that_is_a_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "plain").write_text("x")
    monkeypatch.setenv("STEER_HOME", str(tmp_path / "plain"))
    with pytest.raises(OutputError, match="set STEER_HOME to a writable folder"):
        keep(concept())
    assert names(StandInModel()) == []
