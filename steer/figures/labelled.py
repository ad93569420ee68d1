"""Real texts with labels as a world: its attributes are read by classifiers, from real and sampled texts alike."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

from steer.figures.judges import fitted
from steer.figures.references import RealTexts
from vectors.checks import shown, whole
from vectors.contrast import shuffled
from vectors.errors import InputError

MOST_VALUES = 50
"""Values of an attribute; a column with more is no attribute."""

_FEWEST = 8  # texts of a value, in the half that its classifier is fit on


def labelled_world(texts: Sequence[str], labels: Sequence[Mapping[str, Any]], *, seed: int = 0) -> RealTexts:
    """Return a reference whose attributes are the labels' keys, to measure fidelity against.

    Half of the texts fit a classifier for each attribute; the shares are those that it reads in the other half. So a
    classifier's own errors are in the truth as in what is measured, and cancel where texts are alike.

    Args:
        texts: real texts, drawn as they come.
        labels: for each text its attributes' values; keys that not every text has are left out.
        seed: of the split.

    Raises:
        InputError: no attribute with two to fifty values, each often enough, or scikit-learn is not installed.
    """
    whole(seed, "seed")
    labels = [{name: _plain(value) for name, value in row.items()} for row in labels]
    order = sorted(range(len(texts)), key=lambda place: shuffled(texts[place], seed))
    fit, kept = order[::2], order[1::2]
    readers: dict[str, Callable[[str], Any]] = {}
    for name in _attributes(labels):
        counts = Counter(labels[place][name] for place in fit)
        values = {value for value, count in counts.items() if count >= _FEWEST}
        if not 2 <= len(values) <= MOST_VALUES:
            continue
        chosen = [place for place in fit if labels[place][name] in values]
        readers[name] = _reader([texts[place] for place in chosen], [labels[place][name] for place in chosen])
    if not readers:
        columns = ", ".join(map(str, labels[0])) if labels else ""
        raise InputError(
            f"no column of the {len(texts)} labelled texts ({shown(columns)}) is there for every text, as text or "
            f"whole numbers, with two to {MOST_VALUES} values of {2 * _FEWEST} texts each: give more, or other columns"
        )
    return RealTexts([texts[place] for place in kept], readers)


def _attributes(labels: Sequence[Mapping[str, Any]]) -> list[str]:
    first = labels[0] if labels else {}
    return [name for name in first if all(isinstance(each.get(name), str | int | bool) for each in labels)]


def _plain(value: Any) -> Any:
    """A label as it is, but for what a CSV file makes of a truth value."""
    return {"true": True, "false": False}.get(value.lower(), value) if isinstance(value, str) else value


def _reader(texts: Sequence[str], values: Sequence[Any]) -> Callable[[str], Any]:
    named = {str(value): value for value in values}
    model = fitted(texts, [str(value) for value in values])
    return cache(lambda text: named[str(model.predict([text])[0])])


def conditions(given: Sequence[str], world: RealTexts) -> dict[str, Any]:
    """Return what `key=value` conditions say.

    Raises:
        InputError: what is no condition, about no attribute of the world, or a value that no text of it has.
    """
    found: dict[str, Any] = {}
    for each in given:
        key, equals, value = (part.strip() for part in each.partition("="))
        if not (key and equals and value):
            raise InputError(f"given is {shown(each)}: give key=value, such as topic=sea")
        if key not in world.readers:
            raise InputError(f"given is {shown(each)}: choose a column from {', '.join(world.readers)}")
        values = {str(reading[key]): reading[key] for reading in world.readings}
        if value not in values:
            raise InputError(f"given is {shown(each)}: of {key}, choose from {', '.join(values)}")
        found[key] = values[value]
    return found
