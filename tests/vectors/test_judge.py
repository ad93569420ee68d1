"""The word judge tells kinds of texts apart, and refuses to judge from nothing."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vectors.errors import InputError
from vectors.judge import WordJudge, features


def texts(words: list[str], n: int, seed: int) -> list[str]:
    draw = random.Random(seed)
    common = ["the", "a", "and", "on", "was"]
    return [" ".join([draw.choice(words), *draw.choices(common, k=5), draw.choice(words)]) for _ in range(n)]


def test_it_tells_unseen_texts_apart():
    storms, calms = ["thunder", "hail", "gale", "lightning"], ["mild", "still", "fair", "dry"]
    judge = WordJudge(texts(storms, 60, 0), texts(calms, 60, 1))
    assert all(judge.accepts(text) for text in texts(storms, 50, 2))
    assert not any(judge.accepts(text) for text in texts(calms, 50, 3))


def test_swapping_the_sides_turns_every_score_round():
    one, other = texts(["cat", "dog"], 20, 0), texts(["sea", "moon"], 20, 1)
    there, back = WordJudge(one, other), WordJudge(other, one)
    for text in (*one, *other):
        assert there.score(text) == pytest.approx(-back.score(text))


def test_uneven_sides_do_not_bias_a_text_it_knows_nothing_of():
    judge = WordJudge(texts(["cat"], 5, 0), texts(["sea"], 500, 1))
    assert judge.score("zzz qqq") == 0


@pytest.mark.parametrize("sides", [([], ["a"]), (["a"], [])])
def test_one_sided_texts_are_refused(sides):
    with pytest.raises(InputError, match="both kinds"):
        WordJudge(*sides)


@given(st.text())
def test_any_text_has_features(text):
    assert all(isinstance(feature, str) for feature in features(text))
