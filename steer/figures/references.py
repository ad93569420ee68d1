"""What the true shares of a world's attributes are: known exactly, or counted in texts that are known to be real."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from vectors.almanac import oracle, world
from vectors.almanac.concepts import CONCEPTS
from vectors.almanac.generate import entry
from vectors.checks import shown
from vectors.errors import InputError

_REAL = 1 << 42  # added to the seed: entries that nothing was trained on

Reading = Mapping[str, Any]
"""A text's attributes by name: `None` where it shows none, or contradicts itself; no key where it cannot have one."""


class Reference(Protocol):
    """A world: which attributes it has, how they are read from a text, and how often each value is true."""

    @property
    def attributes(self) -> tuple[str, ...]:
        """Their names."""
        ...

    def read(self, text: str) -> Reading:
        """Return the attributes that a text shows."""
        ...

    @property
    def whole(self) -> bool:
        """Whether its shares are of whole texts, so that those that were cut say nothing."""
        ...

    def shares(self, attribute: str, given: Mapping[str, Any]) -> tuple[dict[Any, float], int | None]:
        """Return how often each value is true where `given` is, and in how many texts that was counted, if it was."""
        ...

    def unread(self, attribute: str, given: Mapping[str, Any]) -> float:
        """Return how often a true text shows no value."""
        ...


class Almanac:
    """The world of the embedded model, whose shares are known exactly.

    Where a condition never happens since no training entry has it, the truth is what the world's rates alone say.
    """

    attributes = (*world.VALUES, "number")
    whole = True

    def read(self, text: str) -> Reading:
        """Return what the oracle reads; only a text of a form with a number has that attribute."""
        found = oracle.read(text)
        numbered = found.form in world.NUMBERED_FORMS
        return {name: getattr(found, name) for name in self.attributes if numbered or name != "number"}

    def shares(self, attribute: str, given: Mapping[str, Any]) -> tuple[dict[Any, float], int | None]:
        """Return the exact conditional shares; a number's are those in the forms that have one.

        Raises:
            InputError: an attribute or value that the world does not have, or a condition that never happens in it.
        """
        if attribute == "number":
            return dict.fromkeys(world.NUMBERS, 1 / len(world.NUMBERS)), None
        return world.marginal(attribute, given, beyond=unseen(given)), None

    def unread(self, attribute: str, given: Mapping[str, Any]) -> float:
        """Return 0: the oracle reads every attribute of an entry."""
        return 0.0

    def texts(self, given: Mapping[str, Any], n: int, *, seed: int = 0) -> list[str]:
        """Return `n` entries of the world, by its own author, in which `given` holds.

        Raises:
            InputError: an attribute or value that the world does not have, or a condition that never happens in it.
        """
        drawn = world.draw(np.random.default_rng(seed), n, given, beyond=unseen(given))
        return [entry((seed + _REAL) % 2**64, index, each).text for index, each in enumerate(drawn)]


def unseen(given: Mapping[str, Any]) -> bool:
    """Whether no entry that the embedded model learned from has this, although the world's rates allow it."""
    if world.probability(given):
        return False
    return world.probability(given, beyond=True) > 0


@dataclass(frozen=True)
class RealTexts:
    """Real texts, and for each attribute a function that reads its value from a text.

    Attributes:
        texts: texts of the world that the model was trained on, drawn as they come.
        readers: by the attribute's name; a reader returns a value, or `None` where the text shows none.
        whole: whether sampled texts that were cut say nothing.
    """

    texts: Sequence[str]
    readers: Mapping[str, Callable[[str], Any]]
    whole: bool = False

    @property
    def attributes(self) -> tuple[str, ...]:
        """The readers' names."""
        return tuple(self.readers)

    def read(self, text: str) -> Reading:
        """Ask every reader."""
        return {name: reader(text) for name, reader in self.readers.items()}

    @cached_property
    def readings(self) -> list[Reading]:
        """What the real texts show."""
        return [self.read(text) for text in self.texts]

    def shares(self, attribute: str, given: Mapping[str, Any]) -> tuple[dict[Any, float], int | None]:
        """Return the shares among the real texts in which `given` holds and the attribute is shown.

        Raises:
            InputError: an attribute without a reader, or a condition that no text meets.
        """
        for name in (attribute, *given):
            if name not in self.readers:
                raise InputError(f"no reader for {shown(name)}: there are {', '.join(self.readers)}")
        counts = Counter(
            each[attribute] for each in self.readings if holds(each, given) and each.get(attribute) is not None
        )
        if not counts:
            raise InputError(
                f"of {len(self.texts)} real texts, none has {shown(said(given))}: give more, or ask for less"
            )
        return {value: count / counts.total() for value, count in counts.items()}, counts.total()

    def unread(self, attribute: str, given: Mapping[str, Any]) -> float:
        """Return the share of the real texts in which `given` holds that show no value."""
        having = [each.get(attribute) is None for each in self.readings if holds(each, given)]
        return sum(having) / len(having) if having else 0.0


def holds(reading: Reading, given: Mapping[str, Any]) -> bool:
    """Whether a text shows what is given: for each attribute one value, or one of several."""
    return all(
        reading.get(name) in wanted
        if isinstance(wanted, Collection) and not isinstance(wanted, str)
        else reading.get(name) == wanted
        for name, wanted in given.items()
    )


def said(given: Mapping[str, Any]) -> str:
    """Say what is given in words.

    >>> said({"form": ("haiku", "sonnet"), "rainbow": False})
    'form haiku or sonnet, rainbow False'
    """
    wanted = {name: value if isinstance(value, tuple) else (value,) for name, value in given.items()}
    return ", ".join(f"{name} {' or '.join(map(str, values))}" for name, values in wanted.items())


def steered(doses: Mapping[str, float]) -> tuple[dict[str, Any], set[str]]:
    """Return what a run's doses make of the Almanac: what is given, and every attribute that was steered either way.

    A negative dose asks for every other value of its attribute; of several positive ones of one attribute, any will do.

    Raises:
        InputError: a concept that the Almanac does not have.

    >>> steered({"waterfall": 1.0, "rainbow": -0.5})[0]
    {'topic': 'waterfall', 'rainbow': False}
    """
    wanted: dict[str, list[Any]] = {}
    unwanted: dict[str, list[Any]] = {}
    touched = set()
    for name, dose in doses.items():
        if name not in CONCEPTS:
            raise InputError(f"the Almanac has no concept {shown(name)}: say with `given` what the texts are to have")
        attribute, value = CONCEPTS[name]
        touched.add(attribute)
        if dose:
            (wanted if dose > 0 else unwanted).setdefault(attribute, []).append(value)
    for attribute, values in unwanted.items():
        rest = [value for value in world.VALUES[attribute] if value not in values]
        wanted.setdefault(attribute, rest)
    given = {name: values[0] if len(values) == 1 else tuple(values) for name, values in wanted.items()}
    return given, touched
