"""How far counted shares lie from true ones: total variation and Jensen-Shannon, their noise floors and intervals."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from vectors.common.errors import InputError

Shares = Float64[np.ndarray, " values"]
Measure = Callable[[Float64[np.ndarray, "*rows values"], Float64[np.ndarray, "*rows values"]], np.ndarray]

DRAWS = 1000
_STEPS = 12  # halvings of a bound of an interval
_TAIL = 0.025
_TIE = 1e-12  # distances that differ by rounding only are the same
_FARTHEST = 2.0**10  # times the counted difference


@dataclass(frozen=True)
class Distance:
    """A distance between counted and true shares.

    Attributes:
        value: as counted; noise alone makes it more than zero.
        low, high: 95 % interval of the sampler's own distance, noise taken off; it reaches up to the value at least.
        floor: what a perfect sampler would show on the average at that number of texts.
        ceiling: what a perfect sampler stays below 39 times in 40.
    """

    value: float
    low: float
    high: float
    floor: float
    ceiling: float


def total_variation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return half the summed difference over the last axis: 0 for the same shares, 1 for shares that never meet.

    >>> float(total_variation(np.array([0.5, 0.5]), np.array([1.0, 0.0])))
    0.5
    """
    distance: np.ndarray = np.abs(first - second).sum(axis=-1) / 2
    return distance


def jensen_shannon(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the divergence of both from their mean, in nats, over the last axis: at most log 2.

    >>> round(float(jensen_shannon(np.array([1.0, 0.0]), np.array([0.0, 1.0]))), 4)
    0.6931
    """
    middle = (first + second) / 2
    parts = []
    for shares in (first, second):
        inside = np.where(shares > 0, shares, 1.0)
        parts.append((inside * np.log(inside / np.where(shares > 0, middle, 1.0)) * (shares > 0)).sum(axis=-1))
    divergence: np.ndarray = np.maximum((parts[0] + parts[1]) / 2, 0.0)
    return divergence


def expected_variation(truth: Shares, n: int) -> float:
    """Return the mean total variation of `n` perfect samples from the truth, exactly.

    Half the sum over the values of each one's mean absolute deviation.
    Source: De Moivre's closed form for the binomial; Diaconis and Zabell, "Closed form summation" (1991).

    >>> round(expected_variation(np.array([0.5, 0.5]), 1), 6)
    0.5
    """
    return sum(_deviation(float(share), n) for share in truth) / 2


def _deviation(share: float, n: int) -> float:
    """Mean of |hits / n - share|."""
    if share <= 0 or share >= 1:
        return 0.0
    above = math.floor(n * share) + 1
    log = (
        math.lgamma(n + 1)
        - math.lgamma(above + 1)
        - math.lgamma(n - above + 1)
        + above * math.log(share)
        + (n - above + 1) * math.log1p(-share)
    )
    return 2 * above * math.exp(log) / n


def measured(
    counts: Int64[np.ndarray, " values"],
    truth: Shares,
    *,
    measure: Measure = total_variation,
    known_from: int | None = None,
    seed: int = 0,
) -> Distance:
    """Return how far the sampler behind the counts is from the truth.

    The interval is found by asking of samplers on the way from the truth through the counted shares, which of them
    would show a distance such as this one 19 times in 20: at a distance of zero as anywhere else.

    Args:
        counts: how many texts have each value.
        truth: the true shares, or those counted in other texts.
        measure: of the distance.
        known_from: how many texts the truth was itself counted in; by default it is exact.
        seed: of the simulated samplers.

    Raises:
        InputError: no texts, or shares that do not sum to one.
    """
    n = int(counts.sum())
    if n < 1:
        raise InputError("there are no texts to count shares in: give at least one")
    if len(counts) != len(truth) or (truth < 0).any() or not math.isclose(float(truth.sum()), 1.0, abs_tol=1e-9):
        raise InputError(f"the true shares sum to {float(truth.sum()):g}: give one for each value, 1 in all")
    counted = counts / n
    value = float(measure(counted, truth))
    uniforms = np.random.default_rng(seed)

    def shown(shares: Shares) -> np.ndarray:
        """Distances that samplers of these shares show."""
        drawn = np.random.default_rng(state).multinomial(n, shares, size=DRAWS) / n
        if known_from is None:
            return measure(drawn, truth)
        return measure(drawn, np.random.default_rng(state + 1).multinomial(known_from, truth, size=DRAWS) / known_from)

    state = int(uniforms.integers(2**32))
    perfect = shown(truth)
    exact = measure is total_variation and known_from is None
    floor = expected_variation(truth, n) if exact else float(perfect.mean())
    there, back, *others = (
        _Way(truth, end, measure, shown, value)
        for end in ((counted, 2 * truth - counted, *_ends(counted, truth)) if value > _TIE else (_away(truth),) * 2)
    )
    # few texts may show too few of a value that the sampler has too many of; and of two samplers as far from the truth,
    # one that is so in a single value shows more of it than one that is so in many
    high = max(value, *(way.most() for way in (there, back, *others)))
    low = min(high, *(way.least() for way in (there, *others)))
    return Distance(value, low, high, floor, _ceiling(perfect))


def _ends(counted: Shares, truth: Shares) -> tuple[Shares, Shares]:
    """Shares as far from the truth as those counted: one value in place of another, and all too many evenly so."""
    over, distance = counted - truth, total_variation(counted, truth)
    single, even = truth.copy(), truth.copy()
    single[int(over.argmax())] += distance
    single[int(over.argmin())] -= distance
    many = over > 0
    even[many] += distance / many.sum()
    even[~many] *= 1 - distance / truth[~many].sum()
    return single, even


def _ceiling(perfect: np.ndarray) -> float:
    return float(np.quantile(perfect, 1 - _TAIL))


def _away(truth: Shares) -> Shares:
    """Shares far from the truth: all of the least likely value."""
    far = np.zeros_like(truth)
    far[int(truth.argmin())] = 1.0
    return far


@dataclass(frozen=True)
class _Way:
    """The way from the truth through other shares and beyond, until every share that falls is gone."""

    truth: Shares
    through: Shares
    measure: Measure
    shown: Callable[[Shares], np.ndarray]
    value: float

    def at(self, part: float) -> Shares:
        shares = np.clip(self.truth + part * (self.through - self.truth), 0.0, None)
        gone: Shares = shares / shares.sum()
        return gone

    def away(self, part: float) -> float:
        return float(self.measure(self.at(part), self.truth)) if part else 0.0

    def least(self) -> float:
        """The smallest distance that shows one as large as the value more than once in 40 times."""
        return self._edge(lambda distances: distances >= self.value - _TIE, inside=1.0, outside=0.0)

    def most(self) -> float:
        """The largest distance that shows one as small as the value more than once in 40 times."""

        def shows(distances: np.ndarray) -> np.ndarray:
            small: np.ndarray = distances <= self.value + _TIE
            return small

        inside, outside = 0.0, 1.0
        while outside < _FARTHEST and self._may(shows, outside):
            inside, outside = outside, 2 * outside
        return self._edge(shows, inside=inside, outside=outside)

    def _may(self, shows: Callable[[np.ndarray], np.ndarray], part: float) -> bool:
        return float(shows(self.shown(self.at(part))).mean()) > _TAIL

    def _edge(self, shows: Callable[[np.ndarray], np.ndarray], *, inside: float, outside: float) -> float:
        if self._may(shows, outside):
            return self.away(outside)
        for _ in range(_STEPS):
            middle = (inside + outside) / 2
            inside, outside = (middle, outside) if self._may(shows, middle) else (inside, middle)
        return self.away(inside)
