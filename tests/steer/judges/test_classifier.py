"""A classifier as judge: it agrees with the oracle, errs equally on both classes, and knows its own error rates."""

import numpy as np
import pytest

from steer.judges.almanac import Almanac, OracleJudge
from steer.judges.classifier import ClassifierJudge
from steer.judges.success import accepted
from vectors.common.errors import InputError


@pytest.fixture(scope="module")
def sides() -> tuple[list[str], list[str]]:
    world = Almanac()
    others = ("forest", "kitchen", "desert", "moon", "railway")
    return world.texts({"topic": "sea"}, 200, seed=1), world.texts({"topic": others}, 200, seed=2)


@pytest.mark.slow
def test_it_agrees_with_the_oracle_on_new_texts(sides: tuple[list[str], list[str]]) -> None:
    judge = ClassifierJudge("sea", sides[0][:120], sides[1][:120])
    fresh = [*sides[0][120:], *sides[1][120:]]
    agree = (accepted(fresh, judge) == accepted(fresh, OracleJudge("sea"))).mean()
    assert agree > 0.9 and judge.accuracy.low > 0.75 and judge.accuracy.n == 240


def test_without_a_difference_between_the_classes_it_is_right_by_chance(sides: tuple[list[str], list[str]]) -> None:
    judge = ClassifierJudge("noise", sides[0][:100], sides[0][100:], seed=3)
    assert judge.accuracy.low <= 0.5 <= judge.accuracy.high


@pytest.mark.parametrize(("positive", "background"), [(32, 160), (160, 32)])
def test_error_rates_are_similar_for_classes_of_unequal_size(sides, positive: int, background: int) -> None:
    judge = ClassifierJudge("sea", sides[0][:positive], sides[1][:background])
    found, wrong = (accepted(side[160:], judge).mean() for side in sides)
    assert found > 0.75 and wrong < 0.25
    assert abs(judge.finds - found) < 0.2 and abs(judge.errs - wrong) < 0.2


def test_texts_it_was_fit_on_are_judged_without_having_been_seen(sides) -> None:
    noise = np.random.default_rng(0).permutation(np.array(sides[0]))
    judge = ClassifierJudge("noise", noise[:100].tolist(), noise[100:].tolist())
    excess = accepted(noise[:100].tolist(), judge).mean() - accepted(noise[100:].tolist(), judge).mean()
    assert abs(excess) < 0.25 and excess == pytest.approx(judge.finds - judge.errs)


@pytest.mark.slow
def test_the_order_of_the_texts_does_not_matter(sides: tuple[list[str], list[str]]) -> None:
    one = ClassifierJudge("sea", sides[0][:60], sides[1][:60])
    other = ClassifierJudge("sea", sides[0][59::-1], sides[1][59::-1])
    assert one.accuracy == other.accuracy
    assert accepted(sides[0][60:], one).tolist() == accepted(sides[0][60:], other).tolist()


def test_its_accuracy_is_the_mean_of_both_rates_of_right_answers(sides) -> None:
    accuracy = (judge := ClassifierJudge("sea", sides[0][:60], sides[1][:60])).accuracy
    assert accuracy.value == pytest.approx((judge.finds + 1 - judge.errs) / 2)
    assert 0.0 <= accuracy.low < accuracy.value < accuracy.high <= 1.0


def test_too_few_texts_and_texts_without_words_are_refused(sides: tuple[list[str], list[str]]) -> None:
    with pytest.raises(InputError, match="give 32 or more"):
        ClassifierJudge("sea", sides[0][:9], sides[1])
    with pytest.raises(InputError, match="learns nothing"):
        ClassifierJudge("signs", [" " * n for n in range(32)], ["." * n for n in range(1, 33)])
