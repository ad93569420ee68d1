"""Breakdown: the textbook example of Kaplan and Meier's estimate, and samplers with known costs."""

from types import SimpleNamespace

import numpy as np
import pytest

import steer
from steer.metrics.breakdown import RARE, WINDOW, breakdown, kaplan_meier, windowed_nll
from steer.metrics.typicality import RealCosts
from steer.runs.sample_set import SampleSet
from vectors.decoding.token_costs import Cost
from vectors.model.residual_model import ResidualModel


def test_the_survival_curve_is_that_of_the_textbook_example() -> None:
    """Weeks of remission from Freireich et al. (1963), used in every textbook."""
    weeks = np.array([6, 6, 6, 6, 7, 9, 10, 10, 11, 13, 16, 17, 19, 20, 22, 23, 25, 32, 32, 34, 35], float)
    relapsed = np.array([1, 1, 1, 0, 1, 0, 1, 0, 0, 1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0], bool)
    times, surviving = kaplan_meier(weeks, relapsed)
    assert times.tolist() == [6, 7, 10, 13, 16, 22, 23]
    np.testing.assert_allclose(surviving, [0.8571, 0.8067, 0.7529, 0.6902, 0.6275, 0.5378, 0.4482], atol=1e-4)
    assert [len(row) for row in kaplan_meier(weeks, np.zeros(21, bool))] == [0, 0]


def test_one_unlikely_token_is_no_breakdown_and_several_in_a_row_are() -> None:
    likely = np.ones(30)
    one, many = likely.copy(), likely.copy()
    one[10] = 6.0
    many[10:20] = 6.0
    assert windowed_nll(likely)[WINDOW:] == pytest.approx(1.0) and windowed_nll(one).max() == pytest.approx(13 / 8)
    assert windowed_nll(many).max() == pytest.approx(6.0) and len(windowed_nll(one)) == 30


def _run(model: ResidualModel, n: int, nll: float) -> tuple[SampleSet, list[Cost]]:
    run = steer.sample(model, None, n=n, max_tokens=20)
    costs = [
        Cost(np.full(len(sample.tokens), -nll), np.full(len(sample.tokens), -nll), np.full(len(sample.tokens), 0.5))
        for sample in run
    ]
    return run, costs


def test_texts_break_down_where_they_are_less_likely_than_real_texts(llama_model: ResidualModel) -> None:
    real = RealCosts(tuple(np.random.default_rng(0).gamma(4, 0.25, size=(400, 20))))
    run, fine = _run(llama_model, 6, 1.0)
    assert breakdown(run, fine, real).share.value == 0.0
    broken = breakdown(run, _run(llama_model, 6, 9.0)[1], real)
    long_enough = [sample for sample in run if len(sample.tokens) >= WINDOW]
    assert broken.share.value == pytest.approx(len(long_enough) / 6, abs=0.35) and broken.per_nat is not None
    assert broken.share.perfect == pytest.approx(RARE, rel=0.25) and broken.per_nat.low > 0


def test_few_real_texts_bias_the_threshold_as_expected(llama_model: ResidualModel) -> None:
    """Samples and real texts are from the same sampler: the mean share of breakdowns is the expected one."""
    random, shares, perfect = np.random.default_rng(1), [], set()
    for _ in range(60):
        rows = random.gamma(4, 0.25, size=(60, 20))
        real = RealCosts(tuple(rows[:20]))
        costs = [Cost(-row, -row, np.full(20, 0.5)) for row in rows[20:]]
        samples = [SimpleNamespace(tokens=[0] * 20) for _ in costs]
        share = breakdown(samples, costs, real).share
        shares.append(share.value)
        perfect.add(share.perfect)
    assert len(perfect) == 1 and np.mean(shares) == pytest.approx(perfect.pop(), abs=0.02)
    assert share.low <= share.perfect <= share.high
