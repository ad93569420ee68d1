"""Rows of csv and tsv files."""

import csv
import io
import itertools
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from vectors.common.errors import InputError
from vectors.common.validation import quote
from vectors.data.files.table import Row, Table, note

_OTHER_DELIMITERS = ";\t|"
_OPTION = {"\t": "tab"}  # how a delimiter is written as an option
_SAMPLE = 50  # lines that are looked at to find the delimiter

_STATED = re.compile(r'"?sep=([^"])"?\r?\n?')  # a line with which Excel says its delimiter

Line = tuple[int, str]


def delimited_table(
    name: str, lines: Iterator[Line], *, tabs: bool, delimiter: str | None = None, header: bool = True
) -> Table:
    """Return the rows of a csv or tsv file, whose cells are all text.

    Args:
        name: The quoted path.
        lines: The numbered lines, with their ends.
        tabs: Whether the file is a tsv file: its delimiter is a tab, and quotes may be plain characters.
        delimiter: The delimiter; by default a tab or a comma, or another one that alone fits the first lines.
        header: Whether the first row names the columns; otherwise they are called 1, 2, ….

    Raises:
        InputError: A row is not CSV, has too few or too many cells, or two columns have the same name.
    """
    head = list(itertools.islice(lines, _SAMPLE))
    if head and (stated := _STATED.fullmatch(head[0][1])):
        head, delimiter = head[1:], delimiter or stated[1]
    if delimiter is None:
        delimiter = "\t" if tabs else _delimiter(name, [line for _, line in head])
    lines, quoting = itertools.chain(head, lines), csv.QUOTE_MINIMAL
    if delimiter == "\t":
        kept = list(lines)  # whether quotes are quotes shows only at the end
        quoting = _quoting_of_tabs(name, kept)
        lines = iter(kept)
    return Table(name, _rows(name, lines, delimiter, quoting, header), typed=False, headed=header)


def _rows(name: str, lines: Iterator[Line], delimiter: str, quoting: Any, header: bool) -> Iterator[Row]:
    columns: list[str] | None = None
    for number, cells in _records(name, lines, delimiter, quoting):
        if columns is None:
            columns = [cell.strip() for cell in cells] if header else [str(at) for at in range(1, len(cells) + 1)]
            if twice := {column for column, times in Counter(columns).items() if times > 1}:
                raise InputError(
                    f"{name} has two columns called {quote(min(twice))}: rename one, or pass --no-header "
                    "(header=False) if the first row is no header"
                )
            if header:
                continue
        if len(cells) != len(columns):
            raise InputError(
                f"{name} line {number} does not have as many cells as the {'header' if header else 'first row'} "
                f"({len(cells)}, not {len(columns)}): quote texts that hold {_spoken(delimiter)}, or name another "
                "--delimiter (delimiter=)"
            )
        yield f"{name} line {number}", dict(zip(columns, cells, strict=True))


def _records(name: str, lines: Iterator[Line], delimiter: str, quoting: Any) -> Iterator[tuple[int, list[str]]]:
    """Yield the cells of each row that is not blank, and the number of its last line."""
    last = 0

    def texts() -> Iterator[str]:
        nonlocal last
        for number, line in lines:
            last = number
            yield line

    with _long_cells():
        reader = csv.reader(texts(), delimiter=delimiter, quoting=quoting, strict=True)
        try:
            for cells in reader:
                if cells:
                    yield last, cells
        except csv.Error as error:
            raise InputError(
                f"{name} line {last} is not CSV ({error}): double the quotes inside quoted texts, or give jsonl"
            ) from error


@contextmanager
def _long_cells() -> Iterator[None]:
    """Let a cell hold more than the 131072 characters that the csv module accepts by default."""
    before = csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _delimiter(name: str, sample: Sequence[str]) -> str:
    """Return the comma, unless it does not divide the first lines evenly and exactly one other delimiter does."""
    if _width(sample, ",") > 1:
        return ","
    fitting = [delimiter for delimiter in _OTHER_DELIMITERS if _width(sample, delimiter) > 1]
    if len(fitting) != 1:
        _check_one_column(name, sample)
        return ","
    note(f"{name} is read with {_spoken(fitting[0])} between its cells")
    return fitting[0]


def _check_one_column(name: str, sample: Sequence[str]) -> None:
    """Check that a file with one cell a row is not one whose cells another character divides unevenly.

    Raises:
        InputError: the header and all first rows hold such a character.
    """
    rows = [line for line in sample if line.strip()]
    if len(rows) < 2 or _width(sample, ",") != 1:
        return
    for delimiter in _OTHER_DELIMITERS:
        if all(delimiter in row for row in rows):
            raise InputError(
                f"{name} has no commas, and its rows hold unequal numbers of {_spoken(delimiter)}: say what divides "
                f"its cells by --delimiter {_OPTION.get(delimiter, repr(delimiter))} (delimiter=)"
            )


def _width(sample: Sequence[str], delimiter: str) -> int:
    """Return the number of cells of each row of the first lines; 0 if it varies."""
    with _long_cells():
        try:
            # the last row may be cut in the middle of a quoted text
            rows = [row for row in csv.reader(io.StringIO("".join(sample), newline=""), delimiter=delimiter) if row]
        except csv.Error:
            return 0
    rows = rows if len(sample) < _SAMPLE or len(rows) < 2 else rows[:-1]
    widths = {len(row) for row in rows}
    return widths.pop() if len(widths) == 1 else 0


def _quoting_of_tabs(name: str, lines: Sequence[Line]) -> Any:
    r"""Return whether quotes in a tsv file are quotes: a tool such as `paste` writes them as plain characters.

    They are plain if reading them as quotes fails, or merges lines that have the same number of tabs anyway.
    """
    if not any('"' in line for _, line in lines):
        return csv.QUOTE_NONE
    full = [line for _, line in lines if line.strip("\r\n")]
    even = len({line.count("\t") for line in full}) == 1
    try:
        rows = sum(1 for _ in _records(name, iter(lines), "\t", csv.QUOTE_MINIMAL))
    except InputError:
        if not even:
            raise
        rows = -1
    if rows == len(full) or not even:
        return csv.QUOTE_MINIMAL
    note(f"{name}: quotation marks are read as part of the texts")
    return csv.QUOTE_NONE


def _spoken(delimiter: str) -> str:
    return {"\t": "tabs", ",": "commas"}.get(delimiter, quote(delimiter))
