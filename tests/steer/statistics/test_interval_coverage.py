"""Coverage of 95 % intervals in a thousand simulated experiments each."""

from types import SimpleNamespace

import numpy as np
import pytest

from steer.metrics.diversity.vendi import cosines, vendi_of_kernel
from steer.metrics.pressure import pressure_statistics
from steer.metrics.typicality import CENTRAL, RealCosts, typicality_statistics
from steer.statistics.intervals import difference, poisson_interval, rate
from steer.statistics.statistic import Statistic, mean_of
from vectors.decoding.token_costs import Cost

REPEATS = 1000
pytestmark = pytest.mark.slow


def covered(hits: int, *, low: float = 0.93, high: float = 0.985) -> bool:
    return low <= hits / REPEATS <= high


@pytest.mark.parametrize(("n", "share"), [(64, 0.9), (64, 0.5), (1000, 0.02)])
def test_rates_are_covered(n: int, share: float) -> None:
    hits = 0
    for count in np.random.default_rng(0).binomial(n, share, size=REPEATS):
        _, low, high = rate(int(count), n)
        hits += low <= share <= high
    assert covered(hits)


@pytest.mark.parametrize("events", [3.0, 30.0])
def test_counts_are_covered(events: float) -> None:
    hits = 0
    for count in np.random.default_rng(1).poisson(events, size=REPEATS):
        low, high = poisson_interval(int(count))
        hits += low <= events <= high
    assert covered(hits)


@pytest.mark.parametrize("order", [1, 2])
def test_vendi_scores_of_that_many_texts_are_covered(order: int) -> None:
    """The true value is the mean score of sets of as many texts; kinds of texts differ in frequency."""
    random, n = np.random.default_rng(2), 40
    kinds, shares = random.normal(size=(12, 30)), random.dirichlet(np.ones(12))

    def kernel() -> np.ndarray:
        return cosines(kinds[random.choice(12, n, p=shares)] + 0.7 * random.normal(size=(n, 30)))

    true = float(np.mean([vendi_of_kernel(kernel(), order=order) for _ in range(3000)]))
    hits = 0
    for _ in range(REPEATS):
        rows = kernel()
        estimate = Statistic(
            name="", compute=lambda subset, k=rows: vendi_of_kernel(k[np.ix_(subset, subset)], order=order), n=n
        ).estimate()
        hits += estimate.low <= true <= estimate.high
    assert covered(hits, high=1.0)


def test_the_95th_percentile_of_pressure_is_covered() -> None:
    """Tokens of one text are correlated; only texts are independent."""
    random, n, length = np.random.default_rng(3), 50, 20

    def tokens(texts: int) -> np.ndarray:
        return random.gamma(1.0, 1.0, size=(texts, 1)) * random.gamma(0.5, 1.0, size=(texts, length))

    true = float(np.percentile(tokens(100_000), 95))
    hits = 0
    for _ in range(REPEATS):
        rows = tokens(n)
        samples = [SimpleNamespace(pressure={"total": row.sum()}, tokens=[0] * length) for row in rows]
        statistic = pressure_statistics(samples, [Cost(row, row, row) for row in rows])[1]
        estimate = statistic.estimate()
        hits += estimate.low <= true <= estimate.high
    assert covered(hits, low=0.91)


def test_typicality_is_covered_though_real_texts_are_few() -> None:
    """Samples and real texts are from one sampler; the interval must include the sampling error of the real texts."""
    random, hits = np.random.default_rng(4), {"typical": 0, "typicality": 0}
    for _ in range(REPEATS):
        samples = [SimpleNamespace(base_nats=value, tokens=[0]) for value in random.gamma(9.0, 0.1, size=64)]
        real = RealCosts(tuple(random.gamma(9.0, 0.1, size=(40, 1))))
        for statistic, true in zip(typicality_statistics(samples, real)[1:], (CENTRAL, 0.5), strict=True):
            estimate = statistic.estimate()
            hits[estimate.name] += estimate.low <= true <= estimate.high
    assert covered(hits["typical"], low=0.93, high=1.0) and covered(hits["typicality"], low=0.93, high=1.0)


@pytest.mark.parametrize("shares", [(0.9, 0.7), (0.5, 0.5)])
def test_differences_are_covered(shares: tuple[float, float]) -> None:
    random, hits = np.random.default_rng(5), 0
    for _ in range(REPEATS):
        one, other = (mean_of("", random.random(64) < share).estimate() for share in shares)
        estimate = difference(other, one)
        hits += estimate.low <= shares[1] - shares[0] <= estimate.high
    assert covered(hits)
