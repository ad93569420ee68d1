"""What a steered text is worth while shifts learn from rewards: how clearly its words are those of the concept."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64

from vectors.calibration.word_judge import WordJudge
from vectors.common.rng import Stream, rng

ENOUGH = 0.5
"""Share of real texts that a text must exceed for the whole reward."""

_PARTS = 2


class WordReward:
    """Ranks a text among real texts of the concept, by the log odds of a judge of words.

    To be accepted is not enough: against what a base model writes by itself, many a text is accepted that no reader
    would take for the concept, and rewards find such texts. The real texts are judged by the judge that was fit on the
    other half of them.

    Args:
        positive: texts with the concept, of about the length of the texts to be judged; at least two.
        background: texts without it.
        seed: of the halves.

    >>> cats, dogs = ["the cat purrs", "a purring cat", "the cat sat", "a cat"], ["the dog barks", "a barking dog"]
    >>> WordReward(cats, dogs)(["the cat", "the dog"]).tolist()
    [1.0, 0.0]
    """

    def __init__(self, positive: Sequence[str], background: Sequence[str], *, seed: int = 0) -> None:
        order = rng(seed, 0, Stream.FIT, part=5).permutation(len(positive))
        parts = [[positive[at] for at in order[part::_PARTS]] for part in range(_PARTS)]
        self._judges = [WordJudge(part, background) for part in parts]
        self._known = [
            np.sort([judge.score(text) for text in other])
            for judge, other in zip(self._judges, reversed(parts), strict=True)
        ]

    def __call__(self, texts: Sequence[str]) -> Float64[np.ndarray, " texts"]:
        """Return the reward of each text: 0 if it is not accepted, 1 if it exceeds enough of the real ones."""
        judged = [
            [self._of(judge.score(text), known) for text in texts]
            for judge, known in zip(self._judges, self._known, strict=True)
        ]
        rewards: np.ndarray = np.array(judged, dtype=np.float64).mean(axis=0)
        return rewards

    @staticmethod
    def _of(score: float, known: np.ndarray) -> float:
        if score <= 0:
            return 0.0
        return min(1.0, float(np.searchsorted(known, score, side="right")) / len(known) / ENOUGH)
