"""What the command line prints: results on stdout, notes on stderr, safe for terminals and pipes."""

import json
import os
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from vectors.common.errors import OutputError
from vectors.common.validation import escape_invisible

if TYPE_CHECKING:
    from steer.runs.sample_set import Sample

WIDTH = 80


class ClosedPipeError(Exception):
    """The reader of stdout has closed the pipe."""


def width() -> int:
    """Return the columns to print in: 80, or fewer on a narrow terminal."""
    return max(20, min(WIDTH, shutil.get_terminal_size((WIDTH, 24)).columns))


def is_terminal(stream: TextIO | None) -> bool:
    """Return whether a stream is open and goes to a terminal."""
    try:
        return stream is not None and stream.isatty()
    except ValueError:  # closed
        return False


def dim(text: str) -> str:
    """Return a text in faint type where stdout is a terminal with colours; never put a meaning into that alone."""
    return _styled(text, 2)


def bold(text: str) -> str:
    """Return a text in bold type where stdout is a terminal with colours."""
    return _styled(text, 1)


def _styled(text: str, code: int) -> str:
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not is_terminal(sys.stdout)
    return text if plain else f"\x1b[{code}m{text}\x1b[0m"


def emit(text: str) -> None:
    """Write a text and a line end to stdout and flush it.

    Raises:
        ClosedPipeError: the reader of stdout has closed the pipe.
        OutputError: stdout is closed, or its disk is full.
    """
    if sys.stdout is None:
        raise OutputError("stdout is closed: leave it open to see the results")
    try:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
    except BrokenPipeError as error:
        raise ClosedPipeError from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is closed"
        raise OutputError(f"cannot write to stdout ({reason}): free some space, or send it elsewhere") from error


def emit_json(line: str) -> None:
    """Write one line of JSON to stdout, in ASCII if the encoding of stdout lacks its characters."""
    emit(line if can_encode(line) else json.dumps(json.loads(line)))


def can_encode(text: str) -> bool:
    """Return whether the encoding of stdout has these characters."""
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def note(text: str) -> None:
    """Write one line to stderr; it is lost if stderr is closed."""
    try:
        if sys.stderr is not None:
            sys.stderr.write(f"{escape_invisible(text)}\n")
            sys.stderr.flush()
    except (OSError, ValueError):
        pass


def entry(sample: "Sample") -> str:
    """Format one sample: a header with index, pressure and log-probabilities, then its text wrapped at words."""
    columns, rule = width(), " ── " if can_encode("─") else " -- "
    parts = [str(sample.index)]
    if sample.pressure is None:
        parts.append(f"log p {sample.logprob_steered:.1f} steered")
    else:
        parts.append(f"pressure {sample.pressure['mean']:.2f} nats/token (p95 {sample.pressure['p95']:.2f})")
        parts.append(f"log p {sample.logprob_base:.1f} base / {sample.logprob_steered:.1f} steered")
    if sample.finish == "length":
        parts.append(f"cut at {len(sample.tokens)} tokens")
    elif sample.finish == "not-finite":
        parts.append(f"stopped at {len(sample.tokens)} tokens: logits not finite")
    lines = [parts[0]]
    for part in parts[1:]:
        if len(lines[-1]) + len(rule) + len(part) <= columns:
            lines[-1] += rule + part
        else:
            lines.append(" " * len(parts[0]) + rule + part)
    return "\n".join(dim(line) for line in lines) + "\n" + wrap(sample.prompt + sample.text, columns) + "\n"


def wrap(text: str, columns: int) -> str:
    """Wrap lines at blanks, keep line breaks, and escape control characters."""
    from rich.cells import cell_len, chop_cells  # width of a character in columns

    result: list[str] = []
    for line in text.replace("\r\n", "\n").split("\n"):
        current = ""
        for word in re.findall(r"\s*\S+", escape_invisible(line.expandtabs(4)).rstrip(" ")):
            if current and cell_len(current) + cell_len(word) > columns:
                result.append(current)
                current, word = "", word.lstrip()
            *full, current = chop_cells(current + word, columns) or [current + word]
            result += full
        result.append(current)
    return "\n".join(result).strip("\n")


def table(rows: Sequence[Sequence[str]], *, right: Sequence[int] = (), indent: int = 2, whole: bool = False) -> str:
    """Align rows of cells in columns, two blanks apart; unless `whole`, the last column is cut to fit the width.

    Args:
        rows: the same number of cells each.
        right: indices of the columns to align on the right.
        indent: blanks before each line.
        whole: never cut a cell.
    """
    from rich.cells import cell_len, set_cell_size

    cells = [[escape_invisible(cell) for cell in row] for row in rows]
    wide = [max(cell_len(row[column]) for row in cells) for column in range(len(cells[0]))]
    if not whole:
        wide = [*(min(size, width() // 2) for size in wide[:-1]), wide[-1]]
    room = width() - indent - sum(wide[:-1]) - 2 * (len(wide) - 1)
    lines = []
    for row in cells:
        padded = [
            " " * (size - cell_len(cell)) + cell if column in right else set_cell_size(cell, size)
            for column, (cell, size) in enumerate(zip(row, wide, strict=True))
        ]
        if not whole and cell_len(padded[-1].rstrip()) > max(room, 10):
            padded[-1] = set_cell_size(padded[-1], max(room, 10) - 1) + ("…" if can_encode("…") else "~")
        lines.append(" " * indent + "  ".join(padded).rstrip())
    return "\n".join(lines)


def record(fields: Mapping[str, str]) -> str:
    """Format named values, one a line; nothing is cut, so that paths and hashes can be copied."""
    size = max(len(key) for key in fields)
    return "\n".join(f"  {key:<{size}}  {escape_invisible(value)}" for key, value in fields.items())


def figure(value: Any) -> str:
    """Format a float to three digits, None as "-", and anything else by `str`."""
    return f"{value:.3g}" if isinstance(value, float) else "-" if value is None else str(value)
