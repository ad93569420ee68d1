"""Groups of texts: by what the judges find, by attributes, by likeness, and by how they ended."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from steer.judges.evaluation_set import EvaluationSet
from steer.metrics.diversity.ngrams import words
from steer.runs.sample_set import Sample

ASKED, ALIKE, ENDING = "what was asked for", "likeness", "ending"
ENDINGS = {"eos": "ended", "length": "cut", "not-finite": "stopped: logits not finite"}
_FEWEST_TEXTS = 8  # for grouping by likeness
_MOST_GROUPS = 12
_NAME_WORDS = 3  # words in the name of a group of similar texts


def text_groups(samples: Sequence[Sample], evaluation_set: EvaluationSet | None) -> list[dict[str, str]]:
    """Return for each text the name of its group, by each way to group."""
    return [
        requested_group(sample.text, evaluation_set)
        | attribute_groups(sample.text, evaluation_set)
        | {ENDING: ENDINGS[sample.finish]}
        for sample in samples
    ]


def requested_group(text: str, evaluation_set: EvaluationSet | None) -> dict[str, str]:
    """Return which of the requested concepts the judges miss in a text; empty without judges."""
    if evaluation_set is None or not evaluation_set.judges:
        return {}
    missing = [judge.name for judge in evaluation_set.judges if not judge.accepts(text)]
    if len(evaluation_set.judges) == 1:
        return {ASKED: "not found" if missing else "found"}
    return {ASKED: f"without {' and '.join(missing)}" if missing else "all of it"}


def attribute_groups(text: str, evaluation_set: EvaluationSet | None) -> dict[str, str]:
    """Return the value of each attribute of a text; attributes that are true or false form one group, `details`."""
    if evaluation_set is None or evaluation_set.reference is None:
        return {}
    reading = evaluation_set.reference.read(text)
    flags = {name: value for name, value in reading.items() if isinstance(value, bool)}
    groups = {
        name: "none shown" if value is None else str(value) for name, value in reading.items() if name not in flags
    }
    if flags:
        groups["details"] = " and ".join(name for name, value in flags.items() if value) or "none"
    return groups


def similarity_groups(texts: Sequence[str], *, seed: int = 0) -> list[str] | None:
    """Cluster texts by k-means over TF-IDF and name each cluster by its most distinctive words.

    Returns:
        The name of each text's cluster, or None for fewer than eight texts or texts that share no words.
    """
    if len(texts) < _FEWEST_TEXTS:
        return None
    from sklearn.cluster import KMeans  # slow to import
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(tokenizer=words, token_pattern=None, sublinear_tf=True, min_df=2, max_df=0.5)
    try:
        rows = vectorizer.fit_transform(texts)
    except ValueError:  # no word that some of the texts share
        return None
    vocabulary = vectorizer.get_feature_names_out()
    clusters = min(_MOST_GROUPS, max(2, round((len(texts) / 4) ** 0.5)), len(vocabulary))
    labels = KMeans(clusters, n_init=4, random_state=seed % 2**32).fit_predict(rows)
    names: dict[int, str] = {}
    for cluster in np.unique(labels):
        inside, outside = _document_shares(rows[labels == cluster]), _document_shares(rows[labels != cluster])
        # Jeffreys' divergence: words that are common everywhere say little
        divergence = (inside - outside) * np.log(inside / outside)
        divergence[inside < outside] = 0
        names[int(cluster)] = ", ".join(vocabulary[index] for index in divergence.argsort()[::-1][:_NAME_WORDS])
    return [names[int(label)] for label in labels]


def _document_shares(rows: Any) -> np.ndarray:
    """Return the share of rows with each word, smoothed so that none is 0 or 1."""
    shares: np.ndarray = (np.asarray((rows > 0).sum(axis=0)).ravel() + 0.5) / (rows.shape[0] + 1)
    return shares


def group_keys(groups: Sequence[Mapping[str, str]]) -> list[str]:
    """Return the ways to group that put the texts into more than one group, in their order."""
    keys = dict.fromkeys(key for names in groups for key in names)
    return [key for key in keys if len({names.get(key) for names in groups}) > 1]
