"""Judges tell whether a text has a concept, by its words alone: none of them knows a direction."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from steer.judges.reference import Reference


@runtime_checkable
class Judge(Protocol):
    """What a judge is: a name, and whether it finds its concept in a text."""

    @property
    def name(self) -> str:
        """What the figures call it."""
        ...

    def accepts(self, text: str) -> bool:
        """Whether the text has the concept."""
        ...


@dataclass(frozen=True)
class GivenJudge:
    """Whether a text shows one of some values of an attribute, as a world reads it.

    Attributes:
        world: reads texts.
        attribute: which.
        values: any of them will do.
    """

    world: Reference
    attribute: str
    values: tuple[Any, ...]

    @property
    def name(self) -> str:
        """What the figures call it."""
        return f"{self.attribute}: {' or '.join(map(str, self.values))}"

    def accepts(self, text: str) -> bool:
        """Whether the text is read so."""
        return self.world.read(text).get(self.attribute) in self.values


@dataclass(frozen=True)
class AnyJudge:
    """A function of a text as a judge."""

    name: str
    ask: Callable[[str], bool]

    def accepts(self, text: str) -> bool:
        """Whether the function says so."""
        return bool(self.ask(text))


def judges_of(world: Reference, given: Mapping[str, Any]) -> tuple[Judge, ...]:
    """Return a judge for each attribute of what is given; all of them have to accept."""
    return tuple(
        GivenJudge(world, name, tuple(wanted) if isinstance(wanted, tuple | list | set | frozenset) else (wanted,))
        for name, wanted in given.items()
    )
