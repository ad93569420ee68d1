"""Conditions such as `topic=sea`: which rows have a label, as people write labels."""

import json
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from vectors.common.errors import InputError
from vectors.common.validation import list_names, quote
from vectors.data.columns import MISSING, cell_at
from vectors.data.files.table import Row, Table

_WHOLE = re.compile(r"([+-]?)0*([0-9]+?)(?:\.0*)?", re.ASCII)
_EMPTY = ("", '""', "''")


@dataclass(frozen=True)
class Condition:
    """A column and the value that a row must have there; of a list, one of its items."""

    key: str
    value: str

    def holds(self, row: Row, names: Sequence[str] = ()) -> bool:
        """Return whether a row meets the condition; `names` are what the numbers of the column stand for."""
        cell = cell_at(row[1], self.key)
        if self.value in _EMPTY:
            return cell is MISSING or cell is None or cell == [] or (isinstance(cell, str) and not cell.strip())
        spellings = {canonical(self.value), canonical(_unquoted(self.value))}
        if isinstance(cell, float) and any(_number(spelling) == cell for spelling in spellings):
            return True  # 0.50 is 0.5, but in text 1.10 is not 1.1
        return any(canonical(value) in spellings for value in spelled(cell, names, both=True))


def parse_condition(where: str, head: Sequence[Row]) -> Condition:
    """Return the condition that a text such as `topic=sea` describes; the value may be any text, and hold `=` too.

    Raises:
        InputError: There is no `=`, or nothing before it.

    >>> parse_condition("topic=sea", [])
    Condition(key='topic', value='sea')
    """
    parts = where.split("=")
    keys = {at: "=".join(parts[:at]).strip() for at in range(1, len(parts))}
    if not parts[0].strip() or not keys:
        raise InputError(f"where is {quote(where)}: give key=value, such as topic=sea")
    known = (at for at, key in keys.items() if any(cell_at(row, key) is not MISSING for _, row in head))
    at = next(known, 1)
    return Condition(keys[at], "=".join(parts[at:]).strip())


def no_such_key(table: Table, head: Sequence[Row], key: str, text: Sequence[str]) -> InputError:
    """Return the error for a key that no row has; it lists the others, but not those of the text."""
    keys = sorted({str(other) for _, row in head for other in row} - set(text))
    return InputError(f"no row of {table.name} has {quote(key)}: it has {list_names(keys) if keys else 'only texts'}")


def spelled(cell: object, names: Sequence[str] = (), *, both: bool = False) -> list[str]:
    """Return the values of a cell as text: text unchanged, the items of a list, anything else as JSON.

    Args:
        cell: The cell.
        names: What its numbers stand for: the name is then the value.
        both: Return the numbers beside the names.
    """
    if cell is None or cell is MISSING:
        return []
    if isinstance(cell, list):
        return [text for item in cell if not isinstance(item, list) for text in spelled(item, names, both=both)]
    if isinstance(cell, str):
        return [cell]
    number = json.dumps(cell, default=str)
    if isinstance(cell, int) and not isinstance(cell, bool) and 0 <= cell < len(names):
        return [names[cell], number] if both else [names[cell]]
    return [number]


def canonical(value: str) -> str:
    """Return the same text for values that people mean to be equal: `1`, `1.0` and `01`; `true` and `True`.

    >>> canonical("1.0") == canonical("1"), canonical("True"), canonical("v1.10")
    (True, 'true', 'v1.10')
    """
    text = unicodedata.normalize("NFC", value.strip())
    if text.lower() in ("true", "false"):
        return text.lower()
    if found := _WHOLE.fullmatch(text):
        digits = found[2].lstrip("0") or "0"
        return ("-" if found[1] == "-" and digits != "0" else "") + digits
    return text


def listed(values: Iterable[str]) -> str:
    """Return the values of a column for a message, without repetitions; the first of many."""
    return list_names(sorted(set(values)))


def _unquoted(value: str) -> str:
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'" else value


def _number(value: str) -> float | None:
    try:
        return float(value)
    except ValueError:
        return None
