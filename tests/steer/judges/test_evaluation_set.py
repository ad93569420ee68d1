"""Evaluation sets from labelled texts: the judge is fit on texts that no vector was extracted from."""

from dataclasses import replace

import pytest

from steer.judges import evaluation_set
from steer.judges.almanac import Almanac
from steer.judges.evaluation_set import labelled_evaluation_set
from vectors import load, load_model
from vectors.common.errors import InputError


@pytest.fixture(scope="module")
def sides() -> tuple[list[str], list[str]]:
    world = Almanac()
    return world.texts({"topic": "sea"}, 300, seed=1), world.texts({"topic": ("moon", "forest")}, 300, seed=2)


@pytest.fixture(scope="module")
def vector():
    return load("sea", load_model())


def test_the_judge_is_fit_on_no_text_that_a_vector_was_extracted_from(
    sides, vector, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit_on: list[str] = []

    class RecordingJudge(evaluation_set.ClassifierJudge):
        def __init__(self, name, positive, background, **options) -> None:
            fit_on.extend([*positive, *background])
            super().__init__(name, positive, background, **options)

    monkeypatch.setattr(evaluation_set, "ClassifierJudge", RecordingJudge)
    split = replace(vector, held_out=0.25, split_seed=7)
    found = labelled_evaluation_set(*sides, vectors=[split])
    assert 100 < len(fit_on) < 200 and all(split.is_unseen(text) for text in fit_on)
    assert "held out from" in found.notes[0] and len(found.real) == 300
    with pytest.raises(InputError, match="were held out from"):
        labelled_evaluation_set(*sides, vectors=[split, replace(split, split_seed=8)])


@pytest.mark.slow
def test_a_note_says_if_the_vectors_may_have_seen_the_texts(sides, vector) -> None:
    for vectors in ([], [replace(vector, held_out=None, split_seed=None)]):
        assert "not known" in labelled_evaluation_set(*sides, vectors=vectors).notes[0]


def test_too_few_unseen_texts_are_refused(sides, vector) -> None:
    split = replace(vector, held_out=0.25, split_seed=7)
    with pytest.raises(InputError, match=r"were held out from .* needs 32 of each"):
        labelled_evaluation_set(sides[0][:50], sides[1][:50], vectors=[split])
