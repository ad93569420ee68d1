"""A judge of texts fit on labelled texts: multinomial naive Bayes over words and pairs of words."""

import math
import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from vectors.errors import InputError

_TOKEN = re.compile(r"\w+(?:'\w+)?|[^\w\s]|\n")
_SMOOTHING = 0.5


class WordJudge:
    """Tells texts that have a concept from texts that need not, by their words.

    It shares nothing with a steering direction but the kind of text: it reads words, never activations, and is to be
    fit on texts that the direction did not see. Source: multinomial naive Bayes with add-half smoothing over the set of
    a text's unigrams and bigrams; equal priors.

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
        counts = [Counter(feature for text in texts for feature in features(text)) for texts in (positive, background)]
        vocabulary = {feature for count in counts for feature in count if counts[0][feature] + counts[1][feature] > 1}
        totals = [sum(count[feature] for feature in vocabulary) + _SMOOTHING * len(vocabulary) for count in counts]
        self._weights = {
            feature: math.log((counts[0][feature] + _SMOOTHING) / totals[0])
            - math.log((counts[1][feature] + _SMOOTHING) / totals[1])
            for feature in vocabulary
        }

    def score(self, text: str) -> float:
        """Return the log odds that the text has the concept, at equal priors."""
        return sum(self._weights.get(feature, 0.0) for feature in features(text))

    def accepts(self, text: str) -> bool:
        """Whether the text more likely has the concept than not."""
        return self.score(text) > 0


def features(text: str) -> set[str]:
    """Return the text's words, marks and line breaks, and each neighbouring two of them."""
    tokens = _TOKEN.findall(text.lower())
    return {*tokens, *(f"{first} {second}" for first, second in pairwise(tokens))}
