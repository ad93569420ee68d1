"""The word judge tells kinds of texts apart, and refuses to judge from nothing."""

import random
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vectors.almanac.world.author import stream
from vectors.calibration.word_judge import WordJudge, accuracy, features
from vectors.common.errors import InputError


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


def test_twenty_texts_against_four_hundred_are_told_apart_either_way():
    entries = list(islice(stream(991), 900))
    sea = [made.text for made in entries if made.attributes.topic == "sea"]
    other = [made.text for made in entries if made.attributes.topic != "sea"]
    for judge, of in ((WordJudge(sea[:20], other[:400]), 1), (WordJudge(other[:400], sea[:20]), -1)):
        found = sum(of * judge.score(text) > 0 for text in sea[20:]) / len(sea[20:])
        wrong = sum(of * judge.score(text) > 0 for text in other[400:]) / len(other[400:])
        assert found > 0.6 and wrong < 0.3


def test_the_order_of_the_texts_means_nothing():
    sides = texts(["cat"], 5, 0), texts(["sea", "cat"], 52, 1)
    assert WordJudge(*sides).score("the cat") == WordJudge(sides[0][::-1], sides[1][::-1]).score("the cat") != 0


@pytest.mark.parametrize("sides", [([], ["a"]), (["a"], [])])
def test_one_sided_texts_are_refused(sides):
    with pytest.raises(InputError, match="both kinds"):
        WordJudge(*sides)


@given(st.text())
def test_any_text_has_features(text):
    assert all(isinstance(feature, str) for feature in features(text))


def test_accuracy_is_that_on_texts_that_no_judge_has_seen():
    storms, calms = ["thunder", "hail", "gale", "lightning"], ["mild", "still", "fair", "dry"]
    told = accuracy(texts(storms, 60, 0), texts(calms, 90, 1) * 2)  # copies do not count
    assert told == ((60, 60), (0, 90))
    same = accuracy(texts(storms, 200, 0), texts(storms, 200, 1))  # nothing to tell: as often right as wrong
    assert same is not None and abs(same[0][0] - same[1][0]) < 60
    assert accuracy(["one text"], texts(calms, 9, 0)) is None
    assert accuracy(texts(storms, 2, 0), texts(calms, 2, 1)) is not None
