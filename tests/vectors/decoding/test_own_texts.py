"""The texts that a model writes without a prompt are sampled once."""

import json
from pathlib import Path

import pytest

from vectors.decoding import own_texts as module
from vectors.decoding.own_texts import own_texts
from vectors.decoding.prompt_free_samples import sample_prompt_free
from vectors.model.residual_model import ResidualModel


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STEER_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_texts_are_those_of_the_sampler_and_kept(
    llama_model: ResidualModel, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = sample_prompt_free(llama_model, 9, seed=3, max_tokens=12)
    asked: list[int] = []
    real = module.sample_texts
    monkeypatch.setattr(module, "sample_texts", lambda *args, **how: (asked.append(args[1]), real(*args, **how))[1])
    done: list[int] = []
    first = own_texts(llama_model, 5, seed=3, max_tokens=12)
    more = own_texts(llama_model, 9, seed=3, max_tokens=12, progress=done.append)
    assert more == expected and first == more[: len(first)] and sum(done) == 9
    assert (
        own_texts(llama_model, 7, seed=3, max_tokens=12)
        == more[: len(own_texts(llama_model, 7, seed=3, max_tokens=12))]
    )
    assert asked == [5, 4]


def test_a_damaged_file_is_written_anew(llama_model: ResidualModel, home: Path) -> None:
    texts = own_texts(llama_model, 4, max_tokens=8)
    (path,) = home.rglob("texts-*.json")
    for damage in ("", "[]", '{"format": "steer-own-texts/1", "model_hash": "other", "texts": ["x", "x", "x", "x"]}'):
        path.write_text(damage)
        assert own_texts(llama_model, 4, max_tokens=8) == texts
        assert json.loads(path.read_text())["model_hash"] == llama_model.hash


def test_a_library_that_cannot_be_written_is_no_reason_to_fail(
    llama_model: ResidualModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("STEER_HOME", str(tmp_path / "file"))
    assert own_texts(llama_model, 3, max_tokens=8) == sample_prompt_free(llama_model, 3, max_tokens=8)
