"""Judges of texts by their words: naive Bayes fit on labelled texts, or a search for given words."""

import math
import re
from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from typing import Protocol

import numpy as np

from vectors.common.errors import InputError

_TOKEN = re.compile(r"\w+(?:'\w+)?|[^\w\s]|\n")
_SMOOTHING = 0.5


class Judge(Protocol):
    """Decides from its words alone whether a text has a concept."""

    def accepts(self, text: str) -> bool:
        """Return whether the text has the concept."""
        ...


class MentionJudge:
    """Accepts texts that contain one of some words, in upper or lower case; for concepts without texts.

    >>> judge = MentionJudge(["tide", "wave"])
    >>> judge.accepts("The Tide turns."), judge.accepts("A tidy shelf.")
    (True, False)
    """

    def __init__(self, words: Sequence[str]) -> None:
        self._pattern = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, words))})(?!\w)", re.IGNORECASE)

    def accepts(self, text: str) -> bool:
        """Return whether the text contains one of the words."""
        return self._pattern.search(text) is not None


class WordJudge:
    """Multinomial naive Bayes over the set of a text's words and pairs of neighbouring words.

    The judge is independent of a steering direction: it reads words and no activations, and must be fit on texts that
    the direction was not found in. Smoothing is 0.5, both classes have equal prior, and words that occur in a single
    text are ignored. If one side has many times the texts of the other, it is cut into slices of about the other's
    size, and the score is the mean over the slices: fit on unequal sides, naive Bayes would attribute every rare word
    to the larger one.

    Args:
        positive: texts that have the concept.
        background: texts that need not have it.

    Raises:
        InputError: no texts on one of the sides.

    >>> judge = WordJudge(["the cat purrs", "a purring cat"], ["the dog barks", "a barking dog"])
    >>> judge.accepts("my cat purrs"), judge.accepts("my dog barks")
    (True, False)
    """

    def __init__(self, positive: Sequence[str], background: Sequence[str]) -> None:
        if not positive or not background:
            numbers = f"{len(positive)} positive and {len(background)} background"
            raise InputError(f"a judge needs texts of both kinds: given {numbers}")
        # sorted, so that the order of the texts has no effect on the slices
        sides = [[features(text) for text in sorted(texts)] for texts in (positive, background)]
        slices = [len(side) // min(map(len, sides)) for side in sides]  # 1 for the smaller side
        self._weights: dict[str, float] = {}
        for index in range(max(slices)):
            parts = [side[index % count :: count] for side, count in zip(sides, slices, strict=True)]
            for feature, weight in _log_odds(*parts).items():
                self._weights[feature] = self._weights.get(feature, 0.0) + weight / max(slices)

    def score(self, text: str) -> float:
        """Return the log odds that the text has the concept."""
        # fsum: the sum must not depend on the order of a set
        return math.fsum(self._weights.get(feature, 0.0) for feature in features(text))

    def accepts(self, text: str) -> bool:
        """Return whether the text is more likely to have the concept than not."""
        return self.score(text) > 0


def accuracy(
    positive: Sequence[str], background: Sequence[str], *, folds: int = 5
) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """Return how many texts of each side a word judge accepts in cross-validation, and how many there are.

    Copies of a text count once. With a single text on one side the result is `None`.

    >>> accuracy(["the cat purrs", "a cat purrs", "my cat purrs"], ["the dog barks", "a dog barks", "my dog barks"])
    ((3, 3), (0, 3))
    """
    sides = [sorted(set(texts)) for texts in (positive, background)]
    n_folds = min(folds, *map(len, sides))
    if n_folds < 2:
        return None
    accepted = [0, 0]
    for fold in range(n_folds):
        training = [[text for index, text in enumerate(side) if index % n_folds != fold] for side in sides]
        judge = WordJudge(*training)
        for index, side in enumerate(sides):
            accepted[index] += sum(judge.accepts(text) for text in side[fold::n_folds])
    return (accepted[0], len(sides[0])), (accepted[1], len(sides[1]))


def _log_odds(positive: Sequence[Collection[str]], background: Sequence[Collection[str]]) -> Mapping[str, float]:
    """The log likelihood ratio of each feature that occurs in more than one text."""
    from sklearn.naive_bayes import MultinomialNB  # slow to import
    from sklearn.preprocessing import MultiLabelBinarizer

    binarizer = MultiLabelBinarizer(sparse_output=True)
    counts = binarizer.fit_transform([*positive, *background]).tocsc()
    common = np.flatnonzero(np.asarray(counts.sum(axis=0)).ravel() > 1)
    if not len(common):
        return {}
    is_positive = np.repeat([1, 0], [len(positive), len(background)])
    bayes = MultinomialNB(alpha=_SMOOTHING, fit_prior=False).fit(counts[:, common], is_positive)
    background_log_prob, positive_log_prob = bayes.feature_log_prob_
    return dict(zip(binarizer.classes_[common], (positive_log_prob - background_log_prob).tolist(), strict=True))


def features(text: str) -> set[str]:
    """Return the words, punctuation marks and line breaks of a text, and all pairs of neighbours.

    >>> sorted(features("The cat purrs."))
    ['.', 'cat', 'cat purrs', 'purrs', 'purrs .', 'the', 'the cat']
    """
    tokens = _TOKEN.findall(text.lower())
    return {*tokens, *(f"{first} {second}" for first, second in pairwise(tokens))}
