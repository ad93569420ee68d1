"""Self-BLEU against sacrebleu's sentence scores, for all texts and for subsets."""

import numpy as np
import pytest
from sacrebleu.metrics.bleu import BLEU

from steer.judges.almanac import Almanac
from steer.metrics.diversity.self_bleu import NgramOverlap, self_bleu
from vectors.common.errors import InputError

TEXTS = [
    "the cat sat on the mat today",
    "the cat sat on a hat today",
    "a dog barked twice in the yard",
    "the cat sat on the mat today",
    "the the the the",
    "",
    "It's \"quoted\", isn't it?  10,000 times &amp; more",
    "a",
]


def mean_sentence_score(texts: list[str]) -> float:
    bleu = BLEU(effective_order=True)
    scores = [bleu.sentence_score(text, texts[:at] + texts[at + 1 :]).score for at, text in enumerate(texts)]
    return sum(scores) / len(scores) / 100


def test_it_is_the_mean_of_sacrebleu_s_sentence_scores() -> None:
    entries = Almanac().texts({}, 40, seed=3)
    for texts in (TEXTS, TEXTS[:2], entries, entries + entries[:3]):
        assert self_bleu(texts) == pytest.approx(mean_sentence_score(texts), rel=1e-9)
    assert self_bleu([TEXTS[0]] * 5) == pytest.approx(1.0)


def test_a_subset_is_scored_as_if_there_were_no_other_texts() -> None:
    texts, random = TEXTS + Almanac().texts({}, 20, seed=4), np.random.default_rng(0)
    overlap = NgramOverlap(texts)
    for size in (2, 3, 9, 27):
        subset = np.sort(random.choice(len(texts), size, replace=False))
        assert overlap.self_bleu(subset) == pytest.approx(
            mean_sentence_score([texts[index] for index in subset]), rel=1e-9
        )


def test_a_single_text_is_refused() -> None:
    with pytest.raises(InputError, match="at least two"):
        self_bleu(["alone"])
