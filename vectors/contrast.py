"""Contrast sets: texts that have a concept beside texts of the same world that need not, and their files."""

import csv
import hashlib
import io
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from vectors.checks import number, shown, whole
from vectors.errors import InputError
from vectors.files import read_bytes

FORMATS = (".txt", ".jsonl", ".csv")


@dataclass(frozen=True)
class ContrastSet:
    """Texts that have the concept (`positive`) and texts of the same world that need not (`background`).

    Raises:
        InputError: when a side is empty or no list of texts, when a text is blank, or when both sides hold the same
            texts.

    >>> storms = ContrastSet(positive=("thunder rolls", "hail again"), background=("a calm day", "mild and dry"))
    >>> fit, held_out = storms.split(held_out=0.5)
    >>> len(fit.positive), len(held_out.background)
    (1, 1)
    """

    positive: Sequence[str]
    background: Sequence[str]

    def __post_init__(self) -> None:
        """Check and normalise both sides."""
        for side in ("positive", "background"):
            object.__setattr__(self, side, _texts(getattr(self, side), side))
        if set(self.positive) == set(self.background):
            raise InputError(
                "positive and background hold the same texts: give background texts without the concept as well"
            )

    @cached_property
    def hash(self) -> str:
        """SHA-256 of both sides in hexadecimal, whatever the order of the texts."""
        content = hashlib.sha256()
        for side in (self.positive, self.background):
            content.update(len(side).to_bytes(8, "little"))
            for text in sorted(side):
                data = text.encode()
                content.update(len(data).to_bytes(8, "little") + data)
        return content.hexdigest()

    def split(self, *, held_out: float = 0.25, seed: int = 0) -> tuple["ContrastSet", "ContrastSet"]:
        """Return `(fit, held_out)`, about the asked share of each side held out and neither part of it empty.

        Whether a text is held out depends on itself and the seed alone (see `is_held_out`), but that each part gets at
        least one; copies of a text stay together.

        Raises:
            InputError: when the share is not between 0 and 1, or a side has fewer than two different texts.
        """
        share, seed = check_share(held_out), whole(seed, "seed")
        kept, out = {}, {}
        for side in ("positive", "background"):
            texts: tuple[str, ...] = getattr(self, side)
            ranked = sorted(set(texts), key=lambda text: shuffled(text, seed))
            if len(ranked) < 2:
                raise InputError(f"{side} has {len(ranked)} different text: a split needs at least 2 on each side")
            below = sum(is_held_out(text, share=share, seed=seed) for text in ranked)
            chosen = set(ranked[: min(max(below, 1), len(ranked) - 1)])
            kept[side] = tuple(text for text in texts if text not in chosen)
            out[side] = tuple(text for text in texts if text in chosen)
        return ContrastSet(**kept), ContrastSet(**out)


def is_held_out(text: str, *, share: float, seed: int) -> bool:
    """Whether a split by this share and seed holds a text out, whatever texts there are besides it.

    >>> sum(is_held_out(str(text), share=0.25, seed=0) for text in range(1000))
    250
    """
    return int.from_bytes(shuffled(text, seed)[:8], "big") < share * 2**64


def check_share(held_out: object) -> float:
    """Return the share of texts to hold out.

    Raises:
        InputError: what is no number between 0 and 1.
    """
    share = number(held_out, "held_out")
    if not 0.0 < share < 1.0:
        raise InputError(f"held_out is {share:g}: give a share between 0 and 1, such as 0.25")
    return share


def shuffled(text: str, seed: int) -> bytes:
    """Return a key that sorts texts in an order that hangs on nothing but each text and the seed."""
    return hashlib.sha256(f"{seed}:{text}".encode()).digest()


def _texts(value: object, side: str) -> tuple[str, ...]:
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        raise InputError(f"{side} is {shown(value)}: give a list of texts")
    texts = tuple(value)
    for index, text in enumerate(texts):
        if not isinstance(text, str) or not text.strip():
            raise InputError(f"text {index} of {side} is {shown(text)}: give texts that are not blank")
        _encodable(text, f"text {index} of {side}")
    if not texts:
        raise InputError(
            f"{side} is empty: a contrast set needs texts with the concept and background texts without it"
        )
    return texts


def _encodable(text: str, where: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"{where} holds half of a surrogate pair at character {error.start + 1}: repair or drop it"
        ) from error


def read_texts(path: str | Path, *, format: str | None = None, field: str = "text") -> tuple[str, ...]:
    """Read texts: `.txt` holds one a line, `.jsonl` an object a line and `.csv` a header row, with the text in `field`.

    Blank texts are skipped. `-` reads stdin, as lines unless `format` (`txt`, `jsonl` or `csv`) says otherwise.

    Raises:
        InputError: when the file cannot be read, is not UTF-8, has a bad line (its number is named), or holds no text.
    """
    return _nonempty([text for _, text in _read(path, format, field)], path)


def read_rows(
    path: str | Path, *, format: str | None = None, field: str = "text"
) -> tuple[list[dict[str, Any]], list[str]]:
    """Read the rows of a `.jsonl` or `.csv` file, each without its text, and the texts.

    Raises:
        InputError: as `read_texts`, and for lines, which have no labels.
    """
    if _kind(path, format) == "txt":
        raise InputError(f"{shown(path)} is read as lines, which have no labels: give .jsonl or .csv")
    rows = _read(path, format, field)
    texts = _nonempty([text for _, text in rows], path)
    return [{key: value for key, value in row.items() if key != field} for row, _ in rows], list(texts)


