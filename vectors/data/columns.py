"""Which columns of a table hold the texts, and the text that a row has there."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vectors.common.errors import InputError
from vectors.common.validation import list_names, quote
from vectors.data.chat import is_conversation, messages_of
from vectors.data.contrast import check_encodable
from vectors.data.escapes import process_escapes
from vectors.data.files.table import Row, Table, note
from vectors.data.reading import Reading

CONVERSATIONS = ("messages", "conversations", "conversation")
"""Columns that hold the messages of a conversation."""

MISSING = object()
"""What a row has in a column that it lacks."""


@dataclass(frozen=True)
class Column:
    """One column of texts, or several whose texts are put together.

    Attributes:
        parts: The names; dots lead into objects.
        option: The options that name it, for messages.
        reading: Whether texts have escapes, and what turns messages into text.
    """

    parts: tuple[str, ...]
    option: str
    reading: Reading

    @property
    def name(self) -> str:
        """The names, as an option has them."""
        return ",".join(self.parts)

    def text(self, row: Row) -> str:
        """Return the text of a row; empty if it has none.

        Several columns are turns of a conversation, the user's first, if there is a chat template, otherwise lines.

        Raises:
            InputError: The row lacks a column, or has something else than text there.
        """
        where, cells = row
        texts = [self._cell(cells, part, where) for part in self.parts]
        chat = self.reading.chat
        if len(texts) == 1 and (not isinstance(texts[0], str) or chat is None):
            return texts[0] if isinstance(texts[0], str) else _rendered(messages_of(texts[0], where), chat, where)
        if not all(isinstance(text, str) for text in texts):
            raise InputError(f"{where} has a conversation in one of {quote(self.name)}: name that column alone")
        texts = [text for text in texts if text.strip()]
        if chat is not None and texts:
            turns = [{"role": ("user", "assistant")[at % 2], "content": text} for at, text in enumerate(texts)]
            return _rendered(turns, chat, where)
        return "\n".join(texts)

    def has(self, row: Row) -> bool:
        """Return whether a row has all columns."""
        return all(cell_at(row[1], part) is not MISSING for part in self.parts)

    def _cell(self, cells: Mapping[str, Any], part: str, where: str) -> Any:
        cell = cell_at(cells, part)
        if isinstance(cell, dict) and isinstance(cell.get("text"), str):
            cell = cell["text"]
        if cell is None:
            return ""
        if isinstance(cell, str):
            check_encodable(cell, where)
            return process_escapes(cell, where) if self.reading.escapes else cell
        if is_conversation(cell):
            return cell
        if cell is MISSING:
            raise InputError(f"{where} has no {quote(part)}: {_advice(list(cells), self.option)}")
        raise InputError(
            f"{where} has {quote(cell)} as {quote(part)}: expected text, so name a column of texts by {self.option}"
        )


def cell_at(row: Mapping[str, Any], path: str) -> Any:
    """Return the cell of a column; dots lead into objects, and a number picks from a list, counted from 0.

    >>> cell_at({"meta": {"topic": ["sea"]}}, "meta.topic.0")
    'sea'
    """
    if path in row:
        return row[path]
    for at, character in enumerate(path):
        if character == "." and path[:at] in row:
            inner, rest = row[path[:at]], path[at + 1 :]
            if isinstance(inner, list) and not rest.split(".")[0].isdigit():
                found = [cell_at(item, rest) if isinstance(item, Mapping) else MISSING for item in inner]
                return [cell for cell in found if cell is not MISSING] or MISSING
            if isinstance(inner, list):
                inner = {str(index): item for index, item in enumerate(inner)}
            return cell_at(inner, rest) if isinstance(inner, Mapping) else MISSING
    return MISSING


def choose_column(
    table: Table,
    head: Sequence[Row],
    asked: str | None,
    names: Sequence[str],
    reading: Reading,
    *,
    option: str,
    taken: Collection[str] = (),
    alone: bool = True,
) -> Column:
    """Return the column of the texts.

    Args:
        table: The file.
        head: Its first rows.
        asked: The column that is asked for; several are joined by commas.
        names: What it is called by default.
        reading: How texts are read.
        option: The options that name it, for messages.
        taken: Columns that are something else.
        alone: Whether to take the only column of texts, whatever its name.

    Raises:
        InputError: There is no such column, or none is asked for and several may be meant.
    """
    columns = list(dict.fromkeys(column for _, row in head for column in row))
    if table.plain or not head:
        if asked not in (None, "text") and head:
            note(f"{table.name} has one text a row and no columns: {option} has no effect on it")
        return Column(("text",), option, reading)
    if asked is not None:
        return Column(_parts(table, head, asked, columns, option), option, reading)
    called = [name for name in names if name in columns]
    if len(called) > 1:
        raise InputError(f"{head[0][0]} has {list_names(called)}: name the one that is meant by {option}")
    if called:
        return Column((called[0],), option, reading)
    if alone:
        for name in CONVERSATIONS:
            if name in columns:
                return Column((name,), option, reading)
        texts = [column for column in columns if column not in taken and _holds_texts(head, column, table.typed)]
        if len(texts) == 1:
            hint = ", and --no-header (header=False) if that is a text" if table.headed else ""
            note(f"{table.name} has no {quote(names[0])}: its only texts, under {quote(texts[0])}, are read{hint}")
            return Column((texts[0],), option, reading)
    where = head[0][0]
    raise InputError(f"{where} has no {quote(names[0])}: {_advice(columns, option, headed=table.headed)}")


def _parts(table: Table, head: Sequence[Row], asked: str, columns: Sequence[str], option: str) -> tuple[str, ...]:
    """Return the columns that an option names: one that has that name, or several between commas."""
    for parts in ((asked,), tuple(part.strip() for part in asked.split(","))):
        if all(any(cell_at(row, part) is not MISSING for _, row in head) for part in parts):
            return parts
    raise InputError(f"{head[0][0]} has no {quote(asked)}: {_advice(columns, option, headed=table.headed)}")


def _advice(columns: Sequence[str], option: str, *, headed: bool = False) -> str:
    header = ", or pass --no-header (header=False) if the first row is no header" if headed else ""
    return f"it has {list_names(columns)}; name the one that holds the text by {option}{header}"


def _holds_texts(head: Sequence[Row], column: str, typed: bool) -> bool:
    cells = [row[column] for _, row in head if row.get(column) not in (None, "")]
    return bool(cells) and all(isinstance(cell, str) for cell in cells) and (typed or not all(map(_is_value, cells)))


def _is_value(cell: str) -> bool:
    """Return whether the text of a cell is a number or a truth value."""
    try:
        float(cell)
    except ValueError:
        return cell.strip().lower() in ("true", "false")
    return True


def _rendered(messages: Sequence[Mapping[str, Any]], chat: Any, where: str) -> str:
    if chat is None:
        raise InputError(
            f"{where} holds a conversation, not a text: pass --chat (chat=) to put it in the model's chat template, or "
            "name a column of texts"
        )
    try:
        return str(chat(messages))
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
