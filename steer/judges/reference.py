"""References: worlds with attributes of texts and their true shares, known exactly or counted in real texts."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from vectors.common.errors import InputError
from vectors.common.validation import list_names, quote

Reading = Mapping[str, Any]
"""A text's attributes by name: `None` if it shows no clear value; no key if the text cannot have the attribute."""


class Reference(Protocol):
    """A world: its attributes, how they are read from a text, and the true share of each value."""

    @property
    def attributes(self) -> tuple[str, ...]:
        """Names of the attributes."""
        ...

    def read(self, text: str) -> Reading:
        """Return the attributes of a text."""
        ...

    @property
    def whole(self) -> bool:
        """Whether the shares are those of whole texts, so that texts cut at the maximum length must be left out."""
        ...

    def shares(self, attribute: str, given: Mapping[str, Any]) -> tuple[dict[Any, float], int | None]:
        """Return the share of each value under a condition, and the number of texts it was counted in, if any."""
        ...

    def unread(self, attribute: str, given: Mapping[str, Any]) -> float:
        """Return the share of real texts that show no value of the attribute."""
        ...


@dataclass(frozen=True)
class RealTexts:
    """A reference from real texts and one function per attribute that reads its value from a text.

    Attributes:
        texts: a random sample of the texts that the model was trained on.
        readers: by the attribute's name, a function from a text to a value, or to `None` if it shows none.
        whole: whether sampled texts cut at the maximum length must be left out.
    """

    texts: Sequence[str]
    readers: Mapping[str, Callable[[str], Any]]
    whole: bool = False

    @property
    def attributes(self) -> tuple[str, ...]:
        """Names of the attributes."""
        return tuple(self.readers)

    def read(self, text: str) -> Reading:
        """Return the value of each attribute in a text."""
        return {name: reader(text) for name, reader in self.readers.items()}

    @cached_property
    def readings(self) -> list[Reading]:
        """The attributes of each real text."""
        return [self.read(text) for text in self.texts]

    def shares(self, attribute: str, given: Mapping[str, Any]) -> tuple[dict[Any, float], int | None]:
        """Return the share of each value among the real texts that meet a condition and show a value, and their number.

        Raises:
            InputError: an attribute without a reader, or a condition that no text meets.
        """
        for name in (attribute, *given):
            if name not in self.readers:
                raise InputError(f"no reader for {quote(name)}: there are {list_names(self.readers)}")
        counts = Counter(
            reading[attribute]
            for reading in self.readings
            if matches(reading, given) and reading.get(attribute) is not None
        )
        if not counts:
            condition = quote(format_condition(given))
            raise InputError(f"of {len(self.texts)} real texts, none has {condition}: give more, or ask for less")
        return {value: count / counts.total() for value, count in counts.items()}, counts.total()

    def unread(self, attribute: str, given: Mapping[str, Any]) -> float:
        """Return the share of the real texts meeting a condition that show no value of the attribute."""
        missing = [reading.get(attribute) is None for reading in self.readings if matches(reading, given)]
        return sum(missing) / len(missing) if missing else 0.0


def matches(reading: Reading, given: Mapping[str, Any]) -> bool:
    """Return whether a text's attributes meet a condition: for each attribute one value, or one of several."""
    return all(
        reading.get(name) in wanted
        if isinstance(wanted, Collection) and not isinstance(wanted, str)
        else reading.get(name) == wanted
        for name, wanted in given.items()
    )


def format_condition(given: Mapping[str, Any]) -> str:
    """Return a condition in words.

    >>> format_condition({"form": ("haiku", "sonnet"), "rainbow": False})
    'form haiku or sonnet, rainbow False'
    """
    alternatives = {name: value if isinstance(value, tuple) else (value,) for name, value in given.items()}
    return ", ".join(f"{name} {' or '.join(map(str, values))}" for name, values in alternatives.items())
