"""The word judge: accuracy on unseen texts, sides of unequal size, and what it refuses."""

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


def test_it_classifies_unseen_texts():
    storms, calms = ["thunder", "hail", "gale", "lightning"], ["mild", "still", "fair", "dry"]
    judge = WordJudge(texts(storms, 60, 0), texts(calms, 60, 1))
    assert all(judge.accepts(text) for text in texts(storms, 50, 2))
    assert not any(judge.accepts(text) for text in texts(calms, 50, 3))


def test_swapping_the_sides_changes_the_sign_of_every_score():
    one, other = texts(["cat", "dog"], 20, 0), texts(["sea", "moon"], 20, 1)
    judge, swapped = WordJudge(one, other), WordJudge(other, one)
    for text in (*one, *other):
        assert judge.score(text) == pytest.approx(-swapped.score(text))


def test_a_judge_of_twenty_texts_against_four_hundred_errs_rarely_on_either_side():
    entries = list(islice(stream(991), 900))
    sea = [entry.text for entry in entries if entry.attributes.topic == "sea"]
    other = [entry.text for entry in entries if entry.attributes.topic != "sea"]
    for judge, sign in ((WordJudge(sea[:20], other[:400]), 1), (WordJudge(other[:400], sea[:20]), -1)):
        hit_rate = sum(sign * judge.score(text) > 0 for text in sea[20:]) / len(sea[20:])
        false_alarm_rate = sum(sign * judge.score(text) > 0 for text in other[400:]) / len(other[400:])
        assert hit_rate > 0.6 and false_alarm_rate < 0.3


def test_the_order_of_the_texts_has_no_effect():
    sides = texts(["cat"], 5, 0), texts(["sea", "cat"], 52, 1)
    assert WordJudge(*sides).score("the cat") == WordJudge(sides[0][::-1], sides[1][::-1]).score("the cat") != 0


@pytest.mark.parametrize("sides", [([], ["a"]), (["a"], [])])
def test_one_sided_texts_are_refused(sides):
    with pytest.raises(InputError, match="both kinds"):
        WordJudge(*sides)


@given(st.text())
def test_any_text_has_features(text):
    assert all(isinstance(feature, str) for feature in features(text))


def test_accuracy_is_measured_on_texts_that_the_judge_was_not_fit_on():
    storms, calms = ["thunder", "hail", "gale", "lightning"], ["mild", "still", "fair", "dry"]
    assert accuracy(texts(storms, 60, 0), texts(calms, 90, 1) * 2) == ((60, 60), (0, 90))  # copies do not count
    same = accuracy(texts(storms, 200, 0), texts(storms, 200, 1))  # the sides do not differ: right as often as wrong
    assert same is not None and abs(same[0][0] - same[1][0]) < 60
    assert accuracy(["one text"], texts(calms, 9, 0)) is None
    assert accuracy(texts(storms, 2, 0), texts(calms, 2, 1)) is not None
