"""How well scores tell texts that have a concept from others: the AUC, and how sure it is."""

from collections.abc import Sequence
from math import sqrt

import numpy as np

from vectors.common.rng import Stream, rng

_DRAWS = 1000
_COMPARED = 2000  # scores of each side that the interval is drawn from, at most


def auc(positive: Sequence[float], background: Sequence[float]) -> float:
    """Return the chance that a positive score exceeds a background one, ties counting half.

    >>> auc([2.0, 3.0], [1.0, 2.0])
    0.875
    """
    ranked = np.concatenate([np.asarray(positive, dtype=float), np.asarray(background, dtype=float)])
    _, places, counts = np.unique(ranked, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[places]
    n, m = len(positive), len(background)
    return float((ranks[:n].sum() - n * (n + 1) / 2) / (n * m))


def auc_interval(positive: Sequence[float], background: Sequence[float], *, seed: int = 0) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of the AUC: the texts of both sides are drawn anew, each side by itself.

    Of more than 2,000 scores of a side only the first are drawn from.

    >>> auc_interval([3.0, 4.0, 5.0], [1.0, 2.0])
    (1.0, 1.0)
    """
    one, other = (np.asarray(side[:_COMPARED], dtype=float) for side in (positive, background))
    wins = (one[:, None] > other).astype(np.float32) + 0.5 * (one[:, None] == other).astype(np.float32)
    random = rng(seed, 0, Stream.RESAMPLE)
    drawn = [random.multinomial(len(side), np.full(len(side), 1 / len(side)), size=_DRAWS) for side in (one, other)]
    found = ((drawn[0].astype(np.float32) @ wins) * drawn[1]).sum(axis=1) / wins.size
    low, high = np.quantile(found, [0.025, 0.975])
    return float(min(max(low, 0.0), 1.0)), float(min(high, 1.0))


def standardised_difference(positive: Sequence[float], background: Sequence[float]) -> float:
    """Return how far the mean scores lie apart for their spread, which goes on where an AUC ends at 1.

    >>> standardised_difference([2.0, 4.0], [0.0, 2.0])
    2.0
    """
    spread = np.sqrt((np.var(positive) + np.var(background)) / 2)
    return float((np.mean(positive) - np.mean(background)) / max(spread, 1e-12))


def wilson(hits: int, n: int, *, z: float = 1.96) -> tuple[float, float]:
    """Return the 95 % interval of a rate. Source: Wilson, "Probable inference" (1927).

    >>> [round(bound, 3) for bound in wilson(9, 10)]
    [0.596, 0.982]
    """
    rate, spread = hits / n, z * z / n
    middle = (rate + spread / 2) / (1 + spread)
    half = z * sqrt(rate * (1 - rate) / n + spread / (4 * n)) / (1 + spread)
    return max(0.0, middle - half), min(1.0, middle + half)
