"""Rows of files that hold JSON: one document, or one value a line."""

import itertools
import json
from collections.abc import Iterator
from typing import Any

from vectors.common.errors import InputError
from vectors.common.validation import quote
from vectors.data.files.json_document import document_table, row_of
from vectors.data.files.table import Row, Table, note

Line = tuple[int, str]

_HINT = 'give an object a line, such as {"text": "..."}, or one list'


def json_table(name: str, lines: Iterator[Line], *, split: str | None, by_line: bool) -> Table:
    """Return the rows of a file of JSON: of its lines if the first is a value by itself, otherwise of the whole.

    Args:
        name: The quoted path.
        lines: The numbered lines.
        split: Which part of a document to read.
        by_line: Whether a file of a single object holds one row; otherwise the object is looked into.

    Raises:
        InputError: The file is not JSON, or has no shape that is known.
    """
    full = ((number, line) for number, line in lines if line.strip())
    head = list(itertools.islice(full, 2))
    if not head:
        return Table(name, iter(()), plain=True)
    (first, line), alone = head[0], len(head) == 1
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        if by_line and not alone and line.lstrip()[:1] not in "[{":
            raise _not_json(name, first, error) from error
        text = "".join(part for _, part in itertools.chain(head, full))
        return document_table(name, _document(name, text, first), split)
    if alone and (isinstance(value, list) or not by_line):
        return document_table(name, value, split)
    if split is not None:
        note(f"{name} has one value a line and no parts: --split (split=) has no effect on it")
    plain = isinstance(value, str)
    return Table(name, _rows(name, itertools.chain(head, full), plain), plain=plain)


def holds_json(head: str, *, whole: bool) -> bool:
    """Return whether a text file is JSON: an object or list a line, or one document.

    A line of text may begin with a bracket as well, so the beginning must be JSON as far as it goes.

    Args:
        head: The beginning of the file.
        whole: Whether that is all of it.
    """
    text = head.strip()
    if text[:1] not in ("[", "{"):
        return False
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if isinstance(_parsed(lines[0]), dict):
        return True
    if lines[0] in ("[", "{") and len(lines) > 1 and lines[1][0] in '"[{':
        return True
    if all(_is_list(_parsed(line)) for line in lines[:2]):
        return True
    try:
        value = json.loads(text)
    except RecursionError:
        return False
    except json.JSONDecodeError as error:
        cut = error.msg.startswith("Unterminated string") or error.pos > len(text) - 10
        return not whole and cut
    return isinstance(value, dict) or _is_list(value)


def _is_list(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, str | dict | list) for item in value)


def _parsed(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _rows(name: str, lines: Iterator[Line], plain: bool) -> Iterator[Row]:
    for number, line in lines:
        where = f"{name} line {number}"
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise _not_json(name, number, error) from error
        if isinstance(value, str) != plain:
            raise InputError(f"{where} is {quote(line.strip())}, unlike the lines before it: {_HINT}")
        yield where, row_of(value, where)


def _document(name: str, text: str, first: int) -> Any:
    try:
        return json.loads(text)
    except RecursionError as error:
        raise _not_json(name, first, error) from error
    except ValueError as error:
        raise _not_json(name, first + getattr(error, "lineno", 1) - 1, error) from error


def _not_json(name: str, number: int, error: Exception) -> InputError:
    reason, hint = "too deeply nested", _HINT
    if isinstance(error, json.JSONDecodeError):  # whose own line counts from where reading began
        reason = f"{quote(error.msg)}, character {error.colno}"
        if error.msg == "Extra data":
            hint = 'give an object a line (jq -c . FILE writes that), such as {"text": "..."}, or one list'
    elif not isinstance(error, RecursionError):
        reason = quote(error)
    return InputError(f"{name} line {number} is not JSON ({reason}): {hint}, or pass --format (format=) if it is text")
