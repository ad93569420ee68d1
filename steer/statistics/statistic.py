"""A statistic of texts as a function of a subset of them, so that it can be resampled, permuted and compared."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from steer.statistics.estimate import Estimate
from steer.statistics.intervals import GROUPS, Compute, bootstrap, jackknife, rate

RULE_OF_THREE = 3.0
"""Expected count at which an event is observed at least once with 95 % probability; Hanley and Lippman-Hand (1983)."""

IntervalMethod = Literal["wilson", "jackknife", "bootstrap"]

_EQUAL = 1e-9
_REFERENCE_GROUPS = 20  # large groups: leaving out a single text hardly changes a percentile


@dataclass(frozen=True)
class ReferenceTexts:
    """Other texts, such as real ones, that a statistic also depends on.

    Attributes:
        compute: from the indices of a subset of the reference texts to the statistic of all sampled texts.
        n: number of reference texts.
    """

    compute: Compute
    n: int


@dataclass(frozen=True, kw_only=True)
class Statistic:
    """A statistic of a set of texts, or of any subset of them.

    Attributes:
        name: name of the estimate.
        compute: from the indices of a subset of the texts to the value.
        n: number of texts.
        perfect: expected value for a perfect sampler.
        empty: expected value for a sampler without any effect.
        interval: `wilson` for a share of texts, `bootstrap` for a percentile, else `jackknife`.
        groups: number of groups that the jackknife leaves out in turn; fewer if `compute` is slow.
        minimum, maximum: range of possible values; intervals are clipped to it.
        rule_of_three: value when no text deviates, and the bound that the rule of three still allows.
        reference_texts: other texts that the value depends on; their sampling error widens the interval.
    """

    name: str
    compute: Compute
    n: int
    perfect: float | None = None
    empty: float | None = None
    interval: IntervalMethod = "jackknife"
    groups: int = GROUPS
    minimum: float = 0.0
    maximum: float = math.inf
    rule_of_three: tuple[float, float] | None = None
    reference_texts: ReferenceTexts | None = None

    def estimate(self, *, seed: int = 0) -> Estimate:
        """Return the value over all texts with its interval.

        Raises:
            InputError: fewer than two texts, or none for a share.
        """
        if self.interval == "wilson":
            value, low, high = rate(round(self.compute(np.arange(self.n)) * self.n) if self.n else 0, self.n)
        elif self.interval == "bootstrap":
            value, low, high = bootstrap(self.compute, self.n, seed=seed)
        else:
            value, low, high = jackknife(self.compute, self.n, groups=self.groups, seed=seed)
        if self.rule_of_three is not None and math.isclose(value, self.rule_of_three[0], abs_tol=_EQUAL):
            low, high = min(low, self.rule_of_three[1]), max(high, self.rule_of_three[1])
        if self.reference_texts is not None:
            reference = self.reference_texts
            _, below, above = jackknife(reference.compute, reference.n, groups=_REFERENCE_GROUPS, seed=seed)
            low, high = value - math.hypot(value - low, value - below), value + math.hypot(high - value, above - value)
        low, high = min(value, max(low, self.minimum)), max(value, min(high, self.maximum))
        return Estimate(
            name=self.name, value=value, low=low, high=high, n=self.n, perfect=self.perfect, empty=self.empty
        )


def mean_of(
    name: str, values: np.ndarray, *, perfect: float | None = None, empty: float | None = None, minimum: float = 0.0
) -> Statistic:
    """Return the mean of one number per text as a statistic; of booleans, the share of true ones."""
    numbers, is_share = values.astype(float), values.dtype == bool
    return Statistic(
        name=name,
        compute=lambda subset: float(numbers[subset].mean()),
        n=len(values),
        perfect=perfect,
        empty=empty,
        interval="wilson" if is_share else "jackknife",
        minimum=minimum,
        maximum=1.0 if is_share else math.inf,
    )


def ratio_of(name: str, numerators: np.ndarray, denominators: np.ndarray, *, perfect: float | None = None) -> Statistic:
    """Return the ratio of two sums over the texts as a statistic, such as nats over tokens."""
    return Statistic(
        name=name,
        compute=lambda subset: float(numerators[subset].sum() / denominators[subset].sum()),
        n=len(numerators),
        perfect=perfect,
    )
