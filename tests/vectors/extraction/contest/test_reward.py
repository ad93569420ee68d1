"""Rewards grow until a text is as clearly of the kind as real ones are."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vectors.extraction.contest.reward import ENOUGH, WordReward

CLEAR, WEAK, COMMON = ["purr", "paw", "whisker", "meow"], ["soft", "warm", "sat"], ["the", "a", "and", "on"]


def texts_of(words: list[str], n: int, seed: int) -> list[str]:
    random = np.random.default_rng(seed)
    return [" ".join(random.choice([*words, *COMMON], size=8)) for _ in range(n)]


POSITIVE, BACKGROUND = texts_of([*CLEAR, *WEAK], 40, 0), texts_of(["stone", "sat", "warm"], 60, 1)
REWARD = WordReward(POSITIVE, BACKGROUND)


def test_real_texts_earn_much_and_background_nothing() -> None:
    real, other = REWARD(texts_of([*CLEAR, *WEAK], 40, 2)), REWARD(texts_of(["stone", "sat", "warm"], 40, 3))
    assert real.mean() > 0.6 and other.mean() < 0.1


def test_what_is_accepted_by_a_little_earns_a_little() -> None:
    weak, clear = REWARD(["soft the soft a", "purr paw whisker meow soft purr paw"])
    assert 0 < weak < 0.6 and clear == 1.0


def test_half_of_the_real_texts_earn_it_all() -> None:
    rewards = WordReward(POSITIVE, BACKGROUND)(POSITIVE)
    assert (rewards == 1.0).mean() >= 1 - ENOUGH


@given(st.lists(st.sampled_from([*CLEAR, *WEAK, *COMMON, "stone"]), max_size=12), st.integers(0, 9))
def test_rewards_are_shares_and_depend_on_the_text_alone(words: list[str], others: int) -> None:
    text = " ".join(words)
    alone, among = REWARD([text]), REWARD([*POSITIVE[:others], text])
    assert 0 <= alone[0] <= 1 and alone[0] == among[-1]


def test_halves_depend_on_the_seed_alone() -> None:
    again, other = (WordReward(POSITIVE, BACKGROUND, seed=seed)(POSITIVE) for seed in (0, 1))
    assert np.array_equal(again, REWARD(POSITIVE)) and not np.array_equal(other, again)
