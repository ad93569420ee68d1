"""Real texts with labels as a world: its attributes are read by classifiers, from real and sampled texts alike."""

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
from vectors.common.validation import check_integer, quote
from vectors.data.contrast import shuffle_key

MOST_VALUES = 50
"""Values of an attribute; a column with more is no attribute."""

_FEWEST = 8  # texts of a value, in the half that its classifier is fit on
_FOLDS = 5
_TURNS = 200


def labelled_world(texts: Sequence[str], labels: Sequence[Mapping[str, Any]], *, seed: int = 0) -> RealTexts:
    """Return a reference whose attributes are the labels' keys, to measure fidelity against.

    Half of the texts fit a classifier for each attribute; the shares are those that it reads in the other half. So a
    classifier's own errors are in the truth as in what is measured, and cancel where texts are alike. Classes are
    weighed so that, of texts that it was fit without, a classifier gives each value as many as have it: left to itself
    it would hardly ever read a rare one. Values that it finds no oftener in texts that have them are left out.

    Args:
        texts: real texts, drawn as they come.
        labels: for each text its attributes' values; keys that not every text has are left out.
        seed: of the split.

    Raises:
        InputError: no attribute with two to fifty values, each often enough and told by words.
    """
    check_integer(seed, "seed")
    labels = [{name: _plain(value) for name, value in row.items()} for row in labels]
    order = sorted(range(len(texts)), key=lambda place: shuffle_key(texts[place], seed))
    fit, kept = order[::2], order[1::2]
    readers: dict[str, Callable[[str], Any]] = {}
    for name in _attributes(labels):
        counts = Counter(labels[place][name] for place in fit)
        values = {value for value, count in counts.items() if count >= _FEWEST}
        if not 2 <= len(values) <= MOST_VALUES:
            continue
        chosen = [place for place in fit if labels[place][name] in values]
        reader = _reader([texts[place] for place in chosen], [labels[place][name] for place in chosen])
        if reader is not None:
            readers[name] = reader
    if not readers:
        columns = ", ".join(map(str, labels[0])) if labels else ""
        raise InputError(
            f"no column of the {len(texts)} labelled texts ({quote(columns)}) is there for every text, as text or "
            f"whole numbers, with two to {MOST_VALUES} values of {2 * _FEWEST} texts each that their words tell: "
            "give more, or other columns"
        )
    return RealTexts([texts[place] for place in kept], readers)


def _attributes(labels: Sequence[Mapping[str, Any]]) -> list[str]:
    first = labels[0] if labels else {}
    return [name for name in first if all(isinstance(each.get(name), str | int | bool) for each in labels)]


def _plain(value: Any) -> Any:
    """A label as it is, but for what a CSV file makes of a truth value."""
    return {"true": True, "false": False}.get(value.lower(), value) if isinstance(value, str) else value


def _reader(texts: Sequence[str], values: Sequence[Any]) -> Callable[[str], Any] | None:
    """What reads an attribute in a text: each value as often as it is there, among texts that it was fit without."""
    from sklearn.linear_model import LogisticRegression  # slow to import
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    named = {str(value): value for value in values}
    known = np.array([str(value) for value in values])
    names, counts = np.unique(known, return_counts=True)
    if len(names) < 2:
        return None
    runs = ngram_vectorizer()
    rows = fit_vectorizer(runs, texts)
    model = LogisticRegression(C=10.0, class_weight="balanced", max_iter=1000)
    folds = StratifiedKFold(min(_FOLDS, int(counts.min())))
    scores = cross_val_predict(model, rows, known, cv=folds, method="predict_log_proba")
    offsets = _matched(scores, counts / len(known))
    read = names[(scores + offsets).argmax(axis=1)]
    blind = {name for name in names if not _tells(read, known, name)}
    if blind:
        seen = [place for place, name in enumerate(known) if name not in blind]
        return _reader([texts[place] for place in seen], [values[place] for place in seen])
    model.fit(rows, known)
    return cache(lambda text: named[names[(model.predict_log_proba(runs.transform([text]))[0] + offsets).argmax()]])


def _matched(scores: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """What to add to the classes' scores, so that as many texts are given to each as have it."""
    offsets, best, least = np.zeros(len(wanted)), np.zeros(len(wanted)), math.inf
    for turn in range(_TURNS):
        shares = np.bincount((scores + offsets).argmax(axis=1), minlength=len(wanted)) / len(scores)
        if (missed := np.abs(shares - wanted).sum()) < least:
            best, least = offsets.copy(), missed
        offsets += (np.log(wanted) - np.log(np.maximum(shares, 0.5 / len(scores)))) / (2 + turn / 8)
    return best


def _tells(read: np.ndarray, known: np.ndarray, value: str) -> bool:
    """Whether a value is found oftener in texts that have it than in others, and not by chance."""
    has = known == value
    return bool(rate(int((read[has] == value).sum()), int(has.sum()))[1] > (read[~has] == value).mean())


def conditions(given: Sequence[str], world: RealTexts) -> dict[str, Any]:
    """Return what `key=value` conditions say.

    Raises:
        InputError: what is no condition, about no attribute of the world, or a value that no text of it has.
    """
    found: dict[str, Any] = {}
    for each in given:
        key, equals, value = (part.strip() for part in each.partition("="))
        if not (key and equals and value):
            raise InputError(f"given is {quote(each)}: give key=value, such as topic=sea")
        if key not in world.readers:
            raise InputError(f"given is {quote(each)}: choose a column from {', '.join(world.readers)}")
        values = {str(reading[key]): reading[key] for reading in world.readings}
        if value not in values:
            raise InputError(f"given is {quote(each)}: of {key}, choose from {', '.join(values)}")
        found[key] = values[value]
    return found
