"""Intervals against published values, and how often they cover."""

import numpy as np
import pytest

from steer.statistics.estimate import Estimate
from steer.statistics.intervals import bootstrap, difference, jackknife, poisson_interval, rate
from vectors.common.errors import InputError

STUDENT = {1: 12.706, 2: 4.303, 3: 3.182, 9: 2.262, 39: 2.023}
"""97.5th percentiles of Student's t, by degrees of freedom, as printed in every table."""

POISSON = {0: (0.0, 3.69), 1: (0.03, 5.57), 2: (0.24, 7.22), 10: (4.80, 18.39), 20: (12.22, 30.89)}
"""Exact 95 % limits of a Poisson mean, by observed count: Garwood (1936), table 1."""


@pytest.mark.parametrize("freedom", STUDENT)
def test_the_jackknife_of_a_mean_is_the_classic_interval(freedom):
    n = freedom + 1
    values = np.random.default_rng(0).normal(size=n)
    value, low, high = jackknife(lambda subset: float(values[subset].mean()), n)
    half_width = STUDENT[freedom] * values.std(ddof=1) / np.sqrt(n)
    mean = values.mean()
    assert (value, low, high) == pytest.approx((mean, mean - half_width, mean + half_width), abs=1e-3 * half_width)


@pytest.mark.parametrize("events", POISSON)
def test_the_limits_of_a_count_are_the_published_ones(events):
    assert poisson_interval(events) == pytest.approx(POISSON[events], abs=0.0051)


def test_the_difference_of_two_rates_is_newcombe_s_example():
    """Newcombe (1998), table II, method 10: 56 of 70 against 48 of 80, and 10 of 10 against 0 of 10."""
    assert difference(rate(56, 70), rate(48, 80)) == pytest.approx((0.2, 0.0524, 0.3339), abs=1e-4)
    assert difference(rate(10, 10), rate(0, 10)) == pytest.approx((1.0, 0.6075, 1.0), abs=1e-4)


def test_a_difference_changes_its_sign_with_the_order():
    first, second = rate(9, 64), Estimate(name="success", value=0.4, low=0.3, high=0.6, n=64)
    one, other = difference(first, second), difference(second, first)
    assert (one.value, one.low, one.high) == pytest.approx((-other.value, -other.high, -other.low))


@pytest.mark.parametrize("n", [30, 64, 100, 1001])
def test_the_interval_of_a_ratio_covers(n):
    """Nats per token over texts of different lengths; above 64 texts, groups are left out."""
    random, hits, repeats = np.random.default_rng(n), 0, 1000 if n < 1000 else 100
    for _ in range(repeats):
        lengths = random.integers(20, 90, size=n)
        nats = lengths * random.gamma(4.0, 0.25, size=n)
        _, low, high = jackknife(lambda subset, a=nats, b=lengths: float(a[subset].sum() / b[subset].sum()), n)
        hits += low <= 1.0 <= high
    assert hits / repeats == pytest.approx(0.95, abs=0.02 if n < 1000 else 0.06)


def test_too_few_texts_are_refused():
    for interval in (jackknife, bootstrap):
        with pytest.raises(InputError, match="at least two"):
            interval(lambda subset: 0.0, 1)
    with pytest.raises(InputError, match="at least one"):
        rate(0, 0)
