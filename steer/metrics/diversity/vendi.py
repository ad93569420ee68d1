"""The Vendi score: how many different texts there are, in effect."""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64

from vectors.common.errors import InputError

DRAWS = 8
"""Draws of as many real texts, whose mean is what a perfect sampler would show."""


def vendi(rows: Float64[np.ndarray, "n features"], *, order: float = 1.0) -> float:
    """Return the effective number of different rows: 1 for copies of one, n for rows at right angles.

    The exponential of the Renyi entropy, of this order, of the eigenvalues of the cosine kernel divided by n.
    Source: Friedman and Dieng, "The Vendi score" (2022); Pasarkar and Dieng, "Cousins of the Vendi score" (2023).

    Raises:
        InputError: no rows, or one that is not finite.

    >>> round(vendi(np.eye(3)), 6), round(vendi(np.ones((3, 2)), order=2.0), 6)
    (3.0, 1.0)
    """
    return vendi_of(cosines(rows), order=order)


def cosines(rows: Float64[np.ndarray, "n features"]) -> Float64[np.ndarray, "n n"]:
    """Return the cosine of each two rows; rows of zeros, such as those of empty texts, are alike and like no other.

    Raises:
        InputError: no rows, or one that is not finite.
    """
    if not len(rows):
        raise InputError("there are no texts to compare: give at least one")
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    if not np.isfinite(lengths).all():
        raise InputError("an embedding is not finite: leave that text out")
    empty = lengths == 0
    unit = rows / np.where(empty, 1.0, lengths)
    kernel: np.ndarray = unit @ unit.T + empty.astype(float) @ empty.T
    return kernel


def vendi_of(kernel: Float64[np.ndarray, "n n"], *, order: float = 1.0) -> float:
    """Return the Vendi score of a kernel that has ones on its diagonal."""
    shares = np.clip(np.linalg.eigvalsh(kernel / len(kernel)), 0.0, None)
    shares = shares[shares > 0] / shares.sum()
    if order == 1:
        return math.exp(-float((shares * np.log(shares)).sum()))
    return float((shares**order).sum() ** (1 / (1 - order)))


def usual_vendi(kernel: Float64[np.ndarray, "n n"], count: int, *, order: float = 1.0, seed: int = 0) -> float:
    """Return what `count` of the rows of a kernel show, on the average over a few draws of them."""
    random = np.random.default_rng(seed)
    drawn = [np.sort(random.choice(len(kernel), count, replace=False)) for _ in range(DRAWS)]
    return float(np.mean([vendi_of(kernel[np.ix_(places, places)], order=order) for places in drawn]))


def bags(texts: Sequence[Sequence[str]], *, longest: int = 2) -> Float64[np.ndarray, "n features"]:
    """Return each text, given as its words, as counts of its runs of up to `longest` words.

    What no other text has takes part only in a text's own length: it is one column for each text, so that the cosines
    are those of the whole counts.
    """
    counted = [
        Counter(tuple(row[at : at + size]) for size in range(1, longest + 1) for at in range(len(row) - size + 1))
        for row in texts
    ]
    held = Counter(run for counts in counted for run in counts)
    columns = {run: place for place, run in enumerate(sorted(run for run, times in held.items() if times > 1))}
    table = np.zeros((len(texts), len(columns) + len(texts)))
    for place, counts in enumerate(counted):
        alone = 0.0
        for run, times in counts.items():
            if run in columns:
                table[place, columns[run]] = times
            else:
                alone += times * times
        table[place, len(columns) + place] = math.sqrt(alone)
    return table
