"""What each text of a run is, in words that texts can be grouped by."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from steer.judges.evaluation_set import EvaluationSet
from steer.metrics.diversity.ngrams import words
from steer.runs.sample_set import Sample

ASKED, ALIKE, ENDING = "what was asked for", "likeness", "ending"
ENDINGS = {"eos": "ended", "length": "cut", "not-finite": "stopped: logits not finite"}
_FEWEST = 8  # texts that are sorted by likeness
_SHOWN = 3  # words that a group of texts is called by


def text_groups(samples: Sequence[Sample], evaluation_set: EvaluationSet | None) -> list[dict[str, str]]:
    """Return what each text is by each way to tell: what was asked for, every attribute of its world, how it ended."""
    found = []
    for sample in samples:
        kinds = requested_group(sample.text, evaluation_set) | attribute_groups(sample.text, evaluation_set)
        found.append(kinds | {ENDING: ENDINGS[sample.finish]})
    return found


def requested_group(text: str, evaluation_set: EvaluationSet | None) -> dict[str, str]:
    """Return how much of what was asked for the judges find."""
    if evaluation_set is None or not evaluation_set.judges:
        return {}
    missing = [judge.name for judge in evaluation_set.judges if not judge.accepts(text)]
    if len(evaluation_set.judges) == 1:
        return {ASKED: "not found" if missing else "found"}
    return {ASKED: f"without {' and '.join(missing)}" if missing else "all of it"}


def attribute_groups(text: str, evaluation_set: EvaluationSet | None) -> dict[str, str]:
    """Return the attributes that a text shows; those that it has or has not are one kind together."""
    if evaluation_set is None or evaluation_set.reference is None:
        return {}
    reading = evaluation_set.reference.read(text)
    details = [name for name, each in reading.items() if each is True]
    kinds = {
        name: "none shown" if each is None else str(each)
        for name, each in reading.items()
        if not isinstance(each, bool)
    }
    return kinds | ({"details": " and ".join(details) or "none"} if any(isinstance(e, bool) for e in reading.values())
                    else {})  # fmt: skip


def similarity_groups(texts: Sequence[str], *, seed: int = 0) -> list[str] | None:
    """Return for each text the words that tell its group from the others, or None where there is no telling.

    Texts are grouped by k-means over their weighed words.
    """
    if len(texts) < _FEWEST:
        return None
    from sklearn.cluster import KMeans  # slow to import
    from sklearn.feature_extraction.text import TfidfVectorizer

    weigh = TfidfVectorizer(tokenizer=words, token_pattern=None, sublinear_tf=True, min_df=2, max_df=0.5)
    try:
        found = weigh.fit_transform(texts)
    except ValueError:  # no word that some of the texts share
        return None
    names = weigh.get_feature_names_out()
    groups = min(12, max(2, round((len(texts) / 4) ** 0.5)), len(names))
    labels = KMeans(groups, n_init=4, random_state=seed % 2**32).fit_predict(found)
    called: dict[int, str] = {}
    for group in np.unique(labels):
        inside, outside = (_shares(found[labels == group]), _shares(found[labels != group]))
        tells = (inside - outside) * np.log(
            inside / outside
        )  # Jeffreys' divergence: what is common everywhere tells little
        tells[inside < outside] = 0
        called[int(group)] = ", ".join(names[at] for at in tells.argsort()[::-1][:_SHOWN])
    return [called[int(label)] for label in labels]


def _shares(rows: Any) -> np.ndarray:
    """The share of rows that have each word, none of them 0 or 1."""
    shares: np.ndarray = (np.asarray((rows > 0).sum(axis=0)).ravel() + 0.5) / (rows.shape[0] + 1)
    return shares


def group_keys(kinds: Sequence[Mapping[str, str]]) -> list[str]:
    """Return the ways to group by, those that tell texts apart, in the order that they come in."""
    every = dict.fromkeys(key for each in kinds for key in each)
    return [key for key in every if len({each.get(key) for each in kinds}) > 1]
