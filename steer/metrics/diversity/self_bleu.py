"""Self-BLEU: how much texts overlap; n-grams are counted once, so that subsets are quick to score."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from vectors.common.errors import InputError

_LONGEST = 4  # words in an n-gram


def self_bleu(texts: Sequence[str]) -> float:
    """Return the mean BLEU of each text against all others, from 0 to 1.

    Source: Zhu et al., "Texygen" (2018), with sacrebleu's tokens and its exponential smoothing.

    Raises:
        InputError: fewer than two texts.
    """
    return NgramOverlap(texts).self_bleu(np.arange(len(texts)))


class NgramOverlap:
    """Counts of the n-grams of texts, to score any subset of them."""

    def __init__(self, texts: Sequence[str]) -> None:
        from sacrebleu.metrics.bleu import BLEU  # slow to import
        from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

        tokenizer = Tokenizer13a()  # type: ignore[no-untyped-call]
        tokens = [tokenizer(text.rstrip()).split() for text in texts]
        text_counts = [
            Counter(
                tuple(row[start : start + size])
                for size in range(1, _LONGEST + 1)
                for start in range(len(row) - size + 1)
            )
            for row in tokens
        ]
        text_frequency = Counter(ngram for counts in text_counts for ngram in counts)
        # an n-gram of a single text never matches, so it needs no column
        shared = [ngram for ngram, frequency in text_frequency.items() if frequency > 1]
        columns = {ngram: column for column, ngram in enumerate(shared)}
        self._counts = np.zeros((len(texts), len(columns)), dtype=np.int32)
        for row_index, counts in enumerate(text_counts):
            for ngram, count in counts.items():
                if ngram in columns:
                    self._counts[row_index, columns[ngram]] = count
        self._sizes = np.array([len(ngram) for ngram in columns], dtype=int)
        self._lengths = np.array([len(row) for row in tokens])
        self._score = BLEU.compute_bleu

    def self_bleu(self, subset: np.ndarray) -> float:
        """Return the mean BLEU of each text of a subset, given by indices, against the others of the subset.

        Raises:
            InputError: fewer than two texts.
        """
        if len(subset) < 2:
            raise InputError(f"there are {len(subset)} texts: overlap needs at least two")
        counts, lengths = self._counts[subset], self._lengths[subset]
        highest = counts.max(axis=0)
        is_unique = (counts == highest).sum(axis=0) == 1  # a single text has the highest count
        second = np.where(counts == highest, 0, counts).max(axis=0)
        scores = []
        for index, row in enumerate(counts):
            others = np.where(is_unique & (row == highest), second, highest)
            correct = np.bincount(self._sizes, weights=np.minimum(row, others), minlength=_LONGEST + 1)
            length = int(lengths[index])
            closest = min(np.delete(lengths, index), key=lambda other: (abs(other - length), other))
            scores.append(
                self._score(
                    correct=[int(count) for count in correct[1:]],
                    total=[max(0, length - size + 1) for size in range(1, _LONGEST + 1)],
                    sys_len=length,
                    ref_len=int(closest),
                    smooth_method="exp",
                    effective_order=True,
                ).score
            )
        return sum(scores) / len(scores) / 100
