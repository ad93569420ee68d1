"""How well scores separate two groups of texts (the AUC), and the Wilson interval of a rate."""

from collections.abc import Sequence

import numpy as np

from vectors.common.rng import Stream, rng

_RESAMPLES = 1000
_BLOCK = 100
_MAX_SCORES = 2000  # scores of each group that enter the bootstrap
_WILSON_CONFIDENCE = 0.9500042097035591  # two-sided level of z = 1.96


def auc(positive: Sequence[float], background: Sequence[float]) -> float:
    """Return the probability that a positive score exceeds a background score; ties count half.

    >>> auc([2.0, 3.0], [1.0, 2.0])
    0.875
    """
    scores = np.concatenate([np.asarray(positive, dtype=float), np.asarray(background, dtype=float)])
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    n, m = len(positive), len(background)
    return float((ranks[:n].sum() - n * (n + 1) / 2) / (n * m))


def auc_interval(positive: Sequence[float], background: Sequence[float], *, seed: int = 0) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of the AUC; the two groups are resampled separately.

    Only the first 2,000 scores of each group are used.

    >>> auc_interval([3.0, 4.0, 5.0], [1.0, 2.0])
    (1.0, 1.0)
    """
    above, below = (np.asarray(scores[:_MAX_SCORES], dtype=float) for scores in (positive, background))
    order = np.argsort(below)
    lower, lower_or_equal = (np.searchsorted(below[order], above, side) for side in ("left", "right"))
    generator = rng(seed, 0, Stream.RESAMPLE)
    # how often each score is drawn; in blocks, and in few bytes, because all at once they would fill 50 MB
    times_above, times_below = (
        np.concatenate(
            [
                generator.multinomial(len(scores), np.full(len(scores), 1 / len(scores)), size=_BLOCK).astype(np.int16)
                for _ in range(_RESAMPLES // _BLOCK)
            ]
        )
        for scores in (above, below)
    )
    wins = np.empty(_RESAMPLES)
    for index in range(_RESAMPLES):
        drawn = np.concatenate([[0], np.cumsum(times_below[index, order], dtype=np.int64)])  # among the lowest scores
        wins[index] = times_above[index] @ (drawn[lower] + drawn[lower_or_equal]) / 2
    aucs = wins / (len(above) * len(below))
    low, high = np.quantile(aucs, [0.025, 0.975])
    return float(min(max(low, 0.0), 1.0)), float(min(high, 1.0))


def standardised_difference(positive: Sequence[float], background: Sequence[float]) -> float:
    """Return the difference of the means in standard deviations; it still grows where the AUC has reached 1.

    >>> standardised_difference([2.0, 4.0], [0.0, 2.0])
    2.0
    """
    std = np.sqrt((np.var(positive) + np.var(background)) / 2)
    return float((np.mean(positive) - np.mean(background)) / max(std, 1e-12))


def wilson(hits: int, n: int) -> tuple[float, float]:
    """Return the 95 % Wilson score interval of the rate `hits / n`.

    Source: Wilson, "Probable inference, the law of succession, and statistical inference" (1927).

    >>> [round(bound, 3) for bound in wilson(9, 10)]
    [0.596, 0.982]
    """
    from scipy.stats import binomtest  # slow to import

    test = binomtest(hits, n, hits / n)  # the interval does not depend on the rate tested; this one is tested fastest
    interval = test.proportion_ci(confidence_level=_WILSON_CONFIDENCE, method="wilson")
    return float(interval.low), float(interval.high)
