"""The Vendi score against its authors' package, and similarities of texts against counts by hand."""

import math
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from vendi_score import vendi as reference

from steer.metrics.diversity.ngrams import words
from steer.metrics.diversity.vendi import cosines, mean_vendi, vendi, vendi_of_kernel, word_cosines
from vectors.common.errors import InputError

TEXTS = [
    "The cat sat on the mat.",
    "The cat sat on the hat.",
    "A dog barked, twice.",
    "The cat sat on the mat.",
    "",
    "A",
]


def cosine(first: Counter, second: Counter) -> float:
    product = sum(count * second[ngram] for ngram, count in first.items())
    return product / math.sqrt(sum(count**2 for count in first.values()) * sum(count**2 for count in second.values()))


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize(("n", "width"), [(12, 40), (40, 7)])
def test_it_equals_the_authors_score(order: int, n: int, width: int) -> None:
    rows = np.random.default_rng(n).normal(size=(n, width))
    unit = rows / np.sqrt((rows**2).sum(axis=1, keepdims=True))
    assert vendi(rows, order=order) == pytest.approx(reference.score_K(unit @ unit.T, q=order), rel=1e-9)


def test_copies_count_once_and_orthogonal_rows_once_each() -> None:
    rows = np.random.default_rng(0).normal(size=(1, 9)).repeat(5, axis=0)
    assert vendi(rows) == pytest.approx(1.0) and vendi(np.eye(6), order=2) == pytest.approx(6.0)


def test_word_cosines_are_those_of_counts_of_words_and_word_pairs() -> None:
    rows = [words(text) for text in TEXTS]
    counts = [Counter([*row, *pairwise(row)]) for row in rows]
    kernel = word_cosines(rows)
    for i, first in enumerate(counts):
        for j, second in enumerate(counts):
            expected = cosine(first, second) if first and second else float(i == j)
            assert kernel[i, j] == pytest.approx(expected, abs=1e-12)


def test_empty_texts_equal_each_other_and_no_other_text() -> None:
    assert word_cosines([[], ["a"], []]).tolist() == [[1, 0, 1], [0, 1, 0], [1, 0, 1]]
    assert word_cosines([[], []]).tolist() == [[1, 1], [1, 1]]
    rows = np.array([[1.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    assert vendi(rows) == pytest.approx(vendi(np.eye(3)[[0, 1, 1]]))


def test_the_mean_over_subsets_lies_between_copies_and_all_texts() -> None:
    kernel = cosines(np.random.default_rng(0).normal(size=(30, 12)))
    assert 1.0 < mean_vendi(kernel, 8) < vendi_of_kernel(kernel)
    assert mean_vendi(kernel, 30) == pytest.approx(vendi_of_kernel(kernel))


def test_what_cannot_be_compared_is_refused() -> None:
    for compare, nothing in ((vendi, np.zeros((0, 3))), (word_cosines, [])):
        with pytest.raises(InputError, match="no texts"):
            compare(nothing)
    with pytest.raises(InputError, match="not finite"):
        vendi(np.array([[1.0, np.nan]]))
    assert vendi_of_kernel(np.eye(2)) == pytest.approx(2.0)
