"""95 % intervals of a rate, of a count, of a difference, and of any statistic of independent texts."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from steer.statistics.estimate import Estimate
from vectors.common.errors import InputError
from vectors.common.statistics import wilson

CONFIDENCE = 0.95

GROUPS = 64
"""Number of groups of texts that the jackknife leaves out in turn; more would be slower and hardly more exact."""

RESAMPLES = 200
"""Number of bootstrap resamples."""

Compute = Callable[[np.ndarray], float]
"""From the indices of a subset of the texts to the statistic of that subset."""

_TAIL = (1 - CONFIDENCE) / 2


class Interval(NamedTuple):
    """A value with the bounds of its 95 % interval."""

    value: float
    low: float
    high: float


def rate(hits: int, n: int) -> Interval:
    """Return a rate with its Wilson interval.

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

    The two values are assumed independent. On either side, the distances from the values to their bounds are combined
    as the square root of the sum of their squares.

    Source: Newcombe, "Interval estimation for the difference between independent proportions" (1998), method 10; for
    other statistics, Zou and Donner, "Construction of confidence limits about effect measures" (2008).

    >>> [round(bound, 4) for bound in difference(rate(56, 70), rate(48, 80))]
    [0.2, 0.0524, 0.3339]
    """
    value = first.value - second.value
    below = math.hypot(first.value - first.low, second.high - second.value)
    above = math.hypot(first.high - first.value, second.value - second.low)
    return Interval(value, value - below, value + above)


def jackknife(compute: Compute, n: int, *, groups: int = GROUPS, seed: int = 0) -> Interval:
    """Return a statistic of `n` independent texts with its jackknife interval.

    Use it for smooth statistics, such as means, ratios and measures of diversity. A bootstrap would underestimate
    diversity, because its resamples contain copies. The interval is Student's, from the variance of the pseudo-values.

    Source: Tukey's jackknife; Efron and Tibshirani, "An introduction to the bootstrap" (1993), chapter 11.

    Args:
        compute: the statistic of a subset, given the indices of its texts.
        n: number of texts.
        groups: number of groups that are left out in turn; each is one text if there are no more texts than groups.
        seed: of the assignment of texts to groups.

    Raises:
        InputError: fewer than two texts.

    >>> values = np.arange(10.0)
    >>> [round(bound, 3) for bound in jackknife(lambda subset: values[subset].mean(), 10)]
    [4.5, 2.334, 6.666]
    """
    from scipy.stats import t  # slow to import

    if n < 2:
        raise InputError(f"there are {n} texts: an interval needs at least two")
    indices = np.arange(n)
    value = float(compute(indices))
    order = indices if n <= groups else np.random.default_rng(seed).permutation(n)
    parts = np.array_split(order, min(n, groups))
    without = np.array([compute(np.delete(indices, part)) for part in parts])
    sizes = np.array([len(part) for part in parts])
    # group sizes may differ by one, so each group has its own weight (Busing, Meijer and van der Leeden, 1999)
    weight = n / sizes
    mean = len(parts) * value - float(((1 - 1 / weight) * without).sum())
    pseudo_values = weight * value - (weight - 1) * without
    error = math.sqrt(float((((pseudo_values - mean) ** 2) / (weight - 1)).mean()))
    half_width = float(t.ppf(1 - _TAIL, len(parts) - 1)) * error
    return Interval(value, value - half_width, value + half_width)


def bootstrap(compute: Compute, n: int, *, seed: int = 0) -> Interval:
    """Return a statistic of `n` independent texts with its percentile bootstrap interval.

    Use it for percentiles: a jackknife would underestimate their variance, because leaving out a few texts hardly
    changes them. Do not use it for measures of diversity.

    Source: the percentile bootstrap; Efron and Tibshirani, "An introduction to the bootstrap" (1993), chapter 13.

    Raises:
        InputError: fewer than two texts.
    """
    if n < 2:
        raise InputError(f"there are {n} texts: an interval needs at least two")
    random = np.random.default_rng(seed)
    resampled = [compute(np.sort(random.integers(n, size=n))) for _ in range(RESAMPLES)]
    low, high = np.quantile(resampled, [_TAIL, 1 - _TAIL])
    value = float(compute(np.arange(n)))
    return Interval(value, min(value, float(low)), max(value, float(high)))


def poisson_interval(events: int) -> tuple[float, float]:
    """Return the exact 95 % interval of the expected number of events, given the number observed.

    Source: Garwood, "Fiducial limits for the Poisson distribution" (1936).

    >>> [round(bound, 2) for bound in poisson_interval(10)]
    [4.8, 18.39]
    """
    from scipy.stats import chi2  # slow to import

    low = float(chi2.ppf(_TAIL, 2 * events)) / 2 if events else 0.0
    return low, float(chi2.ppf(1 - _TAIL, 2 * (events + 1))) / 2
