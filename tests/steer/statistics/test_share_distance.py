"""Distances between observed and true shares: SciPy's values, the noise floor, and coverage of the intervals."""

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon

from steer.statistics.share_distance import expected_variation, jensen_shannon, share_distance, total_variation
from vectors.common.errors import InputError

EVEN = np.full(8, 1 / 8)
UNEVEN = np.array([0.3, 0.2, 0.15, 0.1, 0.1, 0.08, 0.05, 0.02])
COIN = np.array([0.996, 0.004])


def test_the_divergence_is_scipy_s():
    random = np.random.default_rng(0)
    for _ in range(20):
        first, second = random.dirichlet(np.full(5, 0.3)), random.dirichlet(np.full(5, 0.3))
        second[first.argmin()] = 0
        second /= second.sum()
        assert jensen_shannon(first, second) == pytest.approx(jensenshannon(first, second) ** 2, abs=1e-12)


@pytest.mark.parametrize("truth", [EVEN, UNEVEN, COIN])
@pytest.mark.parametrize("n", [1, 7, 200])
def test_the_noise_floor_is_the_mean_of_perfect_samplers(truth, n):
    drawn = np.random.default_rng(1).multinomial(n, truth, size=40_000) / n
    distances = total_variation(drawn, truth)
    error = distances.std() / 200
    assert expected_variation(truth, n) == pytest.approx(distances.mean(), abs=4 * error + 1e-9)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("truth", "towards", "part"),
    [
        (COIN, np.array([0.8, 0.2]), 0.15),
        (
            np.full(6, 1 / 6),
            np.array([1.0, 0, 0, 0, 0, 0]),
            0.05,
        ),  # noise spreads over all of them
    ],
)
def test_intervals_of_total_variation_cover(truth, towards, part):
    """The interval holds for the least favourable sampler at a distance, so it covers others more often."""
    sampler = (1 - part) * truth + part * towards
    true, random, hits = total_variation(sampler, truth), np.random.default_rng(7), 0
    for repeat in range(1000):
        estimate = share_distance(random.multinomial((50, 200)[repeat % 2], sampler), truth, seed=repeat)
        hits += estimate.low - 1e-9 <= true <= estimate.high
    assert hits / 1000 >= 0.93


def test_observed_shares_equal_to_the_truth_do_not_prove_a_perfect_sampler():
    for counts, truth in ((np.array([396, 4]), np.array([0.99, 0.01])), (np.array([30, 70]), np.array([0.3, 0.7]))):
        estimate = share_distance(counts, truth)
        assert (
            estimate.value == pytest.approx(0.0, abs=1e-12) and estimate.low == 0.0 and estimate.high > estimate.floor
        )


def test_the_interval_contains_the_value():
    random = np.random.default_rng(2)
    for _ in range(20):
        estimate = share_distance(random.multinomial(60, UNEVEN), UNEVEN)
        assert estimate.low <= estimate.value <= estimate.high


def test_a_truth_counted_in_texts_widens_the_interval():
    counts = np.array([60, 20, 20])
    exact = share_distance(counts, np.full(3, 1 / 3))
    counted = share_distance(counts, np.full(3, 1 / 3), known_from=100)
    assert counted.floor > 1.2 * exact.floor
    assert counted.low < exact.low and counted.high > exact.high


def test_no_texts_and_invalid_shares_are_refused():
    with pytest.raises(InputError, match="no texts"):
        share_distance(np.array([0, 0]), np.array([0.5, 0.5]))
    with pytest.raises(InputError, match="1 in all"):
        share_distance(np.array([1, 2]), np.array([0.5, 0.6]))
