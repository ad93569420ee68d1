"""Vendi score: the effective number of different texts, from their pairwise similarities."""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64

from vectors.common.errors import InputError

DRAWS = 8
"""Number of random subsets of real texts whose mean is the expected value for a perfect sampler."""

_LONGEST = 2  # words in the n-grams that texts are compared by


def vendi(rows: Float64[np.ndarray, "n features"], *, order: float = 1.0) -> float:
    """Return the effective number of different rows: 1 for copies of one row, n for orthogonal rows.

    It is the exponential of the Renyi entropy of this order of the eigenvalues of the cosine kernel, divided by n.
    Source: Friedman and Dieng, "The Vendi score" (2022); Pasarkar and Dieng, "Cousins of the Vendi score" (2023).

    Raises:
        InputError: no rows, or one that is not finite.

    >>> round(vendi(np.eye(3)), 6), round(vendi(np.ones((3, 2)), order=2.0), 6)
    (3.0, 1.0)
    """
    return vendi_of_kernel(cosines(rows), order=order)


def cosines(rows: Float64[np.ndarray, "n features"]) -> Float64[np.ndarray, "n n"]:
    """Return the cosine similarities of all pairs of rows; zero rows are equal to each other and orthogonal to others.

    Raises:
        InputError: no rows, or one that is not finite.
    """
    from sklearn.metrics.pairwise import cosine_similarity  # slow to import

    if not len(rows):
        raise InputError("there are no texts to compare: give at least one")
    if not np.isfinite(rows).all():
        raise InputError("an embedding is not finite: leave that text out")
    return _kernel(cosine_similarity(rows), empty=np.array([not row.any() for row in rows]))


def word_cosines(texts: Sequence[Sequence[str]]) -> Float64[np.ndarray, "n n"]:
    """Return the cosine similarities of texts, given as lists of words, by their counts of words and word pairs.

    Raises:
        InputError: no texts.

    >>> word_cosines([["a", "cat"], ["a", "cat"], ["one", "dog"], []]).round(3).tolist()
    [[1.0, 1.0, 0.0, 0.0], [1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]]
    """
    from sklearn.feature_extraction.text import CountVectorizer  # slow to import
    from sklearn.metrics.pairwise import cosine_similarity

    if not texts:
        raise InputError("there are no texts to compare: give at least one")
    empty = np.array([not text for text in texts])
    if empty.all():
        return _kernel(np.zeros((len(texts), len(texts))), empty=empty)
    vectorizer = CountVectorizer(tokenizer=list, token_pattern=None, preprocessor=list, ngram_range=(1, _LONGEST))
    return _kernel(cosine_similarity(vectorizer.fit_transform(texts)), empty=empty)


def _kernel(similarities: np.ndarray, *, empty: np.ndarray) -> np.ndarray:
    """Return the similarities with a 1 for each pair of empty texts."""
    kernel: np.ndarray = similarities + np.outer(empty, empty)
    return kernel


def vendi_of_kernel(kernel: Float64[np.ndarray, "n n"], *, order: float = 1.0) -> float:
    """Return the Vendi score of a kernel with ones on its diagonal."""
    shares = np.clip(np.linalg.eigvalsh(kernel / len(kernel)), 0.0, None)
    shares = shares[shares > 0] / shares.sum()
    if order == 1:
        return math.exp(-float((shares * np.log(shares)).sum()))
    return float((shares**order).sum() ** (1 / (1 - order)))


def mean_vendi(kernel: Float64[np.ndarray, "n n"], count: int, *, order: float = 1.0, seed: int = 0) -> float:
    """Return the mean Vendi score of a few random subsets of `count` rows of a kernel."""
    random = np.random.default_rng(seed)
    subsets = [np.sort(random.choice(len(kernel), count, replace=False)) for _ in range(DRAWS)]
    return float(np.mean([vendi_of_kernel(kernel[np.ix_(subset, subset)], order=order) for subset in subsets]))
