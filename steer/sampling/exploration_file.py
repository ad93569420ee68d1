"""The file of an exploration: each line is a sample with the node and the screen that it belongs to."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steer.runs.sample import Sample
from vectors.common.errors import InputError
from vectors.common.files import read_bytes
from vectors.common.validation import MAX_SEED, check_integer, quote

MAX_SCREEN = 1000
"""Maximum number of samples on a screen."""

_KEYS = ("place", "parent", "screen", "of")


@dataclass(frozen=True)
class Screen:
    """Samples that are shown together.

    Attributes:
        node: number of their node.
        parent: number of the parent of that node, None for the root.
        start: index of the first sample.
        size: number of samples.
    """

    node: int
    parent: int | None
    start: int
    size: int

    @property
    def indices(self) -> range:
        """Indices of the samples."""
        return range(self.start, self.start + self.size)

    def to_dict(self) -> dict[str, Any]:
        """Return the keys that each line of the file has besides those of its sample."""
        return dict(zip(_KEYS, (self.node, self.parent, self.start, self.size), strict=True))

    @classmethod
    def from_dict(cls, content: dict[str, Any], where: str) -> "Screen":
        """Return the screen of a line.

        Raises:
            InputError: a missing or invalid key; the message begins with `where`.
        """
        numbers = {
            key: check_integer(content[key], f"{where}: {key}", high=MAX_SEED >> 1)
            for key in _KEYS
            if content.get(key) is not None
        }
        has_keys = set(_KEYS) <= set(content) and set(_KEYS) - {"parent"} <= set(numbers)
        if not has_keys or not 1 <= numbers["of"] <= MAX_SCREEN:
            raise InputError(f"{where} has no screen of an exploration: give a file that `steer explore` wrote")
        return cls(numbers["place"], numbers.get("parent"), numbers["screen"], numbers["of"])


def read_exploration(path: Path) -> list[tuple[Sample, Screen]]:
    """Return the samples of a file, each with its screen.

    Raises:
        InputError: a line that is no sample of an exploration, or a file without samples.
    """
    name, samples = quote(path), []
    for count, line in enumerate(read_bytes(path, "an exploration").splitlines(), 1):
        if line.strip():
            where = f"{name} line {count}"
            samples.append((Sample.from_json(line, where), Screen.from_dict(json.loads(line), where)))
    if not samples:
        raise InputError(f"{name} has no samples yet: begin with an expression and -o {name}")
    return samples
