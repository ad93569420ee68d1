"""Discovery files are read back as they were written, and refused with one line if they are damaged."""

import json

import pytest
import safetensors.torch
import torch
from helpers.planted import rainbows
from hypothesis import given
from hypothesis import strategies as st

from vectors.common.errors import OutputError, VectorError
from vectors.concepts.library import names
from vectors.discovery.candidates import Discovery
from vectors.discovery.discover import discover
from vectors.discovery.discovery_file import (
    candidate_to_dict,
    load_discovery,
    load_last_discovery,
    save_discovery,
    save_last_discovery,
)
from vectors.discovery.match_concepts import match_concepts
from vectors.model.residual_model import ResidualModel, load_model


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("STEER_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture(scope="module")
def model(model_folder) -> ResidualModel:
    return load_model(model_folder("llama"), "cpu")


@pytest.fixture(scope="module")
def discovery(model) -> Discovery:
    return discover(model, rainbows(64), k=4, layer=1)


def changed(path, change, *, rows=None):
    """Rewrite the file with changed metadata or tensors."""
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    about = json.loads(json.loads(data[8 : 8 + size])["__metadata__"]["discovery"])
    tensors = safetensors.torch.load(data)
    change(about)
    (rows or (lambda _: None))(tensors)
    path.write_bytes(safetensors.torch.save(tensors, {"discovery": json.dumps(about)}))


def test_a_discovery_is_read_back_as_it_was_written(discovery, tmp_path):
    path = save_discovery(discovery, tmp_path / "one.safetensors")
    again = load_discovery(path)
    assert again.texts == discovery.texts and torch.equal(again.means, discovery.means)
    for name in ("model", "model_hash", "layer", "method", "seed", "own"):
        assert getattr(again, name) == getattr(discovery, name)
    for one, other in zip(discovery.candidates, again.candidates, strict=True):
        assert candidate_to_dict(one) == candidate_to_dict(other)
        assert all(torch.equal(getattr(one, key), getattr(other, key)) for key in ("part", "filter", "scores"))
    assert b"pickle" not in path.read_bytes()


def test_the_last_discovery_replaces_the_previous_one_and_is_no_concept(model, discovery, home):
    with pytest.raises(VectorError, match="run `steer discover`"):
        load_last_discovery(model)
    path = save_last_discovery(discover(model, rainbows(40), k=2, layer=0))
    assert save_last_discovery(discovery) == path and len(load_last_discovery(model).candidates) == 4
    assert names(model) == [] and not list(home.rglob("*.tmp"))


def test_likenesses_are_written(model, discovery, tmp_path):
    assert match_concepts(model, discovery, []) is discovery
    path = save_discovery(discovery, tmp_path / "one.safetensors")
    changed(path, lambda about: about["candidates"][1].update(like={"name": "sea", "auc": 0.93, "cosine": None}))
    like = load_discovery(path).candidates[1].like
    assert like is not None and (like.name, like.auc, like.cosine) == ("sea", 0.93, None)


def test_paths_that_cannot_be_written_are_refused(discovery, tmp_path, monkeypatch):
    path = save_discovery(discovery, tmp_path / "one.safetensors")
    with pytest.raises(OutputError, match="exists"):
        save_discovery(discovery, path)
    with pytest.raises(OutputError, match="ending"):
        save_discovery(discovery, tmp_path / "one.bin")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("STEER_HOME", str(tmp_path / "file"))
    with pytest.raises(OutputError, match="STEER_HOME"):
        save_last_discovery(discovery)


CHANGES = {
    "format": lambda about: about.update(format="steer-vector/1"),
    "layer": lambda about: about.update(layer=-1),
    "seed": lambda about: about.update(seed="0"),
    "own": lambda about: about.update(own="yes"),
    "method": lambda about: about.update(method="magic"),
    "no model": lambda about: about.pop("model"),
    "no candidates": lambda about: about.update(candidates=[]),
    "one too few": lambda about: about["candidates"].pop(),
    "other number": lambda about: about["candidates"][0].update(number=2),
    "no figure": lambda about: about["candidates"][0].update(share=None),
    "no tokens": lambda about: about["candidates"][0].update(top=[1, 2]),
    "no likeness": lambda about: about["candidates"][0].update(like={"name": "sea"}),
    "list": lambda about: about.update(candidates="abcd"),
}
ROWS = {
    "nan": lambda rows: rows["scores"].fill_(float("nan")),
    "zero": lambda rows: rows["parts"].fill_(0.0),
    "narrow": lambda rows: rows.update(filters=rows["filters"][:, :5].contiguous()),
    "half": lambda rows: rows.update(means=rows["means"].half()),
    "missing": lambda rows: rows.pop("parts"),
    "more": lambda rows: rows.update(extra=torch.zeros(2)),
    "texts": lambda rows: rows.update(texts=torch.tensor([91, 93], dtype=torch.uint8)),
    "no text": lambda rows: rows.update(texts=torch.tensor([255, 1], dtype=torch.uint8)),
}


@pytest.mark.parametrize("which", [*CHANGES, *ROWS])
def test_wrong_contents_are_refused_with_one_line(discovery, tmp_path, which):
    path = save_discovery(discovery, tmp_path / "one.safetensors")
    changed(path, CHANGES.get(which, lambda _: None), rows=ROWS.get(which))
    with pytest.raises(VectorError, match="steer discover") as caught:
        load_discovery(path)
    assert "\n" not in str(caught.value) and "one.safetensors" in str(caught.value)


@given(cut=st.integers(0, 4000), put=st.binary(max_size=20))
def test_damage_anywhere_raises_a_vector_error(discovery, tmp_path_factory, cut, put):
    path = save_discovery(discovery, tmp_path_factory.mktemp("cut") / "one.safetensors")
    data = path.read_bytes()
    path.write_bytes(data[:cut] + put)
    with pytest.raises(VectorError):
        load_discovery(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(VectorError, match="no file"):
        load_discovery(tmp_path / "none.safetensors")
