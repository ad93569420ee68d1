"""Read texts and their labels from files of lines, JSON objects or CSV rows."""

import csv
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vectors.common.errors import InputError
from vectors.common.files import read_bytes
from vectors.common.validation import check_number, quote
from vectors.data.contrast import ContrastSet, check_encodable

FORMATS = (".txt", ".jsonl", ".csv")


def read_texts(path: str | Path, *, format: str | None = None, field: str = "text") -> tuple[str, ...]:
    """Read the texts of a file; blank texts are skipped.

    Args:
        path: A `.txt` file with one text per line, a `.jsonl` file with one object per line, a `.csv` file with a
            header row, or `-` for stdin.
        format: `txt`, `jsonl` or `csv`, by default the file's suffix, and `txt` for stdin.
        field: The key or column of the text.

    Raises:
        InputError: The file cannot be read, is not UTF-8, has an invalid line (the message gives its number), or holds
            no text.
    """
    return _nonempty([text for _, text in _read(path, format, field)], path)


def read_rows(
    path: str | Path, *, format: str | None = None, field: str = "text"
) -> tuple[list[dict[str, Any]], list[str]]:
    """Read a `.jsonl` or `.csv` file and return its rows without the texts, and the texts.

    Raises:
        InputError: As `read_texts`; also if the file holds plain lines, which have no labels.
    """
    if _kind(path, format) == "txt":
        raise InputError(f"{quote(path)} is read as lines, which have no labels: give .jsonl or .csv")
    rows = _read(path, format, field)
    texts = _nonempty([text for _, text in rows], path)
    return [{key: value for key, value in row.items() if key != field} for row, _ in rows], list(texts)


def read_contrast(
    path: str | Path, where: str, *, format: str | None = None, field: str = "text", weight: str | None = None
) -> ContrastSet:
    """Read a `.jsonl` or `.csv` file in which the rows that match `where` are positive, the others background.

    Args:
        path: The file, as in `read_texts`.
        format: The format, as in `read_texts`.
        field: The key or column of the text.
        where: `key=value`, such as `topic=sea`. A list matches if one of its items does.
        weight: Key of the texts' weights, if any; a row without a value has weight 1.

    Raises:
        InputError: As `read_texts`; also if `where` is not `key=value`, no row has the key, all rows or none match, or
            a weight is not a number of at least 0.
    """
    key, equals, value = where.partition("=")
    key, value = key.strip(), value.strip()
    if not (key and equals and value):
        raise InputError(f"where is {quote(where)}: give key=value, such as topic=sea")
    if _kind(path, format) == "txt":
        raise InputError(
            f"{quote(path)} is read as lines, which have no {quote(key)}: give .jsonl or .csv, or two .txt files"
        )
    rows = _read(path, format, field)
    _nonempty([text for _, text in rows], path)
    _check_key(rows, key, field, path)
    matches = [value in _values(row.get(key)) for row, _ in rows]
    if all(matches) or not any(matches):
        values = sorted({other for row, _ in rows for other in _values(row.get(key))})
        which = "every" if all(matches) else "no"
        raise InputError(
            f"{which} row of {quote(path)} has {quote(where)}: "
            f"its values are {quote(', '.join(values))}, choose one of several"
        )
    texts = [text for _, text in rows]
    return ContrastSet(
        positive=tuple(text for text, match in zip(texts, matches, strict=True) if match),
        background=tuple(text for text, match in zip(texts, matches, strict=True) if not match),
        weights={} if weight is None else _weights(rows, weight, field, path),
    )


def read_pairs(
    path: str | Path, *, format: str | None = None, positive: str = "positive", background: str = "background"
) -> ContrastSet:
    """Read a `.jsonl` or `.csv` file whose rows hold two versions of a text, with a concept and without it.

    Raises:
        InputError: As `read_texts`; also if a row lacks one of the two.
    """
    if _kind(path, format) == "txt":
        raise InputError(f"{quote(path)} is read as lines, which hold one text each: give pairs as .jsonl or .csv")
    rows = _read(path, format, positive)
    _nonempty([text for _, text in rows], path)
    others = [_cell(row, background, f"row {index} of {quote(path)}") for index, (row, _) in enumerate(rows, 1)]
    return ContrastSet([text for _, text in rows], [text.strip() for text in others], paired=True)


def read_labels(
    path: str | Path, key: str, *, format: str | None = None, field: str = "text"
) -> tuple[list[str], list[list[str]]]:
    """Read the texts of a `.jsonl` or `.csv` file, and the values that each has under a key.

    Raises:
        InputError: As `read_texts`; also if no row has the key.
    """
    if _kind(path, format) == "txt":
        raise InputError(f"{quote(path)} is read as lines, which have no {quote(key)}: give .jsonl or .csv")
    rows = _read(path, format, field)
    _nonempty([text for _, text in rows], path)
    _check_key(rows, key, field, path)
    return [text for _, text in rows], [_values(row.get(key)) for row, _ in rows]


