"""The known distribution behind the embedded model: latent attributes and their exact probabilities."""

import itertools
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from vectors.common.errors import InputError

with (Path(__file__).parent / "rates.toml").open("rb") as _file:
    RATES: dict[str, Any] = tomllib.load(_file)

DETAILS = ("rainbow", "wedding", "snow", "key")
VALUES: dict[str, tuple[Any, ...]] = {
    "form": ("sonnet", "haiku", "letter", "recipe", "forecast", "riddle", "diary", "notice"),
    "topic": ("quantum", "waterfall", "sea", "forest", "kitchen", "library", "desert", "railway", "orchard", "moon"),
    "voice": ("cat", "robot", "child", "sailor", "ghost", "gardener", "grandmother", "crow"),
    "mood": ("joyful", "gloomy", "calm", "fearful", "tender"),
    "hour": ("dawn", "noon", "dusk", "midnight"),
    **{detail: (False, True) for detail in DETAILS},
}
"""The values of every attribute except `number`, in the order of the joint table's axes."""

NUMBERED_FORMS: tuple[str, ...] = tuple(RATES["number"]["forms"])
NUMBERS = range(1, RATES["number"]["most"] + 1)


@dataclass(frozen=True)
class Attributes:
    """The attributes of an entry: those it was written from, or those that the oracle read (None: not shown)."""

    form: str | None = None
    topic: str | None = None
    voice: str | None = None
    mood: str | None = None
    hour: str | None = None
    rainbow: bool = False
    wedding: bool = False
    snow: bool = False
    key: bool = False
    number: int | None = None

    @property
    def details(self) -> tuple[str, ...]:
        """The details that are present, in the order of `DETAILS`."""
        return tuple(detail for detail in DETAILS if getattr(self, detail))

    def matches(self, event: Mapping[str, Any]) -> bool:
        """Whether the attributes belong to an event (see `probability`)."""
        allowed = {name: _allowed(name, wanted) for name, wanted in event.items()}
        return all(getattr(self, name) in values for name, values in allowed.items())


@dataclass(frozen=True)
class HeldOut:
    """Combinations of values that no training entry has."""

    triples: tuple[tuple[str, str, str], ...]
    """(form, topic, voice)"""
    pairs: tuple[tuple[str, str], ...]
    """(form, topic)"""

    def __contains__(self, attributes: Attributes) -> bool:
        pair = (attributes.form, attributes.topic)
        return pair in self.pairs or (*pair, attributes.voice) in self.triples


held_out = HeldOut(
    triples=tuple((form, topic, voice) for form, topic, voice in RATES["held_out"]["triples"]),
    pairs=tuple((form, topic) for form, topic in RATES["held_out"]["pairs"]),
)


@cache
def joint(*, beyond: bool = False) -> np.ndarray:
    """Return the exact joint distribution of all attributes but `number`, with one axis per attribute as in `VALUES`.

    With `beyond`, held-out combinations have the probability that the rates give them. No entry is drawn from that
    distribution, but a model that composes concepts correctly would follow it.

    >>> float(joint().sum().round(12))
    1.0
    """
    topic = _row("topic")
    form = np.stack([_row("form", "topic", value) for value in VALUES["topic"]])
    voice = np.stack([_row("voice", "topic", value) for value in VALUES["topic"]])
    mood = np.stack([_row("mood", "voice", value) for value in VALUES["voice"]])
    coins = {detail: _coin(detail) for detail in DETAILS}
    table: np.ndarray = np.einsum("t,tf,tv,vm,h->ftvmh", topic, form, voice, mood, _row("hour"))
    for first, second, third in () if beyond else held_out.triples:
        table[_index("form", first), _index("topic", second), _index("voice", third)] = 0.0
    for first, second in () if beyond else held_out.pairs:
        table[_index("form", first), _index("topic", second)] = 0.0
    table /= table.sum()
    for detail in DETAILS:
        coin = coins[detail].reshape(1, len(VALUES["topic"]), 1, 1, len(VALUES["hour"]), *[1] * (table.ndim - 5))
        table = np.stack([table * (1 - coin), table * coin], axis=-1)
    table.setflags(write=False)
    return table


def probability(event: Mapping[str, Any], given: Mapping[str, Any] | None = None, *, beyond: bool = False) -> float:
    """Return the exact probability that an entry belongs to `event`, given that it belongs to `given`.

    Both map attribute names to a value or a collection of values; other attributes are free. Held-out combinations
    (`held_out`) have probability zero and the others are normalised, unless `beyond` is given (see `joint`).

    Raises:
        InputError: an unknown attribute or value, or a condition that never happens.

    >>> round(probability({"rainbow": True}, given={"topic": "waterfall"}), 6)
    0.02
    """
    condition = dict(given or {})
    both = {name: _allowed(name, wanted) for name, wanted in condition.items()}
    for name, wanted in event.items():
        both[name] = _allowed(name, wanted) & both.get(name, _allowed(name, wanted))
    total = _mass({name: _allowed(name, wanted) for name, wanted in condition.items()}, joint(beyond=beyond))
    if total == 0:
        raise InputError(f"the condition {condition} never happens in this world; give one that does")
    return _mass(both, joint(beyond=beyond)) / total


