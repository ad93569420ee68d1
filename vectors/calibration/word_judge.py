"""Judges of texts, by their words: naive Bayes over words and pairs of labelled texts, or a mention of some words."""

import math
import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Protocol

from vectors.common.errors import InputError

_TOKEN = re.compile(r"\w+(?:'\w+)?|[^\w\s]|\n")
_SMOOTHING = 0.5


class Judge(Protocol):
    """What tells whether a text has a concept, by its words alone."""

    def accepts(self, text: str) -> bool:
        """Whether it has."""
        ...


class MentionJudge:
    """Accepts texts that mention one of some words: what there is to go by where nobody gave texts.

    >>> judge = MentionJudge(["tide", "wave"])
    >>> judge.accepts("The Tide turns."), judge.accepts("A tidy shelf.")
    (True, False)
    """

    def __init__(self, words: Sequence[str]) -> None:
        self._mentioned = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, words))})(?!\w)", re.IGNORECASE)

    def accepts(self, text: str) -> bool:
        """Whether one of the words stands in the text, in whatever case."""
        return self._mentioned.search(text) is not None


class WordJudge:
    """Tells texts that have a concept from texts that need not, by their words.

    It shares nothing with a steering direction but the kind of text: it reads words, never activations, and is to be
    fit on texts that the direction did not see. Source: multinomial naive Bayes with add-half smoothing over the set of
    a text's unigrams and bigrams; equal priors. Where one side has many times the texts of the other, it is cut into
    slices of about the other's size, and the score is the mean over the slices: fit on uneven sides at once, naive
    Bayes would give every word that few texts hold to the larger one.

    Args:
        positive: texts that have the concept.
        background: texts that need not have it.

    Raises:
        InputError: one of the two is empty.

    >>> judge = WordJudge(["the cat purrs", "a purring cat"], ["the dog barks", "a barking dog"])
    >>> judge.accepts("my cat purrs"), judge.accepts("my dog barks")
    (True, False)
    """

    def __init__(self, positive: Sequence[str], background: Sequence[str]) -> None:
        if not positive or not background:
            given = f"{len(positive)} positive and {len(background)} background"
            raise InputError(f"a judge needs texts of both kinds: given {given}")
        sides = [sorted(texts) for texts in (positive, background)]  # their order means nothing
        slices = [len(side) // min(map(len, sides)) for side in sides]  # one of the two is 1
        self._weights: dict[str, float] = {}
        for turn in range(max(slices)):
            part = [side[turn % cut :: cut] for side, cut in zip(sides, slices, strict=True)]
            for feature, weight in _weights(*part).items():
                self._weights[feature] = self._weights.get(feature, 0.0) + weight / max(slices)

    def score(self, text: str) -> float:
        """Return the log odds that the text has the concept, at equal priors."""
        return math.fsum(self._weights.get(feature, 0.0) for feature in features(text))  # in whatever order they come

    def accepts(self, text: str) -> bool:
        """Whether the text more likely has the concept than not."""
        return self.score(text) > 0


def accuracy(
    positive: Sequence[str], background: Sequence[str], *, folds: int = 5
) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """Return how many positive and how many background texts judges accept that are fit without them, and of how many.

    The texts are cut into folds, and each is judged by a judge of the others; `None` where a side has a single text.

    >>> accuracy(["the cat purrs", "a cat purrs", "my cat purrs"], ["the dog barks", "a dog barks", "my dog barks"])
    ((3, 3), (0, 3))
    """
    sides = [sorted(set(texts)) for texts in (positive, background)]  # a judge has seen the copies of its texts
    cut = min(folds, *map(len, sides))
    if cut < 2:
        return None
    accepted = [0, 0]
    for turn in range(cut):
        rest = [[text for place, text in enumerate(side) if place % cut != turn] for side in sides]
        judge = WordJudge(*rest)
        for which, side in enumerate(sides):
            accepted[which] += sum(judge.accepts(text) for text in side[turn::cut])
    return (accepted[0], len(sides[0])), (accepted[1], len(sides[1]))


def _weights(positive: Sequence[str], background: Sequence[str]) -> dict[str, float]:
    """What each feature that more than one text has adds to the log odds."""
    counts = [Counter(feature for text in texts for feature in features(text)) for texts in (positive, background)]
    vocabulary = sorted(feature for feature, held in (counts[0] + counts[1]).items() if held > 1)
    totals = [sum(count[feature] for feature in vocabulary) + _SMOOTHING * len(vocabulary) for count in counts]
    return {
        feature: math.log((counts[0][feature] + _SMOOTHING) / totals[0])
        - math.log((counts[1][feature] + _SMOOTHING) / totals[1])
        for feature in vocabulary
    }


def features(text: str) -> set[str]:
    """Return the text's words, marks and line breaks, and each neighbouring two of them."""
    tokens = _TOKEN.findall(text.lower())
    return {*tokens, *(f"{first} {second}" for first, second in pairwise(tokens))}
