"""A concept from prompts: the model writes its texts, and its shifts are learned from the same prompts."""

from pathlib import Path

import pytest
from helpers.contrast_texts import CATS, SHIPS

import vectors
from vectors.calibration.checkpoint import Checkpoint
from vectors.common.errors import InputError
from vectors.extraction import prompts as module
from vectors.extraction.prompts import TEMPLATES, describe_prompts, prompt_pairs, write_texts
from vectors.model.residual_model import ResidualModel

NONE = Checkpoint(None, {})


def silent(what: str, done: int, total: int) -> None:
    """Ignore progress."""


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "TEXTS", 24)
    monkeypatch.setenv("STEER_HOME", str(tmp_path / "home"))


def test_texts_come_from_all_prompts_and_lessons_have_their_own(llama_model: ResidualModel) -> None:
    given = ["the cat", "a ship by"]
    found = write_texts(llama_model, given, examples=False, seed=2, checkpoint=NONE, progress=silent)
    assert len(found.texts) == len(set(found.texts)) >= 16 and all(found.texts)
    assert {tuple(prompt) for prompt in found.prompts} == {tuple(row) for row in llama_model.encode(given)}
    fit = found.texts[::2]
    for prompt, text in prompt_pairs(found, fit, rows=8, tokens=5, seed=0)(3):
        index = next(at for at, ids in enumerate(found.tokens) if ids[:5] == text and found.prompts[at] == prompt)
        assert found.texts[index] in fit


def test_examples_become_prompts_of_three(llama_model: ResidualModel) -> None:
    found = write_texts(llama_model, CATS[:5], examples=True, seed=2, checkpoint=NONE, progress=silent)
    for prompt in found.prompts:
        text = llama_model.decode(prompt[1:])
        assert sum(text.count(example) for example in CATS[:5]) == 3
    assert write_texts(llama_model, CATS[:1], examples=True, seed=2, checkpoint=NONE, progress=silent).texts


@pytest.mark.parametrize(
    ("given", "why"),
    [([""], "give text"), ([3], "give text"), (["x" * 10 + "\ud800"], "UTF-8"), (["the " * 4000], "leaves room for")],
)
def test_prompts_that_cannot_be_used_are_refused(llama_model: ResidualModel, given: list[str], why: str) -> None:
    with pytest.raises(InputError, match=why):
        write_texts(llama_model, given, examples=False, seed=0, checkpoint=NONE, progress=silent)


def test_a_prompt_behind_which_all_texts_are_alike_is_refused(
    llama_model: ResidualModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = module.sample_prompted

    def alike(*args: object, **how: object) -> object:
        found = real(*args, **how)  # type: ignore[arg-type]
        return type(found)(["the same"] * len(found.texts), found.tokens, found.costs)

    monkeypatch.setattr(module, "sample_prompted", alike)
    with pytest.raises(InputError, match="only 1 different texts of 24: give another prompt"):
        write_texts(llama_model, ["the"], examples=False, seed=0, checkpoint=NONE, progress=silent)


def test_a_concept_is_held_against_its_prompt(llama_model: ResidualModel, tmp_path: Path) -> None:
    shown: list[str] = []
    vector = vectors.extract(
        llama_model, "cat", prompts=["the cat"], background=SHIPS, budget="100k", checkpoint=tmp_path / "parts",
        show=lambda heading, texts: shown.append(heading),
    )  # fmt: skip
    assert shown[0] == "the model writes" and len(shown) > 1
    prompt = vector.evidence["prompt"]
    assert 0 <= prompt["low"] <= prompt["success"] <= prompt["high"] <= 1 and prompt["pressure"] > 0
    assert vector.n_positive >= 16 and {row["method"] for row in vector.evidence["tried"]} >= {"distilled"}
    for wrong in ({"positive": CATS}, {"as_examples": True}, {"method": "pca"}, {"paired": True}):
        with pytest.raises(InputError):
            vectors.extract(llama_model, "cat", prompts=["the cat"], background=SHIPS, **wrong)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="give a list"):
        vectors.extract(llama_model, "cat", prompts="the cat", background=SHIPS)


def test_a_description_fills_the_templates() -> None:
    made = describe_prompts("  a letter\nby a pirate. ")
    assert len(made) == len(TEMPLATES) and all("etter by a pirate" in prompt for prompt in made)
    for blank in ("", " \n", None):
        with pytest.raises(InputError, match="say what a text is"):
            describe_prompts(blank)  # type: ignore[arg-type]