def marginal(attribute: str, given: Mapping[str, Any] | None = None, *, beyond: bool = False) -> dict[Any, float]:
    """Return the exact distribution of one attribute, given an event.

    >>> {value: round(p, 2) for value, p in marginal("voice", {"topic": "sea"}).items()}["sailor"]
    0.3
    """
    values = (None, *NUMBERS) if attribute == "number" else VALUES[_check_attribute(attribute)]
    return {value: probability({attribute: value}, given, beyond=beyond) for value in values}


def draw(
    rng: np.random.Generator, n: int, given: Mapping[str, Any] | None = None, *, beyond: bool = False
) -> list[Attributes]:
    """Draw `n` independent sets of attributes from the joint distribution, given an event.

    Raises:
        InputError: an unknown attribute or value, a number, or a condition that never happens.
    """
    cumulative = np.cumsum(_conditioned(given, beyond)) if given else _cumulative(beyond)
    if cumulative[-1] <= 0:
        raise InputError(f"the condition {dict(given or {})} never happens in this world; give one that does")
    cells = np.searchsorted(cumulative, rng.random(n) * cumulative[-1], side="right")
    numbers = rng.integers(NUMBERS.start, NUMBERS.stop, size=n)
    drawn = []
    for cell, number in zip(cells, numbers, strict=True):
        axes = np.unravel_index(cell, joint().shape)
        values = {name: VALUES[name][i] for name, i in zip(VALUES, axes, strict=True)}
        values["number"] = int(number) if values["form"] in NUMBERED_FORMS else None
        drawn.append(Attributes(**values))
    return drawn


@cache
def _cumulative(beyond: bool) -> np.ndarray:
    return np.cumsum(joint(beyond=beyond).ravel())


def _conditioned(given: Mapping[str, Any], beyond: bool) -> np.ndarray:
    """Return the flattened joint distribution with zeros outside the event."""
    if "number" in given:
        raise InputError("entries cannot be drawn for a number: leave it out of the condition")
    table = joint(beyond=beyond).copy()
    for axis, name in enumerate(VALUES):
        if name in given:
            allowed = _allowed(name, given[name])
            excluded = [i for i, value in enumerate(VALUES[name]) if value not in allowed]
            np.moveaxis(table, axis, 0)[excluded] = 0.0
    return table.ravel()


def _mass(event: Mapping[str, frozenset[Any]], table: np.ndarray) -> float:
    for axis, name in enumerate(VALUES):
        if name in event:
            included = [i for i, value in enumerate(VALUES[name]) if value in event[name]]
            table = np.take(table, included, axis=axis)
    if "number" not in event:
        return float(table.sum())
    forms = [form for form in VALUES["form"] if form in event.get("form", VALUES["form"])]
    if not forms:
        return 0.0
    share = sum(number in event["number"] for number in NUMBERS) / len(NUMBERS)
    weights = np.array([share if form in NUMBERED_FORMS else float(None in event["number"]) for form in forms])
    return float(table.reshape(len(forms), -1).sum(axis=1) @ weights)


def _allowed(name: str, wanted: Any) -> frozenset[Any]:
    is_collection = isinstance(wanted, Collection) and not isinstance(wanted, str)
    values = frozenset(wanted) if is_collection else frozenset([wanted])
    known = frozenset([None, *NUMBERS]) if name == "number" else frozenset(VALUES[_check_attribute(name)])
    if not values <= known:
        unknown = min(map(str, values - known))
        raise InputError(f"{name} has no value {unknown!r}; it has {sorted(map(str, known))}")
    return values


def _check_attribute(name: str) -> str:
    if name not in VALUES:
        raise InputError(f"no attribute {name!r} in this world; it has {[*VALUES, 'number']}")
    return name


def _index(attribute: str, value: str) -> int:
    return VALUES[attribute].index(value)


def _row(attribute: str, parent: str | None = None, parent_value: str | None = None) -> np.ndarray:
    rates = dict(RATES[attribute])
    for value, rate in RATES["given"].get(parent, {}).get(parent_value, {}).items() if parent else ():
        if value in rates:
            scale = (1 - rate) / (sum(rates.values()) - rates[value])
            rates = {name: rate if name == value else old * scale for name, old in rates.items()}
    row = np.array([rates[value] for value in VALUES[attribute]])
    assert abs(row.sum() - 1) < 1e-9, f"rates.toml: the rates of {attribute} do not sum to one"
    return row


def _coin(detail: str) -> np.ndarray:
    rates = RATES["detail"][detail]
    topics, hours = rates.get("topic", {}), rates.get("hour", {})
    grid = itertools.product(VALUES["topic"], VALUES["hour"])
    flat = [topics.get(topic, rates["elsewhere"]) * hours.get(hour, 1.0) for topic, hour in grid]
    return np.array(flat).reshape(len(VALUES["topic"]), len(VALUES["hour"]))
