"""Statistics: which interval they have, how it is clipped, and what widens it."""

from dataclasses import replace

import numpy as np
import pytest

from steer.statistics.intervals import bootstrap, jackknife, rate
from steer.statistics.statistic import ReferenceTexts, Statistic, mean_of, ratio_of

VALUES = np.random.default_rng(0).gamma(2.0, size=50)


def median(subset: np.ndarray) -> float:
    return float(np.median(VALUES[subset]))


@pytest.mark.parametrize(("interval", "method"), [("jackknife", jackknife), ("bootstrap", bootstrap)])
def test_the_interval_is_that_of_the_method(interval, method) -> None:
    estimate = Statistic(name="median", compute=median, n=50, interval=interval).estimate(seed=3)
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx(tuple(method(median, 50, seed=3)))


def test_booleans_have_the_interval_of_a_rate() -> None:
    estimate = mean_of("share", np.arange(10) < 9).estimate()
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx(tuple(rate(9, 10)))


def test_numbers_have_the_interval_of_a_mean_and_ratios_that_of_a_ratio() -> None:
    assert mean_of("mean", VALUES).estimate().value == pytest.approx(VALUES.mean())
    tokens = np.arange(1, 51)
    assert ratio_of("nats", VALUES, tokens).estimate().value == pytest.approx(VALUES.sum() / tokens.sum())


def test_intervals_end_where_values_end_and_hold_the_value() -> None:
    wide = Statistic(name="mean", compute=median, n=50, minimum=1e6).estimate()
    assert wide.low == wide.value <= wide.high
    low = Statistic(name="mean", compute=median, n=50, maximum=0.0).estimate()
    assert low.low <= low.value == low.high


def test_the_rule_of_three_widens_the_interval_only_if_no_text_deviates() -> None:
    copies = Statistic(name="copies", compute=lambda subset: 1.0, n=30, rule_of_three=(1.0, 1.3)).estimate()
    assert (copies.low, copies.high) == pytest.approx((1.0, 1.3))
    plain = Statistic(name="median", compute=median, n=50)
    assert replace(plain, rule_of_three=(0.0, 99.0)).estimate() == plain.estimate()


def test_reference_texts_widen_the_interval_by_their_own() -> None:
    plain = Statistic(name="median", compute=median, n=50)
    reference = ReferenceTexts(lambda subset: float(VALUES[subset].mean()), 50)
    one, other = plain.estimate(), replace(plain, reference_texts=reference).estimate()
    assert other.low < one.low and other.high > one.high and other.value == one.value