def read_contrast(path: str | Path, where: str, *, format: str | None = None, field: str = "text") -> ContrastSet:
    """Read one `.jsonl` or `.csv` file: rows that match `where` (`topic=sea`) are positive, the rest background.

    A row whose value is a list matches when an item does; a row without the key is background.

    Raises:
        InputError: as `read_texts`, and when `where` is not `key=value`, no row has the key, or a side stays empty.
    """
    key, equals, value = where.partition("=")
    key, value = key.strip(), value.strip()
    if not (key and equals and value):
        raise InputError(f"where is {shown(where)}: give key=value, such as topic=sea")
    if _kind(path, format) == "txt":
        raise InputError(
            f"{shown(path)} is read as lines, which have no {shown(key)}: give .jsonl or .csv, or two .txt files"
        )
    rows = _read(path, format, field)
    _nonempty([text for _, text in rows], path)
    if not any(key in row for row, _ in rows):
        keys = sorted({other for row, _ in rows for other in row} - {field})
        raise InputError(
            f"no row of {shown(path)} has {shown(key)}: it has {shown(', '.join(keys)) if keys else 'only texts'}"
        )
    matches = [value in _values(row.get(key)) for row, _ in rows]
    if all(matches) or not any(matches):
        seen = sorted({other for row, _ in rows for other in _values(row.get(key))})
        side = "every" if all(matches) else "no"
        raise InputError(
            f"{side} row of {shown(path)} has {shown(where)}: "
            f"its values are {shown(', '.join(seen))}, choose one of several"
        )
    texts = [text for _, text in rows]
    return ContrastSet(
        positive=tuple(text for text, match in zip(texts, matches, strict=True) if match),
        background=tuple(text for text, match in zip(texts, matches, strict=True) if not match),
    )


def _values(value: object) -> list[str]:
    """Return what a cell may be matched against: text as it is, a list item by item, all else as JSON writes it."""
    if value is None:
        return []
    if isinstance(value, list):
        return [text for item in value for text in ([] if isinstance(item, list) else _values(item))]
    return [value if isinstance(value, str) else json.dumps(value)]


def _nonempty(texts: Sequence[str], path: str | Path) -> tuple[str, ...]:
    if not texts:
        raise InputError(f"{shown(path)} holds no text: give at least one that is not blank")
    return tuple(texts)


def _kind(path: str | Path, format: str | None) -> str:
    if format is None:
        format = "txt" if str(path) == "-" else Path(path).suffix
    kind = format.removeprefix(".").lower()
    if f".{kind}" not in FORMATS:
        raise InputError(
            f"{shown(path)} is {shown(kind) if kind else 'of no known format'}: give one of {', '.join(FORMATS)}"
        )
    return kind


def _read(path: str | Path, format: str | None, field: str) -> list[tuple[dict[str, Any], str]]:
    kind = _kind(path, format)
    if str(path) == "-" and sys.stdin is None:
        raise InputError("stdin is closed: pipe the texts in, or name a file in place of -")
    data = sys.stdin.buffer.read() if str(path) == "-" else read_bytes(path, "a text file")
    try:
        content = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(f"{shown(path)} line {line} is not UTF-8: save the file as UTF-8") from error
    if "\0" in content:
        line = content.count("\n", 0, content.index("\0")) + 1
        raise InputError(f"{shown(path)} line {line} holds a NUL: give a text file")
    if kind == "csv":
        rows = _csv_rows(content, field, path)
    else:
        # only real line ends: str.splitlines would also cut at U+2028, form feeds and the like inside a text
        lines = content.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        numbered = [(index, line) for index, line in enumerate(lines, 1) if line.strip()]
        rows = (
            [({}, line) for _, line in numbered]
            if kind == "txt"
            else [_json_row(line, n, field, path) for n, line in numbered]
        )
    return [(row, text.strip()) for row, text in rows if text.strip()]


def _json_row(line: str, index: int, field: str, path: str | Path) -> tuple[dict[str, Any], str]:
    where = f"{shown(path)} line {index}"
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f'{where} is not JSON ({shown(error)}): give an object a line, such as {{"{field}": "..."}}'
        ) from error
    if not isinstance(row, dict):
        raise InputError(f'{where} is no JSON object: give an object a line, such as {{"{field}": "..."}}')
    return row, _cell(row, field, where)


def _csv_rows(content: str, field: str, path: str | Path) -> list[tuple[dict[str, Any], str]]:
    reader = csv.DictReader(io.StringIO(content, newline=""), strict=True)
    rows = []
    try:
        for row in reader:
            where = f"{shown(path)} line {reader.line_num}"
            if None in row or None in row.values():
                raise InputError(f"{where} has not as many cells as the header: quote texts that hold commas")
            rows.append((row, _cell(row, field, where)))
    except csv.Error as error:
        raise InputError(
            f"{shown(path)} line {reader.line_num} is not CSV ({error}): mend it, or give .jsonl"
        ) from error
    return rows


def _cell(row: dict[str, Any], field: str, where: str) -> str:
    if field not in row:
        raise InputError(
            f"{where} has no {shown(field)}: it has {shown(', '.join(map(str, row)))}, name the one that holds the text"
        )
    text = row[field]
    if not isinstance(text, str):
        raise InputError(f"{where} has {shown(text)} as {shown(field)}: expected text")
    _encodable(text, where)
    return text
