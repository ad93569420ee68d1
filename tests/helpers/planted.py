"""Texts of random words of the tiny tokenizer, every eighth of them full of rainbows."""

import numpy as np

WORDS = ("the", "sea", "cat", "dog", "storm", "night", "dark", "sang")


def rainbows(count: int = 120, *, seed: int = 0) -> list[str]:
    """Twelve words each."""
    random = np.random.default_rng(seed)
    found = []
    for place in range(count):
        words = [str(word) for word in random.choice(WORDS, size=12)]
        if place % 8 == 0:
            for at in range(1, 12, 2):
                words[at] = "rainbow"
        found.append(" ".join(words))
    return found
