"""Success: the share of texts that one judge, a function, or all of several judges accept."""

import numpy as np
import pytest

from steer.judges.almanac import Almanac, OracleJudge
from steer.judges.classifier import ClassifierJudge
from steer.judges.success import accepted, success
from vectors.common.errors import InputError


def test_all_of_several_judges_have_to_accept() -> None:
    texts = Almanac().texts({"topic": "sea"}, 50, seed=1)
    both = success(texts, [OracleJudge("sea"), OracleJudge("cat")])
    expected = accepted(texts, OracleJudge("sea")) & accepted(texts, OracleJudge("cat"))
    assert both.value == expected.mean() and both.n == 50 and both.low < both.value < both.high
    assert success(texts, lambda text: True).value == 1.0


def test_for_a_classifier_perfect_and_empty_are_its_own_rates() -> None:
    world = Almanac()
    sea, moon = (world.texts({"topic": topic}, 40, seed=1) for topic in ("sea", "moon"))
    judge = ClassifierJudge("sea", sea, moon)
    found = success(sea, judge)
    assert (found.perfect, found.empty) == (judge.finds, judge.errs) and found.value == pytest.approx(judge.finds)


def test_no_judge_and_no_texts_are_refused() -> None:
    with pytest.raises(InputError, match="no judge"):
        success(["a"], [])
    with pytest.raises(InputError, match="no texts"):
        success([], lambda text: True)
    assert np.array_equal(accepted([], lambda text: True), [])
