"""Judges: the oracle, any function, and a classifier that is itself measured on texts it was not fit on."""

import numpy as np
import pytest

from steer.judges.almanac import Almanac, OracleJudge
from steer.judges.classifier import ClassifierJudge
from steer.judges.success import accepted, success
from vectors.common.errors import InputError


@pytest.fixture(scope="module")
def sides() -> tuple[list[str], list[str]]:
    world = Almanac()
    others = tuple(topic for topic in ("forest", "kitchen", "desert", "moon", "railway"))
    return world.texts({"topic": "sea"}, 200, seed=1), world.texts({"topic": others}, 200, seed=2)


def test_a_classifier_agrees_with_the_oracle_on_texts_it_never_saw(sides: tuple[list[str], list[str]]) -> None:
    judge = ClassifierJudge("sea", sides[0][:120], sides[1][:120])
    fresh = [*sides[0][120:], *sides[1][120:]]
    agree = (accepted(fresh, judge) == accepted(fresh, OracleJudge("sea"))).mean()
    assert agree > 0.9 and judge.accuracy.low > 0.75 and judge.accuracy.n == 240


def test_a_classifier_of_nothing_is_right_by_chance(sides: tuple[list[str], list[str]]) -> None:
    judge = ClassifierJudge("noise", sides[0][:100], sides[0][100:], seed=3)
    assert judge.accuracy.low <= 0.5 <= judge.accuracy.high


@pytest.mark.parametrize(("positive", "background"), [(32, 160), (160, 32)])
def test_it_errs_as_often_on_the_side_that_has_fewer_texts(sides, positive: int, background: int) -> None:
    judge = ClassifierJudge("sea", sides[0][:positive], sides[1][:background])
    found, wrong = (accepted(side[160:], judge).mean() for side in sides)
    assert found > 0.75 and wrong < 0.25
    assert abs(judge.finds - found) < 0.2 and abs(judge.errs - wrong) < 0.2


def test_what_it_says_of_its_own_texts_is_what_it_says_of_others(sides) -> None:
    noise = np.random.default_rng(0).permutation(np.array(sides[0]))
    judge = ClassifierJudge("noise", noise[:100].tolist(), noise[100:].tolist())
    told = accepted(noise[:100].tolist(), judge).mean() - accepted(noise[100:].tolist(), judge).mean()
    assert abs(told) < 0.25 and told == pytest.approx(judge.finds - judge.errs)


def test_the_order_of_the_texts_does_not_matter(sides: tuple[list[str], list[str]]) -> None:
    one = ClassifierJudge("sea", sides[0][:60], sides[1][:60])
    other = ClassifierJudge("sea", sides[0][59::-1], sides[1][59::-1])
    assert one.accuracy == other.accuracy
    assert accepted(sides[0][60:], one).tolist() == accepted(sides[0][60:], other).tolist()


def test_success_is_joint_over_judges(sides: tuple[list[str], list[str]]) -> None:
    texts = sides[0][:50]
    both = success(texts, [OracleJudge("sea"), OracleJudge("cat")])
    each = accepted(texts, OracleJudge("sea")) & accepted(texts, OracleJudge("cat"))
    assert both.value == each.mean() and both.n == 50 and both.low < both.value < both.high
    assert success(texts, lambda text: True).value == 1.0


def test_bad_judges_are_refused(sides: tuple[list[str], list[str]]) -> None:
    with pytest.raises(InputError, match="knows no 'unicorn'"):
        OracleJudge("unicorn")
    with pytest.raises(InputError, match="give 32 or more"):
        ClassifierJudge("sea", sides[0][:9], sides[1])
    with pytest.raises(InputError, match="learns nothing"):
        ClassifierJudge("signs", [" " * n for n in range(32)], ["." * n for n in range(1, 33)])
    with pytest.raises(InputError, match="no judge"):
        success(["a"], [])
    with pytest.raises(InputError, match="no texts"):
        success([], lambda text: True)
    assert np.array_equal(accepted([], lambda text: True), [])
