"""Judges decide by the text alone whether it has a concept; none of them reads activations."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from steer.judges.reference import Reference
from vectors.calibration.word_judge import Judge as TextJudge


@runtime_checkable
class Judge(TextJudge, Protocol):
    """Accepts texts that have a concept, and has a name for reports."""

    @property
    def name(self) -> str:
        """Name in reports."""
        ...


@dataclass(frozen=True)
class AttributeJudge:
    """Accepts texts in which a reference reads one of some values of an attribute.

    Attributes:
        reference: reads the attributes of a text.
        attribute: name of the attribute.
        values: accepted values.
    """

    reference: Reference
    attribute: str
    values: tuple[Any, ...]

    @property
    def name(self) -> str:
        """Name in reports."""
        return f"{self.attribute}: {' or '.join(map(str, self.values))}"

    def accepts(self, text: str) -> bool:
        """Return whether the attribute has one of the values in the text."""
        return self.reference.read(text).get(self.attribute) in self.values


@dataclass(frozen=True)
class FunctionJudge:
    """A function of a text as a judge."""

    name: str
    function: Callable[[str], bool]

    def accepts(self, text: str) -> bool:
        """Return whether the function returns something true."""
        return bool(self.function(text))


def judges_of(reference: Reference, given: Mapping[str, Any]) -> tuple[Judge, ...]:
    """Return one judge for each attribute of a condition; a text meets the condition if all of them accept it."""
    return tuple(
        AttributeJudge(
            reference, name, tuple(wanted) if isinstance(wanted, tuple | list | set | frozenset) else (wanted,)
        )
        for name, wanted in given.items()
    )
