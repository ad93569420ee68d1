"""Distance between observed and true shares: total variation and Jensen-Shannon, with noise floor and interval."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from vectors.common.errors import InputError

Shares = Float64[np.ndarray, " values"]
Measure = Callable[[Float64[np.ndarray, "*rows values"], Float64[np.ndarray, "*rows values"]], np.ndarray]

DRAWS = 1000
"""Number of simulated sets of texts for each sampler that is considered."""

_STEPS = 12  # bisection steps for a bound of an interval
_TAIL = 0.025
_TIE = 1e-12  # distances that differ by less are equal up to rounding
_FARTHEST = 2.0**10  # largest multiple of the observed deviation that is considered


@dataclass(frozen=True)
class Distance:
    """A distance between observed and true shares.

    Attributes:
        value: the observed distance; sampling noise alone makes it positive.
        low, high: 95 % interval of the distance of the sampler's own shares, without noise; `high >= value`.
        floor: mean distance of a perfect sampler with as many texts.
        ceiling: 97.5th percentile of the distance of a perfect sampler.
    """

    value: float
    low: float
    high: float
    floor: float
    ceiling: float


def total_variation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return half the summed absolute difference over the last axis: 0 for equal shares, 1 for disjoint ones.

    >>> float(total_variation(np.array([0.5, 0.5]), np.array([1.0, 0.0])))
    0.5
    """
    distance: np.ndarray = np.abs(first - second).sum(axis=-1) / 2
    return distance


