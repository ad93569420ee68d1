"""A file as rows of named cells, which are read one after the other."""

import itertools
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vectors.common.errors import SteerWarning

Row = tuple[str, Mapping[str, Any]]
"""Where a row stands, for messages, and its cells by column."""

_HEAD = 200


@dataclass
class Table:
    """The rows of a file.

    Attributes:
        name: The quoted path, for messages.
        rows: The rows, to be read once.
        plain: Whether each row is a text without columns; it is under `text`.
        typed: Whether cells have types; those of csv files are all text.
        headed: Whether the columns are named by the first row of the file.
        ragged: Whether a row may lack a column: the file holds lists of unequal length.
        label_names: The names that the numbers of a column stand for.
    """

    name: str
    rows: Iterator[Row]
    plain: bool = False
    typed: bool = True
    headed: bool = False
    ragged: bool = False
    label_names: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def head(self) -> list[Row]:
        """Return the first rows, which stay part of the table."""
        first = list(itertools.islice(self.rows, _HEAD))
        self.rows = itertools.chain(first, self.rows)
        return first


def note(text: str) -> None:
    """Say how a file was understood; the command line prints it as a note."""
    warnings.warn(text, SteerWarning, stacklevel=2)