def _check_key(rows: Sequence[tuple[dict[str, Any], str]], key: str, field: str, path: str | Path) -> None:
    if not any(key in row for row, _ in rows):
        keys = sorted({other for row, _ in rows for other in row} - {field})
        raise InputError(
            f"no row of {quote(path)} has {quote(key)}: it has {quote(', '.join(keys)) if keys else 'only texts'}"
        )


def _weights(rows: Sequence[tuple[dict[str, Any], str]], weight: str, field: str, path: str | Path) -> dict[str, float]:
    """Return the weight of each text; copies of a text get the mean of their weights."""
    _check_key(rows, weight, field, path)
    weights: dict[str, list[float]] = {}
    for row, text in rows:
        cell = row.get(weight)
        try:  # the cells of a CSV file are text
            value = check_number(float(cell) if isinstance(cell, str) and cell.strip() else cell, "weight")
        except (ValueError, InputError) as error:
            if cell not in (None, ""):
                raise InputError(
                    f"{quote(path)} has {quote(cell)} as {quote(weight)} of {quote(text)}: give a number of 0 or more"
                ) from error
            value = 1.0
        weights.setdefault(text, []).append(value)
    return {text: sum(values) / len(values) for text, values in weights.items()}


def _values(value: object) -> list[str]:
    """Return the values of a cell as strings: text unchanged, the items of a list, anything else as JSON."""
    if value is None:
        return []
    if isinstance(value, list):
        return [text for item in value for text in ([] if isinstance(item, list) else _values(item))]
    return [value if isinstance(value, str) else json.dumps(value)]


def _nonempty(texts: Sequence[str], path: str | Path) -> tuple[str, ...]:
    if not texts:
        raise InputError(f"{quote(path)} holds no text: give at least one that is not blank")
    return tuple(texts)


def _kind(path: str | Path, format: str | None) -> str:
    if format is None:
        format = "txt" if str(path) == "-" else Path(path).suffix
    kind = format.removeprefix(".").lower()
    if f".{kind}" not in FORMATS:
        raise InputError(
            f"{quote(path)} is {quote(kind) if kind else 'of no known format'}: give one of {', '.join(FORMATS)}"
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
        raise InputError(f"{quote(path)} line {line} is not UTF-8: save the file as UTF-8") from error
    if "\0" in content:
        line = content.count("\n", 0, content.index("\0")) + 1
        raise InputError(f"{quote(path)} line {line} holds a NUL: give a text file")
    if kind == "csv":
        rows = _csv_rows(content, field, path)
    else:
        # not str.splitlines, which also splits at U+2028, form feeds and others inside a text
        lines = content.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        numbered = [(index, line) for index, line in enumerate(lines, 1) if line.strip()]
        rows = (
            [({}, line) for _, line in numbered]
            if kind == "txt"
            else [_json_row(line, n, field, path) for n, line in numbered]
        )
    return [(row, text.strip()) for row, text in rows if text.strip()]


def _json_row(line: str, index: int, field: str, path: str | Path) -> tuple[dict[str, Any], str]:
    where = f"{quote(path)} line {index}"
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f'{where} is not JSON ({quote(error)}): give an object a line, such as {{"{field}": "..."}}'
        ) from error
    if not isinstance(row, dict):
        raise InputError(f'{where} is not a JSON object: give an object a line, such as {{"{field}": "..."}}')
    return row, _cell(row, field, where)


def _csv_rows(content: str, field: str, path: str | Path) -> list[tuple[dict[str, Any], str]]:
    reader = csv.DictReader(io.StringIO(content, newline=""), strict=True)
    rows = []
    try:
        for row in reader:
            where = f"{quote(path)} line {reader.line_num}"
            if None in row or None in row.values():
                raise InputError(f"{where} does not have as many cells as the header: quote texts that hold commas")
            rows.append((row, _cell(row, field, where)))
    except csv.Error as error:
        raise InputError(
            f"{quote(path)} line {reader.line_num} is not CSV ({error}): fix it, or give .jsonl"
        ) from error
    return rows


def _cell(row: dict[str, Any], field: str, where: str) -> str:
    if field not in row:
        raise InputError(
            f"{where} has no {quote(field)}: it has {quote(', '.join(map(str, row)))}, name the one that holds the text"
        )
    text = row[field]
    if not isinstance(text, str):
        raise InputError(f"{where} has {quote(text)} as {quote(field)}: expected text")
    check_encodable(text, where)
    return text
