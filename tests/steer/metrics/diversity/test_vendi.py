"""The Vendi score: against its authors' package, and at its two ends."""

import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.metrics.pairwise import cosine_similarity
from vendi_score import vendi as theirs

from steer.metrics.diversity.ngrams import words
from steer.metrics.diversity.vendi import bags, cosines, vendi, vendi_of
from vectors.common.errors import InputError

TEXTS = ["The cat sat on the mat.", "The cat sat on the hat.", "A dog barked, twice.", "The cat sat on the mat."]


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize(("n", "width"), [(12, 40), (40, 7)])
def test_it_is_their_score(order: int, n: int, width: int) -> None:
    rows = np.random.default_rng(n).normal(size=(n, width))
    assert vendi(rows, order=order) == pytest.approx(theirs.score_K(cosines(rows), q=order), rel=1e-9)


def test_copies_count_once_and_strangers_each() -> None:
    rows = np.random.default_rng(0).normal(size=(1, 9)).repeat(5, axis=0)
    assert vendi(rows) == pytest.approx(1.0) and vendi(np.eye(6), order=2) == pytest.approx(6.0)


def test_bags_of_words_have_the_cosines_of_whole_counts() -> None:
    counted = CountVectorizer(tokenizer=words, token_pattern=None, lowercase=False, ngram_range=(1, 2))
    wanted = cosine_similarity(counted.fit_transform(TEXTS))
    np.testing.assert_allclose(cosines(bags([words(text) for text in TEXTS])), wanted, atol=1e-12)


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(InputError, match="no texts"):
        vendi(np.zeros((0, 3)))
    assert vendi(np.array([[1.0, 0.0], [0.0, 0.0], [0.0, 0.0]])) == pytest.approx(vendi(np.eye(3)[[0, 1, 1]]))
    with pytest.raises(InputError, match="not finite"):
        vendi(np.array([[1.0, np.nan]]))
    assert vendi_of(np.eye(2)) == pytest.approx(2.0)
