"""95 % intervals: of a rate, of a count, and of any smooth statistic of independent texts."""

import math
from collections.abc import Callable
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from steer.statistics.estimate import Estimate
from vectors.common.errors import InputError
from vectors.common.statistics import wilson

CONFIDENCE = 0.95

GROUPS = 64
"""Parts of the texts that the jackknife leaves out, one at a time: more would be slow and say little more."""

RESAMPLES = 200
"""Sets of texts drawn anew for a bootstrap."""

Statistic = Callable[[np.ndarray], float]
"""From the places of the texts that are kept to what is measured on them."""

_Z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)


class Interval(NamedTuple):
    """A value with the bounds of its 95 % interval."""

    value: float
    low: float
    high: float


def rate(hits: int, n: int) -> Interval:
    """Return a rate and its interval, Wilson's.

    Raises:
        InputError: no texts.

    >>> [round(bound, 3) for bound in rate(9, 10)]
    [0.9, 0.596, 0.982]
    """
    if n < 1:
        raise InputError("there are no texts to measure a rate on: give at least one")
    return Interval(hits / n, *wilson(hits, n))


def difference(first: Interval | Estimate, second: Interval | Estimate) -> Interval:
    """Return the first value minus the second, with the interval that follows from the intervals of both.

    The two are taken as independent. The distances from each value to its bounds are combined as the root of the sum of
    their squares.

    Source: Newcombe, "Interval estimation for the difference between independent proportions" (1998), method 10; for
    other statistics, Zou and Donner, "Construction of confidence limits about effect measures" (2008).

    >>> [round(bound, 3) for bound in difference(rate(56, 70), rate(48, 80))]
    [0.2, 0.052, 0.334]
    """
    value = first.value - second.value
    below = math.hypot(first.value - first.low, second.high - second.value)
    above = math.hypot(first.high - first.value, second.value - second.low)
    return Interval(value, value - below, value + above)


def jackknifed(statistic: Statistic, n: int, *, groups: int = GROUPS, seed: int = 0) -> Interval:
    """Return a statistic of `n` independent texts and its interval, by leaving out a part of them at a time.

    It bears statistics that count how alike the texts are, which a bootstrap, with its copies, would call less varied.
    The interval is Student's around the value, as wide as the spread of the pseudo-values says.

    Source: Tukey's jackknife; Efron and Tibshirani, "An introduction to the bootstrap" (1993), chapter 11.

    Raises:
        InputError: fewer than two texts.

    >>> values = np.arange(10.0)
    >>> [round(bound, 3) for bound in jackknifed(lambda subset: values[subset].mean(), 10)]
    [4.5, 2.334, 6.666]
    """
    if n < 2:
        raise InputError(f"there are {n} texts: an interval needs at least two")
    places = np.arange(n)
    value = float(statistic(places))
    order = places if n <= groups else np.random.default_rng(seed).permutation(n)
    parts = np.array_split(order, min(n, groups))
    without = np.array([statistic(np.setdiff1d(places, part)) for part in parts])
    sizes = np.array([len(part) for part in parts])
    # groups may differ in size by one: each has its own weight (Busing, Meijer and van der Leeden, 1999)
    share = n / sizes
    middle = len(parts) * value - float(((1 - 1 / share) * without).sum())
    pseudo = share * value - (share - 1) * without
    error = math.sqrt(float((((pseudo - middle) ** 2) / (share - 1)).mean()))
    half = student(len(parts) - 1) * error
    return Interval(value, value - half, value + half)


def resampled(statistic: Statistic, n: int, *, seed: int = 0) -> Interval:
    """Return a statistic of `n` independent texts and its interval, from texts drawn anew among them.

    It bears percentiles, which a jackknife, whose parts hardly change them, would call too certain; statistics that
    count how alike the texts are need the jackknife.

    Source: the percentile bootstrap; Efron and Tibshirani, "An introduction to the bootstrap" (1993), chapter 13.

    Raises:
        InputError: fewer than two texts.
    """
    if n < 2:
        raise InputError(f"there are {n} texts: an interval needs at least two")
    random = np.random.default_rng(seed)
    drawn = [statistic(np.sort(random.integers(n, size=n))) for _ in range(RESAMPLES)]
    low, high = np.quantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    value = float(statistic(np.arange(n)))
    return Interval(value, min(value, float(low)), max(value, float(high)))


def student(freedom: int) -> float:
    """Return how many standard errors a 95 % interval reaches to either side, at so many degrees of freedom.

    Source: the expansion of Cornish and Fisher, to the fourth order; from 4 degrees on it is right to a hundredth.

    >>> round(student(9), 2), round(student(10**6), 2)
    (2.26, 1.96)
    """
    exact = {1: 12.706, 2: 4.303, 3: 3.182}
    if freedom in exact:
        return exact[freedom]
    z, v = _Z, float(freedom)
    terms = (
        (z**3 + z) / 4 / v,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96 / v**2,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384 / v**3,
    )
    return z + sum(terms)


def poisson(events: int) -> tuple[float, float]:
    """Return the 95 % interval of the number that was to be expected where so many events were counted.

    Source: Byar's approximation of the exact limits; Breslow and Day, "Statistical methods in cancer research" (1987).

    >>> [round(bound, 2) for bound in poisson(10)]
    [4.79, 18.39]
    """
    more = events + 1
    high = more * (1 - 1 / (9 * more) + _Z / (3 * math.sqrt(more))) ** 3
    low = events * (1 - 1 / (9 * events) - _Z / (3 * math.sqrt(events))) ** 3 if events else 0.0
    return low, high
