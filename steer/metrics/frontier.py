"""Frontier: the harmonic mean of success, typicality and diversity, with its three parts."""

from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from steer.metrics.diversity.vendi import DRAWS, mean_vendi, vendi_of_kernel
from steer.metrics.typicality import CENTRAL
from steer.statistics.estimate import Estimate
from steer.statistics.intervals import Compute
from steer.statistics.statistic import RULE_OF_THREE, IntervalMethod, Statistic
from vectors.common.errors import InputError


@dataclass(frozen=True)
class Frontier:
    """The harmonic mean of three parts, and the parts, each relative to real texts.

    In the mean no part counts as more than 1, although texts may be more diverse than real ones.
    """

    whole: Estimate
    success: Estimate
    typical: Estimate
    diversity: Estimate

    @property
    def figures(self) -> tuple[Estimate, ...]:
        """The harmonic mean, then its parts."""
        return (self.whole, self.success, self.typical, self.diversity)


def frontier(
    succeeded: np.ndarray, typical: np.ndarray, kernel: np.ndarray, *, real: np.ndarray, seed: int = 0
) -> Frontier:
    """Return the harmonic mean of three parts of a run: success, typicality, and normalised diversity.

    The parts are the share of successful texts; the share of typical texts, divided by that of real texts (0.9); and
    the Vendi score of order 1, less one, of the successful texts, divided by that of as many real texts. The mean is 0
    if one part is 0, for instance for copies of one text. The interval takes into account that each text counts in all
    three parts.

    Args:
        succeeded: whether each text has what was asked for.
        typical: whether the base model finds it as likely as real texts.
        kernel: cosine similarities between the texts.
        real: cosine similarities between real texts that have what was asked for; at least as many.
        seed: of the intervals.

    Raises:
        InputError: parts of unequal length, too few real texts, or real texts that are all alike.
    """
    whole, *parts = frontier_statistics(succeeded, typical, kernel, real=real)
    return Frontier(whole.estimate(seed=seed), *(part.estimate(seed=seed) for part in parts))


def frontier_statistics(
    succeeded: np.ndarray, typical: np.ndarray, kernel: np.ndarray, *, real: np.ndarray
) -> tuple[Statistic, ...]:
    """Return the harmonic mean and its three parts as statistics."""
    n = len(kernel)
    if not len(succeeded) == len(typical) == n:
        raise InputError(f"{len(succeeded)}, {len(typical)} and {n} texts: give each of the three for the same texts")
    if len(real) < n:
        raise InputError(f"there are {len(real)} real texts for {n} sampled ones: give as many or more")
    if vendi_of_kernel(real) <= 1 + 1e-6:
        raise InputError("the real texts are all alike: nothing can be measured against them")

    @cache
    def real_diversity(count: int) -> float:
        return mean_vendi(real, count) - 1

    def success_part(subset: np.ndarray) -> float:
        return float(succeeded[subset].mean())

    def typical_part(subset: np.ndarray) -> float:
        return float(typical[subset].mean()) / CENTRAL

    def diversity_part(subset: np.ndarray) -> float:
        successes = subset[succeeded[subset]]
        if len(successes) < 2:
            return 0.0
        score = vendi_of_kernel(kernel[np.ix_(successes, successes)])
        return (score - 1) / max(real_diversity(len(successes)), 1e-9)

    def harmonic_mean(subset: np.ndarray) -> float:
        parts = [min(1.0, part(subset)) for part in (success_part, typical_part, diversity_part)]
        return 3 / sum(1 / part for part in parts) if min(parts) > 0 else 0.0

    groups = 16 if n > 256 else Statistic.groups
    possible_success = min(1.0, RULE_OF_THREE / n)  # where no text succeeded

    def statistic(name: str, compute: Compute, perfect: float, interval: IntervalMethod = "jackknife") -> Statistic:
        return Statistic(
            name=name,
            compute=compute,
            n=n,
            perfect=perfect,
            empty=0.0,
            interval=interval,
            groups=groups,
        )

    whole = statistic("frontier", harmonic_mean, _expected_mean(real, n))
    return (
        replace(whole, rule_of_three=(0.0, 3 / (1 / possible_success + 2))),
        statistic("successful", success_part, 1.0, "wilson"),
        statistic("typical part", typical_part, 1.0),
        statistic("diversity part", diversity_part, 1.0),
    )


def _expected_mean(real: np.ndarray, n: int) -> float:
    """Return the mean frontier of `n` real texts: sampling noise lowers it, as no part counts as more than 1."""
    random, means, real_diversity = np.random.default_rng(0), [], mean_vendi(real, n) - 1
    for _ in range(DRAWS):
        indices = np.sort(random.choice(len(real), n, replace=False))
        typical = random.binomial(n, CENTRAL) / n / CENTRAL
        diversity = (vendi_of_kernel(real[np.ix_(indices, indices)]) - 1) / real_diversity
        means.append(3 / (1 + 1 / min(1.0, typical) + 1 / min(1.0, diversity)))
    return float(np.mean(means))