def jensen_shannon(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the Jensen-Shannon divergence over the last axis, in nats: at most log 2.

    >>> round(float(jensen_shannon(np.array([1.0, 0.0]), np.array([0.0, 1.0]))), 4)
    0.6931
    """
    mean = (first + second) / 2
    parts = []
    for shares in (first, second):
        positive = np.where(shares > 0, shares, 1.0)
        parts.append((positive * np.log(positive / np.where(shares > 0, mean, 1.0)) * (shares > 0)).sum(axis=-1))
    divergence: np.ndarray = np.maximum((parts[0] + parts[1]) / 2, 0.0)
    return divergence


def expected_variation(truth: Shares, n: int) -> float:
    """Return the exact expected total variation between the truth and `n` samples from it.

    It is half the sum of the mean absolute deviations of all values.
    Source: De Moivre's closed form for the binomial; Diaconis and Zabell, "Closed form summation" (1991).

    >>> round(expected_variation(np.array([0.5, 0.5]), 1), 6)
    0.5
    """
    return sum(_mean_deviation(float(share), n) for share in truth) / 2


def _mean_deviation(share: float, n: int) -> float:
    """Return the mean of |hits / n - share| for binomial hits."""
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


def share_distance(
    counts: Int64[np.ndarray, " values"],
    truth: Shares,
    *,
    measure: Measure = total_variation,
    known_from: int | None = None,
    seed: int = 0,
) -> Distance:
    """Return the distance between the shares of a sampler, known by its counts, and the true shares.

    The interval is found by simulation: it holds the distances of all samplers, on straight lines from the truth
    through the observed shares and beyond, whose simulated distances are consistent with the observed one at 95 %.

    Args:
        counts: number of texts with each value.
        truth: the true shares, or shares observed in reference texts.
        measure: the distance between two arrays of shares.
        known_from: number of reference texts that the truth was counted in; `None` if it is exact.
        seed: of the simulation.

    Raises:
        InputError: no texts, or true shares that do not sum to one.
    """
    n = int(counts.sum())
    if n < 1:
        raise InputError("there are no texts to count shares in: give at least one")
    if len(counts) != len(truth) or (truth < 0).any() or not math.isclose(float(truth.sum()), 1.0, abs_tol=1e-9):
        raise InputError(f"the true shares sum to {float(truth.sum()):g}: give one for each value, 1 in all")
    observed = counts / n
    value = float(measure(observed, truth))
    draw_seed = int(np.random.default_rng(seed).integers(2**32))

    def simulate(shares: Shares) -> np.ndarray:
        """Return the distances that samplers with these shares show."""
        drawn = np.random.default_rng(draw_seed).multinomial(n, shares, size=DRAWS) / n
        if known_from is None:
            return measure(drawn, truth)
        reference = np.random.default_rng(draw_seed + 1).multinomial(known_from, truth, size=DRAWS) / known_from
        return measure(drawn, reference)

    perfect = simulate(truth)
    exact = measure is total_variation and known_from is None
    floor = expected_variation(truth, n) if exact else float(perfect.mean())
    if value > _TIE:
        ends = [observed, 2 * truth - observed, *_extreme_shares(observed, truth)]
    else:
        ends = [_rarest_only(truth)] * 2
    forward, backward, *others = (_Line(truth, end, measure, simulate, value) for end in ends)
    # The backward line counts for the upper bound only: few texts may show too few of a value that the sampler has too
    # many of. The other lines count for both: at the same distance, shares that deviate in a single value are observed
    # with a larger distance than shares that deviate in many.
    high = max(value, *(line.largest() for line in (forward, backward, *others)))
    low = min(high, *(line.smallest() for line in (forward, *others)))
    return Distance(value, low, high, floor, float(np.quantile(perfect, 1 - _TAIL)))


def _extreme_shares(observed: Shares, truth: Shares) -> tuple[Shares, Shares]:
    """Return shares as far from the truth as the observed ones: deviating in two values, and in all values evenly."""
    excess, distance = observed - truth, total_variation(observed, truth)
    single, even = truth.copy(), truth.copy()
    single[int(excess.argmax())] += distance
    single[int(excess.argmin())] -= distance
    over = excess > 0
    even[over] += distance / over.sum()
    even[~over] *= 1 - distance / truth[~over].sum()
    return single, even


def _rarest_only(truth: Shares) -> Shares:
    """Return shares far from the truth: all texts have its rarest value."""
    shares = np.zeros_like(truth)
    shares[int(truth.argmin())] = 1.0
    return shares


@dataclass(frozen=True)
class _Line:
    """Samplers on the straight line from the truth through other shares and beyond; negative shares become zero."""

    truth: Shares
    through: Shares
    measure: Measure
    simulate: Callable[[Shares], np.ndarray]
    value: float

    def smallest(self) -> float:
        """Return the smallest distance of a sampler that shows the observed one, or more, with probability 2.5 %."""
        return self._bound(lambda distances: distances >= self.value - _TIE, inside=1.0, outside=0.0)

    def largest(self) -> float:
        """Return the largest distance of a sampler that shows the observed one, or less, with probability 2.5 %."""

        def as_small(distances: np.ndarray) -> np.ndarray:
            small: np.ndarray = distances <= self.value + _TIE
            return small

        inside, outside = 0.0, 1.0
        while outside < _FARTHEST and self._is_consistent(as_small, outside):
            inside, outside = outside, 2 * outside
        return self._bound(as_small, inside=inside, outside=outside)

    def _shares(self, position: float) -> Shares:
        shares = np.clip(self.truth + position * (self.through - self.truth), 0.0, None)
        normalised: Shares = shares / shares.sum()
        return normalised

    def _distance(self, position: float) -> float:
        return float(self.measure(self._shares(position), self.truth)) if position else 0.0

    def _is_consistent(self, condition: Callable[[np.ndarray], np.ndarray], position: float) -> bool:
        return float(condition(self.simulate(self._shares(position))).mean()) > _TAIL

    def _bound(self, condition: Callable[[np.ndarray], np.ndarray], *, inside: float, outside: float) -> float:
        """Return the distance at the last consistent position between `inside` and `outside`, by bisection."""
        if self._is_consistent(condition, outside):
            return self._distance(outside)
        for _ in range(_STEPS):
            middle = (inside + outside) / 2
            inside, outside = (middle, outside) if self._is_consistent(condition, middle) else (inside, middle)
        return self._distance(inside)
