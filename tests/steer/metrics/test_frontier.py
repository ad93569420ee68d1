"""Frontier: about one for real texts, and zero if one of the three parts is zero."""

import numpy as np
import pytest

from steer.metrics.diversity.vendi import cosines
from steer.metrics.frontier import frontier
from vectors.common.errors import InputError

N = 60


@pytest.fixture(scope="module")
def real() -> np.ndarray:
    return cosines(np.random.default_rng(0).normal(size=(N, 20)) + 0.5)


def test_real_texts_reach_about_one(real: np.ndarray) -> None:
    random = np.random.default_rng(1)
    result = frontier(np.ones(N, bool), random.random(N) < 0.9, cosines(random.normal(size=(N, 20)) + 0.5), real=real)
    assert result.whole.value == pytest.approx(1.0, abs=0.05)
    assert 0.95 < result.whole.perfect < 1.0  # sampling noise lowers one part or another
    assert result.figures[0].name == "frontier" and len(result.figures) == 4


@pytest.mark.parametrize("part", ["success", "typical", "diversity"])
def test_it_is_zero_if_one_part_is_zero(real: np.ndarray, part: str) -> None:
    hits = np.zeros(N, bool) if part == "success" else np.ones(N, bool)
    typical = np.zeros(N, bool) if part == "typical" else np.ones(N, bool)
    kernel = np.ones((N, N)) if part == "diversity" else real
    whole = frontier(hits, typical, kernel, real=real).whole
    assert whole.value == pytest.approx(0.0, abs=1e-6) and whole.high > 0.01


def test_it_is_the_harmonic_mean_of_its_parts(real: np.ndarray) -> None:
    random = np.random.default_rng(2)
    result = frontier(random.random(N) < 0.5, random.random(N) < 0.6, real, real=real)
    parts = [min(1.0, each.value) for each in result.figures[1:]]
    assert result.whole.value == pytest.approx(3 / sum(1 / part for part in parts))
    assert result.whole.low < result.whole.value < result.whole.high


def test_parts_of_other_texts_are_refused(real: np.ndarray) -> None:
    hits = np.ones(N, bool)
    with pytest.raises(InputError, match="same texts"):
        frontier(hits[:-1], hits, real, real=real)
    with pytest.raises(InputError, match="all alike"):
        frontier(hits, hits, real, real=np.ones((N, N)))
    with pytest.raises(InputError, match="as many or more"):
        frontier(hits, hits, real, real=real[:9, :9])
