"""What the true shares of a world's attributes are: known exactly, or counted in texts that are known to be real."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from vectors.common.errors import InputError
from vectors.common.validation import quote

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
                raise InputError(f"no reader for {quote(name)}: there are {', '.join(self.readers)}")
        counts = Counter(
            each[attribute] for each in self.readings if matches(each, given) and each.get(attribute) is not None
        )
        if not counts:
            raise InputError(
                f"of {len(self.texts)} real texts, none has "
                f"{quote(format_condition(given))}: give more, or ask for less"
            )
        return {value: count / counts.total() for value, count in counts.items()}, counts.total()

    def unread(self, attribute: str, given: Mapping[str, Any]) -> float:
        """Return the share of the real texts in which `given` holds that show no value."""
        having = [each.get(attribute) is None for each in self.readings if matches(each, given)]
        return sum(having) / len(having) if having else 0.0


def matches(reading: Reading, given: Mapping[str, Any]) -> bool:
    """Whether a text shows what is given: for each attribute one value, or one of several."""
    return all(
        reading.get(name) in wanted
        if isinstance(wanted, Collection) and not isinstance(wanted, str)
        else reading.get(name) == wanted
        for name, wanted in given.items()
    )


def format_condition(given: Mapping[str, Any]) -> str:
    """Say what is given in words.

    >>> format_condition({"form": ("haiku", "sonnet"), "rainbow": False})
    'form haiku or sonnet, rainbow False'
    """
    wanted = {name: value if isinstance(value, tuple) else (value,) for name, value in given.items()}
    return ", ".join(f"{name} {' or '.join(map(str, values))}" for name, values in wanted.items())
