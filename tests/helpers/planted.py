"""Texts of random words of the tiny tokenizer, every eighth of them full of rainbows."""

import numpy as np

WORDS = ("the", "sea", "cat", "dog", "storm", "night", "dark", "sang")


def rainbows(count: int = 120, *, seed: int = 0) -> list[str]:
    """Return `count` texts of twelve words each."""
    random = np.random.default_rng(seed)
    texts = []
    for index in range(count):
        words = [str(word) for word in random.choice(WORDS, size=12)]
        if index % 8 == 0:
            for position in range(1, 12, 2):
                words[position] = "rainbow"
        texts.append(" ".join(words))
    return texts
