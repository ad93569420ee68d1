"""How often chance alone makes a count as unlikely as one that was seen: exact tests of a rate."""

import math

import numpy as np

_TIE = 1e-7  # probabilities that differ by less, relatively, are the same: summed logarithms round


def of_rate(hits: int, n: int, share: float) -> float:
    """Return the chance that `n` texts of a sampler with a known rate show a count no likelier than `hits`.

    Source: the exact binomial test, two-sided by the counts' probabilities, as in R's `binom.test`.

    >>> round(of_rate(8, 10, 0.5), 4)
    0.1094
    """
    if share in (0.0, 1.0):
        return float(hits == n * share)
    logs = np.array([_choose(n, k) + k * math.log(share) + (n - k) * math.log1p(-share) for k in range(n + 1)])
    return _no_likelier(logs, hits)


def of_two_rates(hits: int, n: int, other_hits: int, other_n: int) -> float:
    """Return the chance that two sets of texts of one sampler share all hits out no more evenly than these two do.

    Source: Fisher's exact test, two-sided by the tables' probabilities, as in R's `fisher.test`.

    >>> round(of_two_rates(3, 4, 1, 4), 4)
    0.4857
    """
    every = hits + other_hits
    fewest, most = max(0, every - other_n), min(n, every)
    logs = np.array([_choose(n, k) + _choose(other_n, every - k) for k in range(fewest, most + 1)])
    return _no_likelier(logs, hits - fewest)


def _choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def _no_likelier(logs: np.ndarray, seen: int) -> float:
    probabilities = np.exp(logs - logs.max())
    rare = probabilities[probabilities <= probabilities[seen] * (1 + _TIE)]
    return float(min(1.0, rare.sum() / probabilities.sum()))
