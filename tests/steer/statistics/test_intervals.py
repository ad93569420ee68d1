"""Intervals: against SciPy's, and how often they cover."""

import numpy as np
import pytest
from scipy import stats

from steer.statistics.estimate import Estimate
from steer.statistics.intervals import jackknifed, rate, student
from vectors.common.errors import InputError


def test_student_s_quantile_is_scipy_s():
    for freedom in (1, 2, 3, 4, 9, 63, 1000):
        assert student(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), abs=0.008)


def test_a_mean_s_interval_is_the_classic_one():
    values = np.random.default_rng(0).normal(size=40)
    value, low, high = jackknifed(lambda subset: float(values[subset].mean()), 40)
    wanted = stats.t.interval(0.95, 39, values.mean(), stats.sem(values))
    assert (value, low, high) == pytest.approx((values.mean(), *wanted), abs=1e-4)


@pytest.mark.parametrize("n", [30, 64, 100, 1001])
def test_a_ratio_s_interval_covers(n):
    """Nats a token over texts of uneven length; above 64 texts they are left out in groups."""
    random, hits, repeats = np.random.default_rng(n), 0, 1000 if n < 1000 else 100
    for _ in range(repeats):
        lengths = random.integers(20, 90, size=n)
        nats = lengths * random.gamma(4.0, 0.25, size=n)
        _, low, high = jackknifed(lambda subset, a=nats, b=lengths: float(a[subset].sum() / b[subset].sum()), n)
        hits += low <= 1.0 <= high
    assert hits / repeats == pytest.approx(0.95, abs=0.02 if n < 1000 else 0.06)


def test_too_few_texts_are_refused():
    with pytest.raises(InputError, match="at least two"):
        jackknifed(lambda subset: 0.0, 1)
    with pytest.raises(InputError, match="at least one"):
        rate(0, 0)


def test_a_figure_cannot_be_without_its_interval():
    with pytest.raises(InputError, match="lower bound first"):
        Estimate(name="success", value=0.5, low=0.7, high=0.3, n=4)
    with pytest.raises(InputError, match="finite"):
        Estimate(name="success", value=0.5, low=float("nan"), high=0.3, n=4)
    assert str(Estimate(name="nats", value=12.345, low=12.1, high=12.6, n=4)) == "12.35 (12.10 to 12.60)"
