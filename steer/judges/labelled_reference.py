"""A reference from real texts with labels: classifiers read the attributes of real and of sampled texts alike."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from steer.judges.classifier import fit_vectorizer, ngram_vectorizer
from steer.judges.reference import RealTexts
from steer.statistics.intervals import rate
from vectors.common.errors import InputError
from vectors.common.validation import check_integer, list_names, quote
from vectors.data.contrast import shuffle_key

MAX_VALUES = 50
"""Maximum number of values of an attribute; a column with more is left out."""

_MIN_TEXTS = 8  # per value, in the half of the texts that its classifier is fit on
_FOLDS = 5
_ITERATIONS = 200


def labelled_reference(texts: Sequence[str], labels: Sequence[Mapping[str, Any]], *, seed: int = 0) -> RealTexts:
    """Return a reference whose attributes are the keys of the labels, to measure fidelity against.

    Half of the texts fit one classifier per attribute. The true shares are those that the classifiers read in the other
    half: the errors of a classifier are then in the true shares as well as in the observed ones, and cancel for texts
    that are alike. The thresholds of a classifier are set so that, in cross-validation, it reads each value as often as
    the value occurs; without this it would hardly ever read a rare one. Values that it does not read more often in
    texts that have them are left out.

    Args:
        texts: real texts, in random order.
        labels: the attributes of each text; keys that are missing for some texts are left out.
        seed: of the split into halves.

    Raises:
        InputError: no attribute with two to fifty values that are frequent enough and can be read from the words.
    """
    check_integer(seed, "seed")
    labels = [{name: _parse_boolean(value) for name, value in row.items()} for row in labels]
    order = sorted(range(len(texts)), key=lambda index: shuffle_key(texts[index], seed))
    train, held_out = order[::2], order[1::2]
    readers: dict[str, Callable[[str], Any]] = {}
    for name in _attributes(labels):
        counts = Counter(labels[index][name] for index in train)
        values = {value for value, count in counts.items() if count >= _MIN_TEXTS}
        if not 2 <= len(values) <= MAX_VALUES:
            continue
        usable = [index for index in train if labels[index][name] in values]
        reader = _fit_reader([texts[index] for index in usable], [labels[index][name] for index in usable])
        if reader is not None:
            readers[name] = reader
    if not readers:
        columns = ", ".join(map(str, labels[0])) if labels else ""
        raise InputError(
            f"no column of the {len(texts)} labelled texts ({quote(columns)}) is an attribute, with text or whole "
            f"numbers for every text, two to {MAX_VALUES} values, and {2 * _MIN_TEXTS} texts of each value, which can "
            "be read from their words: give more texts, or other columns"
        )
    return RealTexts([texts[index] for index in held_out], readers)


def _attributes(labels: Sequence[Mapping[str, Any]]) -> list[str]:
    first = labels[0] if labels else {}
    return [name for name in first if all(isinstance(row.get(name), str | int | bool) for row in labels)]


def _parse_boolean(value: Any) -> Any:
    """Return the label, with `true` and `false` of a CSV file as booleans."""
    return {"true": True, "false": False}.get(value.lower(), value) if isinstance(value, str) else value


def _fit_reader(texts: Sequence[str], values: Sequence[Any]) -> Callable[[str], Any] | None:
    """Return a function that reads the value of an attribute from a text; None if fewer than two values can be read."""
    from sklearn.linear_model import LogisticRegression  # slow to import
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    value_by_name = {str(value): value for value in values}
    labels = np.array([str(value) for value in values])
    names, counts = np.unique(labels, return_counts=True)
    if len(names) < 2:
        return None
    vectorizer = ngram_vectorizer()
    rows = fit_vectorizer(vectorizer, texts)
    model = LogisticRegression(C=10.0, class_weight="balanced", max_iter=1000)
    folds = StratifiedKFold(min(_FOLDS, int(counts.min())))
    scores = cross_val_predict(model, rows, labels, cv=folds, method="predict_log_proba")
    offsets = _matching_offsets(scores, counts / len(labels))
    predicted = names[(scores + offsets).argmax(axis=1)]
    unreadable = {name for name in names if not _is_readable(predicted, labels, name)}
    if unreadable:
        rest = [index for index, name in enumerate(labels) if name not in unreadable]
        return _fit_reader([texts[index] for index in rest], [values[index] for index in rest])
    model.fit(rows, labels)

    @cache
    def read(text: str) -> Any:
        log_probabilities = model.predict_log_proba(vectorizer.transform([text]))[0]
        return value_by_name[names[(log_probabilities + offsets).argmax()]]

    return read


def _matching_offsets(scores: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Return offsets of the classes' scores with which the share of texts read as each class is its true share."""
    offsets, best, smallest = np.zeros(len(shares)), np.zeros(len(shares)), math.inf
    for iteration in range(_ITERATIONS):
        read = np.bincount((scores + offsets).argmax(axis=1), minlength=len(shares)) / len(scores)
        if (error := np.abs(read - shares).sum()) < smallest:
            best, smallest = offsets.copy(), error
        offsets += (np.log(shares) - np.log(np.maximum(read, 0.5 / len(scores)))) / (2 + iteration / 8)
    return best


def _is_readable(predicted: np.ndarray, labels: np.ndarray, value: str) -> bool:
    """Return whether a value is read significantly more often in texts that have it than in others."""
    has = labels == value
    return bool(rate(int((predicted[has] == value).sum()), int(has.sum())).low > (predicted[~has] == value).mean())


def parse_conditions(given: Sequence[str], reference: RealTexts) -> dict[str, Any]:
    """Return the condition that strings such as `topic=sea` describe.

    Raises:
        InputError: a string that is no condition, or an attribute or value that the reference does not have.
    """
    condition: dict[str, Any] = {}
    for text in given:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not (name and equals and value):
            raise InputError(f"given is {quote(text)}: give key=value, such as topic=sea")
        if name not in reference.readers:
            raise InputError(f"given is {quote(text)}: choose a column from {list_names(reference.readers)}")
        values = {str(reading[name]): reading[name] for reading in reference.readings}
        if value not in values:
            raise InputError(f"given is {quote(text)}: of {name}, choose from {list_names(values)}")
        condition[name] = values[value]
    return condition
