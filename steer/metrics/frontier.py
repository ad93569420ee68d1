"""One figure for three: how far success, typicality and diversity are had at once, never without its parts."""

from dataclasses import dataclass
from functools import cache

import numpy as np

from steer.metrics.diversity.vendi import DRAWS, usual_vendi, vendi_of
from steer.metrics.typicality import CENTRAL
from steer.statistics.estimate import Estimate
from steer.statistics.statistic import RULE_OF_THREE, Statistic
from vectors.common.errors import InputError


@dataclass(frozen=True)
class Frontier:
    """The harmonic mean of three shares, and the three: each as a share of what real texts show.

    In the whole none of them counts as more than 1; by itself, texts may be more diverse than real ones.
    """

    whole: Estimate
    success: Estimate
    typical: Estimate
    diversity: Estimate

    @property
    def figures(self) -> tuple[Estimate, ...]:
        """The whole first."""
        return (self.whole, self.success, self.typical, self.diversity)


def frontier(
    succeeded: np.ndarray, typical: np.ndarray, kernel: np.ndarray, *, real: np.ndarray, seed: int = 0
) -> Frontier:
    """Return the harmonic mean of three parts of a run: success, typicality in range, and normalised diversity.

    The share of successful texts; the share in the typical range, as a share of what real texts show there (0.9); and
    the successful texts' Vendi score of order 1, less one, as a share of what as many real texts show. Copies of one
    text are nothing, and so is a run in which one of the three is nothing. Every text counts in all three at once, so
    that the interval is that of the whole.

    Args:
        succeeded: whether each text has what was asked for.
        typical: whether the base model finds it as likely as real texts.
        kernel: cosines between the texts.
        real: cosines between real texts that have what was asked for, at least as many.
        seed: of the intervals.

    Raises:
        InputError: parts of unequal length, or real texts that are all alike.
    """
    whole, *parts = frontier_of(succeeded, typical, kernel, real=real)
    return Frontier(whole.estimate(seed=seed), *(part.estimate(seed=seed) for part in parts))


def frontier_of(
    succeeded: np.ndarray, typical: np.ndarray, kernel: np.ndarray, *, real: np.ndarray
) -> tuple[Statistic, ...]:
    """Return the whole and its three parts as statistics."""
    n = len(kernel)
    if not len(succeeded) == len(typical) == n:
        raise InputError(f"{len(succeeded)}, {len(typical)} and {n} texts: give each of the three for the same texts")
    if len(real) < n:
        raise InputError(f"there are {len(real)} real texts for {n} sampled ones: give as many or more")
    if vendi_of(real) <= 1 + 1e-6:
        raise InputError("the real texts are all alike: nothing can be measured against them")

    @cache
    def best(count: int) -> float:
        return usual_vendi(real, count) - 1

    def successes(kept: np.ndarray) -> float:
        return float(succeeded[kept].mean())

    def inside(kept: np.ndarray) -> float:
        return float(typical[kept].mean()) / CENTRAL

    def spread(kept: np.ndarray) -> float:
        good = kept[succeeded[kept]]
        if len(good) < 2:
            return 0.0
        return (vendi_of(kernel[np.ix_(good, good)]) - 1) / max(best(len(good)), 1e-9)

    def whole(kept: np.ndarray) -> float:
        parts = [min(1.0, part(kept)) for part in (successes, inside, spread)]
        return 3 / sum(1 / part for part in parts) if min(parts) > 0 else 0.0

    groups = 16 if n > 256 else Statistic.groups
    few = min(1.0, RULE_OF_THREE / n)  # successes that may well be missed
    return tuple(
        Statistic(
            name=name, compute=of, n=n, perfect=perfect, empty=0.0, groups=groups, share=name == "successful",
            unseen=(0.0, 3 / (1 / few + 2)) if name == "frontier" else None,
        )
        for name, of, perfect in (
            ("frontier", whole, _perfect(real, n)), ("successful", successes, 1.0), ("typical part", inside, 1.0),
            ("diversity part", spread, 1.0),
        )
    )  # fmt: skip


def _perfect(real: np.ndarray, n: int) -> float:
    """What so many real texts show on the average: by chance, one or the other part is less than it should be."""
    random, wholes, best = np.random.default_rng(0), [], usual_vendi(real, n) - 1
    for _ in range(DRAWS):
        places = np.sort(random.choice(len(real), n, replace=False))
        typical, spread = random.binomial(n, CENTRAL) / n / CENTRAL, (vendi_of(real[np.ix_(places, places)]) - 1) / best
        wholes.append(3 / (1 + 1 / min(1.0, typical) + 1 / min(1.0, spread)))
    return float(np.mean(wholes))
