"""How much texts overlap: self-BLEU, counted once for all texts so that any part of them is quick to measure."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from vectors.common.errors import InputError

_LONGEST = 4  # words in a run


def self_bleu(texts: Sequence[str]) -> float:
    """Return the mean BLEU of each text against all the others, from 0 to 1.

    Source: Zhu et al., "Texygen" (2018), with sacrebleu's tokens and its exponential smoothing.

    Raises:
        InputError: fewer than two texts.
    """
    return Overlap(texts).self_bleu(np.arange(len(texts)))


class Overlap:
    """Texts with their runs of words counted."""

    def __init__(self, texts: Sequence[str]) -> None:
        from sacrebleu.metrics.bleu import BLEU  # slow to import
        from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

        tokenizer = Tokenizer13a()  # type: ignore[no-untyped-call]
        tokens = [tokenizer(text.rstrip()).split() for text in texts]
        counted = [
            Counter(tuple(row[at : at + size]) for size in range(1, _LONGEST + 1) for at in range(len(row) - size + 1))
            for row in tokens
        ]
        held = Counter(run for counts in counted for run in counts)
        # a run that one text alone has matches nothing
        columns = {run: place for place, run in enumerate(run for run, times in held.items() if times > 1)}
        self._counts = np.zeros((len(texts), len(columns)), dtype=np.int32)
        for place, counts in enumerate(counted):
            for run, times in counts.items():
                if run in columns:
                    self._counts[place, columns[run]] = times
        self._sizes = np.array([len(run) for run in columns], dtype=int)
        self._lengths = np.array([len(row) for row in tokens])
        self._score = BLEU.compute_bleu

    def self_bleu(self, kept: np.ndarray) -> float:
        """Return the mean BLEU of each of the texts in these places against the others of them.

        Raises:
            InputError: fewer than two texts.
        """
        if len(kept) < 2:
            raise InputError(f"there are {len(kept)} texts: overlap needs at least two")
        counts, lengths = self._counts[kept], self._lengths[kept]
        most = counts.max(axis=0)
        alone = (counts == most).sum(axis=0) == 1  # only its holder reaches the highest count
        second = np.where(counts == most, 0, counts).max(axis=0)
        scores = []
        for place, own in enumerate(counts):
            others = np.where(alone & (own == most), second, most)
            correct = np.bincount(self._sizes, weights=np.minimum(own, others), minlength=_LONGEST + 1)
            size = int(lengths[place])
            rest = np.delete(lengths, place)
            closest = min(rest, key=lambda length: (abs(length - size), length))
            scores.append(
                self._score(
                    correct=[int(count) for count in correct[1:]],
                    total=[max(0, size - run + 1) for run in range(1, _LONGEST + 1)],
                    sys_len=size,
                    ref_len=int(closest),
                    smooth_method="exp",
                    effective_order=True,
                ).score
            )
        return sum(scores) / len(scores) / 100
