"""Rows of one JSON document, in the shapes that published contrast sets have."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from vectors.common.errors import InputError
from vectors.common.validation import quote
from vectors.data.files.splits import choose_split, is_split
from vectors.data.files.table import Row, Table, note

_SHAPES = (
    'give a list of texts, of objects such as {"text": "..."} or of pairs, or an object of lists such as '
    '{"positive": [...], "negative": [...]}'
)
_PANDAS_SPLIT = {"columns", "data"}


def document_table(name: str, document: Any, split: str | None) -> Table:
    """Return the rows of a document.

    Known are a list of texts, of objects, of pairs and of conversations; an object of lists (columns, which may be of
    unequal length); an object that holds one of these, such as `{"train": ...}` or `{"data": ...}`; one object, which
    is one row; and what pandas writes, also of a single column.

    Args:
        name: The quoted path.
        document: The parsed JSON.
        split: The key of the part to read, if there are several.

    Raises:
        InputError: Another shape, or several parts, none of which is `train`.
    """
    if isinstance(document, list):
        if split is not None:
            note(f"{name} is one list, which has no parts: --split (split=) has no effect on it")
        return _list_table(name, document)
    if not isinstance(document, dict):
        raise InputError(f"{name} holds {quote(document)}, which is neither a list nor an object: {_SHAPES}")
    if not document:
        return Table(name, iter(()))
    if split is not None:
        return document_table(name, document[choose_split(name, list(document), split)], None)
    if set(document) - {"index"} == _PANDAS_SPLIT and all(isinstance(row, list) for row in document["data"]):
        columns = [str(column) for column in document["columns"]]
        return _list_table(name, [dict(zip(columns, row, strict=False)) for row in document["data"]])
    if isinstance(document.get("text"), str):
        return Table(name, iter([(name, document)]))
    lists = {key: value for key, value in document.items() if isinstance(value, list)}
    parts = {key: value for key, value in lists.items() if any(isinstance(item, dict | list) for item in value)}
    if _are_parts(parts, lists):
        key = next(iter(parts)) if len(parts) == 1 else choose_split(name, list(parts), None)
        if len(parts) == 1 and document.keys() - {"schema"} != {key}:
            note(f"{name}: its {quote(key)} is read, and nothing else of it")
        return _list_table(name, parts[key])
    if lists:
        return _columns_table(name, lists)
    objects = {key: value for key, value in document.items() if isinstance(value, dict)}
    if objects:
        return _objects_table(name, document, objects)
    if len(document) > 1 and all(key.isdigit() and isinstance(text, str) for key, text in document.items()):
        return _list_table(name, list(document.values()))
    return Table(name, iter([(name, document)]))


def row_of(value: Any, where: str) -> Mapping[str, Any]:
    """Return a list item, or a line of a file, as a row.

    Raises:
        InputError: It is neither a text, an object, nor a list of texts or messages.
    """
    if isinstance(value, dict):
        return value
    if isinstance(value, str):
        return {"text": value}
    if isinstance(value, list) and value:
        if all(isinstance(item, dict) for item in value) and {"role", "from"} & set(value[0]):
            return {"messages": value}
        return {str(column): item for column, item in enumerate(value, 1)}
    raise InputError(f"{where} is {quote(value)}: {_SHAPES}")


def _list_table(name: str, items: Sequence[Any]) -> Table:
    plain = bool(items) and isinstance(items[0], str)
    return Table(name, _list_rows(name, items, plain), plain=plain)


def _list_rows(name: str, items: Sequence[Any], plain: bool) -> Iterator[Row]:
    for number, item in enumerate(items, 1):
        where = f"{name} item {number}"
        if isinstance(item, str) != plain:
            raise InputError(f"{where} is {quote(item)}, unlike the items before it: {_SHAPES}")
        yield where, row_of(item, where)


def _columns_table(name: str, columns: Mapping[str, Sequence[Any]]) -> Table:
    """Return the rows of lists that stand beside each other; the longer ones have rows of their own at the end."""
    gap = object()
    rows = (
        (f"{name} row {number}", {key: cell for key, cell in zip(columns, cells, strict=True) if cell is not gap})
        for number, cells in enumerate(itertools.zip_longest(*columns.values(), fillvalue=gap), 1)
    )
    return Table(name, rows, ragged=len({len(column) for column in columns.values()}) > 1)


def _are_parts(parts: Mapping[str, Sequence[Any]], lists: Mapping[str, Sequence[Any]]) -> bool:
    """Return whether lists of objects or lists are parts of the document to choose from, and not its columns.

    `{"train": [{...}], "test": [{...}]}` and `{"classes": [...], "data": [[...], ...]}` have parts;
    `{"chosen": [[...], ...], "rejected": [[...], ...]}` and `{"messages": [[...], ...], "label": [...]}` have columns.
    """
    if len(parts) == 1:
        (size,) = (len(part) for part in parts.values())
        return not any(len(other) == size for key, other in lists.items() if key not in parts)
    return any(is_split(key) for key in parts)


def _objects_table(name: str, document: Mapping[str, Any], objects: Mapping[str, Mapping[str, Any]]) -> Table:
    """Return the rows of an object of objects: columns or rows of pandas, rows by their ids, or parts."""
    first = next(iter(objects.values()))
    alike = len(objects) == len(document) and all(value.keys() == first.keys() for value in objects.values())
    if alike and first and all(key.isdigit() for key in first):
        return _columns_table(name, {column: list(cells.values()) for column, cells in objects.items()})
    rows_by_index = all(key.isdigit() for key in objects)
    if alike and (rows_by_index or len(objects) > 1) and not any(map(is_split, objects)):
        return _list_table(name, list(objects.values()))
    nested = [key for key, value in objects.items() if any(isinstance(inner, list | dict) for inner in value.values())]
    if nested:
        key = nested[0] if len(nested) == 1 else choose_split(name, nested, None)
        return document_table(name, objects[key], None)
    return Table(name, iter([(name, document)]))
