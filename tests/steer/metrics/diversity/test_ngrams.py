"""Distinct n-grams and the compression ratio, against plain counts and for copies."""

from itertools import pairwise

import pytest

from steer.metrics.diversity.ngrams import compression_ratio, distinct, words
from vectors.common.errors import InputError

TEXTS = ["the cat sat on the mat today", "the cat sat on a hat today", "a dog barked twice in the yard"]


def test_distinct_counts_ngrams_over_all_texts() -> None:
    rows = [text.split() for text in TEXTS]
    ones = [word for row in rows for word in row]
    twos = [pair for row in rows for pair in pairwise(row)]
    assert distinct(rows, 1) == len(set(ones)) / len(ones) and distinct(rows, 2) == len(set(twos)) / len(twos)
    assert distinct([["a", "b", "c"]] * 4, 3) == 1 / 4


def test_copies_compress_better() -> None:
    assert compression_ratio([TEXTS[0]] * 50) > 3 * compression_ratio(TEXTS)


def test_words_keep_apostrophes_and_split_marks() -> None:
    assert words("It's Mama's, OK?") == ["it's", "mama's", ",", "ok", "?"]


def test_what_cannot_be_measured_is_refused() -> None:
    assert distinct([["a", "b"]], 3) == 1.0  # without n-grams, none repeats
    with pytest.raises(InputError, match="no text to compress"):
        compression_ratio([""])
