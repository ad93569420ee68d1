"""Yardsticks: what the Almanac says of a run, and judges that are shown nothing that a direction has seen."""

from dataclasses import replace

import pytest

from steer.judges import evaluation_set
from steer.judges.almanac import REAL_TEXTS, Almanac, OracleJudge, almanac_evaluation_set
from steer.judges.evaluation_set import labelled_evaluation_set
from steer.judges.success import success
from vectors import load, load_model
from vectors.common.errors import InputError


@pytest.fixture(scope="module")
def sides() -> tuple[list[str], list[str]]:
    world = Almanac()
    return world.texts({"topic": "sea"}, 300, seed=1), world.texts({"topic": ("moon", "forest")}, 300, seed=2)


@pytest.fixture(scope="module")
def vector():
    return load("sea", load_model())


def test_the_almanac_judges_what_is_added_and_measures_nothing_that_was_touched() -> None:
    found = almanac_evaluation_set({"sea": 1.0, "joyful": -0.5}, n=30)
    assert found.given == {"topic": "sea", "mood": ("gloomy", "calm", "fearful", "tender")}
    assert [judge.name for judge in found.judges] == ["topic: sea", "mood: gloomy or calm or fearful or tender"]
    assert found.touched == {"topic", "mood"} and len(found.real) == REAL_TEXTS
    assert all(judge.accepts(text) for text in found.real[:50] for judge in found.judges)
    assert all(OracleJudge("sea").accepts(text) for text in found.real[:50])
    assert not almanac_evaluation_set({}, n=30).judges


def test_either_of_two_values_will_do_and_what_is_kept_away_must_not_be_there() -> None:
    either = almanac_evaluation_set({"cat": 1.0, "ghost": 0.5}, n=30)
    assert either.given == {"voice": ("cat", "ghost")} and len(either.judges) == 1
    assert success(either.real[:100], either.judges).value > 0.98
    dry = almanac_evaluation_set({"waterfall": 1.0, "rainbow": -1.0}, n=30)
    rainbows = Almanac().texts({"topic": "waterfall", "rainbow": True}, 30, seed=5)
    assert success(rainbows, dry.judges).value == 0.0 and success(dry.real[:50], dry.judges).value > 0.95


def test_a_judge_is_shown_nothing_that_the_direction_saw(sides, vector, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []

    class Watched(evaluation_set.ClassifierJudge):
        def __init__(self, name, positive, background, **options) -> None:
            shown.extend([*positive, *background])
            super().__init__(name, positive, background, **options)

    monkeypatch.setattr(evaluation_set, "ClassifierJudge", Watched)
    split = replace(vector, held_out=0.25, split_seed=7)
    found = labelled_evaluation_set(*sides, vectors=[split])
    assert 100 < len(shown) < 200 and all(split.is_unseen(text) for text in shown)
    assert "held out from" in found.notes[0] and len(found.real) == 300
    with pytest.raises(InputError, match="were held out from"):
        labelled_evaluation_set(*sides, vectors=[split, replace(split, split_seed=8)])


def test_what_is_not_known_is_said(sides, vector) -> None:
    for vectors in ([], [replace(vector, held_out=None, split_seed=None)]):
        assert "not known" in labelled_evaluation_set(*sides, vectors=vectors).notes[0]


def test_too_few_unseen_texts_are_refused(sides, vector) -> None:
    split = replace(vector, held_out=0.25, split_seed=7)
    with pytest.raises(InputError, match=r"were held out from .* needs 32 of each"):
        labelled_evaluation_set(sides[0][:50], sides[1][:50], vectors=[split])
