"""A statistic of texts: from those that are kept to a number, so that any part of them can be measured, too."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from steer.statistics.estimate import Estimate
from steer.statistics.intervals import GROUPS, jackknifed, rate, resampled

RULE_OF_THREE = 3.0
"""What is expected this often shows at least once, 19 times in 20; Hanley and Lippman-Hand (1983)."""

_SAME = 1e-9
_BESIDE_GROUPS = 20  # each leaves several texts out: the edges of a range hardly feel a single one


@dataclass(frozen=True)
class Beside:
    """Other texts, such as real ones, that a value is taken from as well.

    Attributes:
        compute: from the places of those that are kept to the value.
        n: how many there are.
    """

    compute: Callable[[np.ndarray], float]
    n: int


@dataclass(frozen=True, kw_only=True)
class Statistic:
    """What is measured on a set of texts, or on any part of it.

    Attributes:
        name: of the figure that it makes.
        compute: from the places of the texts that are kept to the value.
        n: how many texts there are.
        perfect: what a perfect sampler would show.
        empty: what a sampler without any of it would show.
        groups: parts that the jackknife leaves out, one at a time; fewer where the statistic is slow.
        share: whether the value is the share of texts that have something: its interval is then Wilson's.
        percentile: whether the value is a percentile: its interval is then a bootstrap's.
        least, most: what no value can be below or above; intervals end there.
        unseen: a value that no text differs from, and what it may still be, since what is rare is not seen in so few.
        beside: other texts that the value hangs on, whose own uncertainty widens the interval.
    """

    name: str
    compute: Callable[[np.ndarray], float]
    n: int
    perfect: float | None = None
    empty: float | None = None
    groups: int = GROUPS
    share: bool = False
    percentile: bool = False
    least: float = 0.0
    most: float = math.inf
    unseen: tuple[float, float] | None = None
    beside: Beside | None = None

    def estimate(self, *, seed: int = 0) -> Estimate:
        """Return the value over all texts with its interval.

        Raises:
            InputError: fewer than two texts, or none for a share.
        """
        if self.share:
            value, low, high = rate(round(self.compute(np.arange(self.n)) * self.n) if self.n else 0, self.n)
        elif self.percentile:
            value, low, high = resampled(self.compute, self.n, seed=seed)
        else:
            value, low, high = jackknifed(self.compute, self.n, groups=self.groups, seed=seed)
        if self.unseen is not None and math.isclose(value, self.unseen[0], abs_tol=_SAME):
            low, high = min(low, self.unseen[1]), max(high, self.unseen[1])
        if self.beside is not None:
            _, least, most = jackknifed(self.beside.compute, self.beside.n, groups=_BESIDE_GROUPS, seed=seed)
            low, high = value - math.hypot(value - low, value - least), value + math.hypot(high - value, most - value)
        low, high = min(value, max(low, self.least)), max(value, min(high, self.most))
        return Estimate(
            name=self.name, value=value, low=low, high=high, n=self.n, perfect=self.perfect, empty=self.empty
        )


def mean_of(
    name: str, values: np.ndarray, *, perfect: float | None = None, empty: float | None = None, least: float = 0.0
) -> Statistic:
    """Return the mean of a number for each text as a statistic; of booleans, the share of texts that have it."""
    numbers, share = values.astype(float), values.dtype == bool
    return Statistic(
        name=name,
        compute=lambda subset: float(numbers[subset].mean()),
        n=len(values),
        perfect=perfect,
        empty=empty,
        share=share,
        least=least,
        most=1.0 if share else math.inf,
    )


def ratio_of(name: str, above: np.ndarray, below: np.ndarray, *, perfect: float | None = None) -> Statistic:
    """Return the sum of one number for each text over the sum of another, such as nats over tokens."""
    return Statistic(
        name=name,
        compute=lambda subset: float(above[subset].sum() / below[subset].sum()),
        n=len(above),
        perfect=perfect,
    )
