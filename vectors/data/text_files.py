"""Read texts and their labels from files of any usual format, from pipes and from folders."""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from vectors.common.errors import InputError
from vectors.common.validation import check_number, quote
from vectors.data.columns import MISSING, Column, cell_at, choose_column
from vectors.data.conditions import listed, no_such_key, parse_condition, spelled
from vectors.data.contrast import ContrastSet
from vectors.data.escapes import WRITTEN_OUT
from vectors.data.files.open_table import open_table
from vectors.data.files.table import Row, Table, note
from vectors.data.reading import Reading

POSITIVE_NAMES = ("positive", "pos")
BACKGROUND_NAMES = ("background", "negative", "neg")
"""What the columns of pairs are called by default."""

_TEXT = "--text-column (field=)"
_POSITIVE = "--positive-column (positive=)"
_BACKGROUND = "--negative-column (background=)"
_PLAIN = Reading()


def read_texts(
    path: str | Path,
    *,
    format: str | None = None,
    field: str | None = None,
    how: Reading = _PLAIN,
    names: Sequence[str] = (),
) -> tuple[str, ...]:
    """Read the texts of a file; blank texts are skipped, and lines lose the blanks around them.

    Args:
        path: A file, a pipe, a folder, or `-` for stdin. What it holds is seen from its first bytes; only csv and tsv
            are known by their endings. Everything that is nothing else is one text a line. A folder is what the library
            datasets saved, or the shards of a dataset, or .txt files of one text each.
        format: One of `txt`, `json`, `jsonl`, `csv`, `tsv`, `parquet`, `arrow`, if that is to be decided.
        field: The column of the texts; dots lead into objects (`meta.body`), and commas put columns together
            (`question,answer`). By default `text`, or the only one that holds texts, which a warning then says.
        how: Splits, delimiters, escapes and conversations; see `Reading`.
        names: What else the column may be called by default.

    Raises:
        InputError: The file cannot be read, is not UTF-8, has an invalid line or row (the message gives its number), or
            holds no text.

    >>> import tempfile
    >>> from pathlib import Path
    >>> path = Path(tempfile.mkdtemp()) / "texts.json"
    >>> _ = path.write_text('[{"goal": "a calm sea"}, {"goal": "a wild sea"}]')
    >>> read_texts(path, field="goal")
    ('a calm sea', 'a wild sea')
    """
    table = open_table(path, format, how)
    head = table.head()
    columns = {column for _, row in head for column in row}
    default = next(((name,) for name in names if "text" not in columns and name in columns), ("text",))
    column = choose_column(table, head, field, default, how, option=_TEXT)
    if default != ("text",) and field is None and not table.plain:
        note(f"{table.name}: the texts under {quote(default[0])} are read")
    return _nonempty([text for _, text in _texts(table, column)], table)


def read_rows(
    path: str | Path, *, format: str | None = None, field: str | None = None, how: Reading = _PLAIN
) -> tuple[list[dict[str, Any]], list[str]]:
    """Read a file with columns and return its rows without the texts, and the texts.

    Raises:
        InputError: As `read_texts`; also if the file holds plain lines, which have no labels.
    """
    table, _, column = _labelled(path, format, field, how, (), "labels")
    labels, texts = [], []
    for (_, row), text in _texts(table, column):
        texts.append(text)
        labels.append({key: _named(row[key], table.label_names.get(key, ())) for key in row if key not in column.parts})
    _nonempty(texts, table)
    return labels, texts


def read_contrast(
    path: str | Path,
    where: str,
    *,
    format: str | None = None,
    field: str | None = None,
    weight: str | None = None,
    how: Reading = _PLAIN,
) -> ContrastSet:
    """Read a file with columns, in which the rows that match `where` are positive, the others background.

    Args:
        path: The file, as in `read_texts`.
        where: `key=value`, such as `topic=sea`. The value is any text, as people write labels: `1` matches 1, 1.0 and
            "1", `true` matches True, an empty value matches cells that are empty or missing. A list matches if one of
            its items does. The numbers of labels that have names (`ClassLabel` of the library datasets) match by
            either. Dots in the key lead into objects.
        format: The format, as in `read_texts`.
        field: The column of the texts, as in `read_texts`.
        weight: Key of the texts' weights, if any; a row without a value has weight 1.
        how: As in `read_texts`.

    Raises:
        InputError: As `read_texts`; also if `where` is not `key=value`, no row has the key, all rows or none match, or
            a weight is not a number of at least 0.
    """
    if "=" not in where or not where.partition("=")[0].strip():
        raise InputError(f"where is {quote(where)}: give key=value, such as topic=sea")
    table = _table_with_columns(path, format, how, quote(where.partition("=")[0].strip()))
    head = table.head()
    condition = parse_condition(where, head)
    taken = {condition.key, *([] if weight is None else [weight])}
    column = choose_column(table, head, field, ("text",), how, option=_TEXT, taken=taken)
    names = table.label_names.get(condition.key, ())
    absent = taken
    sides: dict[bool, list[str]] = {True: [], False: []}
    values: set[str] = set()
    weights: dict[str, list[float]] = {}
    for row, text in _texts(table, column):
        absent = absent and {key for key in absent if cell_at(row[1], key) is MISSING}
        sides[condition.holds(row, names)].append(text)
        if len(values) < 1000:  # for a message
            values |= set(spelled(cell_at(row[1], condition.key), names))
        if weight is not None:
            weights.setdefault(text, []).append(_weight(row, weight, text))
    _nonempty([*sides[True][:1], *sides[False][:1]], table)
    if absent:
        raise no_such_key(table, head, min(absent), column.parts)
    if not (sides[True] and sides[False]):
        which = "no" if not sides[True] else "every"
        raise InputError(
            f"{which} row of {table.name} has {quote(where)}: its values are {listed(values)}, choose one of several"
        )
    mean_weights = {text: sum(given) / len(given) for text, given in weights.items()}  # copies of a text have one
    return ContrastSet(positive=sides[True], background=sides[False], weights=mean_weights)


def read_pairs(
    path: str | Path,
    *,
    format: str | None = None,
    positive: str | None = None,
    background: str | None = None,
    how: Reading = _PLAIN,
) -> ContrastSet:
    """Read a file whose rows hold two versions of a text, with a concept and without it.

    Args:
        path: A file with columns, as in `read_texts`, a list of pairs, or an object of two lists.
        format: The format, as in `read_texts`.
        positive: The column of the texts with the concept, as `field` of `read_texts`. By default `positive` or
            `pos`; the first of each pair, if they have no names.
        background: The column of the other texts. By default `background`, `negative` or `neg`; the second
            of each pair.
        how: As in `read_texts`.

    Raises:
        InputError: As `read_texts`; also if a row lacks one of the two.
    """
    table = open_table(path, format, how)
    if table.plain:
        raise InputError(
            f"{table.name} is read as lines, which hold one text each: give pairs as .json, .jsonl or .csv with two "
            "columns, or say what it holds by --format (format=)"
        )
    head = table.head()
    columns = {column for _, row in head for column in row}
    if columns == {"1", "2"} and positive is None and background is None:
        note(f"{table.name}: the first of each pair is read as the one with the concept")
        positive, background = "1", "2"
    sides = (
        choose_column(table, head, positive, POSITIVE_NAMES, how, option=_POSITIVE, alone=False),
        choose_column(table, head, background, BACKGROUND_NAMES, how, option=_BACKGROUND, alone=False),
    )
    texts: tuple[list[str], list[str]] = ([], [])
    for row in table.rows:
        if table.ragged and not all(column.has(row) for column in sides):
            raise InputError(
                f"{row[0]} has no pair, as the lists are of unequal length: give the file as both --positive and "
                "--background, with --positive-column and --negative-column"
            )
        pair = [column.text(row) for column in sides]
        if not any(text.strip() for text in pair):
            continue
        for column, text, side in zip(sides, pair, texts, strict=True):
            if not text.strip():
                raise InputError(f"{row[0]} has no text as {quote(column.name)}: give both of a pair, or drop the row")
            side.append(text)
    _nonempty(texts[0], table)
    return ContrastSet(*texts, paired=True)


def read_labels(
    path: str | Path, key: str, *, format: str | None = None, field: str | None = None, how: Reading = _PLAIN
) -> tuple[list[str], list[list[str]]]:
    """Read the texts of a file with columns, and the values that each has under a key, by their names if they have any.

    Raises:
        InputError: As `read_texts`; also if no row has the key.
    """
    table, head, column = _labelled(path, format, field, how, {key}, quote(key))
    names, absent = table.label_names.get(key, ()), True
    texts, labels = [], []
    for row, text in _texts(table, column):
        texts.append(text)
        absent = absent and cell_at(row[1], key) is MISSING
        labels.append([value for value in spelled(cell_at(row[1], key), names) if value.strip()])
    _nonempty(texts, table)
    if absent:
        raise no_such_key(table, head, key, column.parts)
    return texts, labels


def _labelled(
    path: str | Path, format: str | None, field: str | None, how: Reading, taken: Collection[str], what: str
) -> tuple[Table, list[Row], Column]:
    table = _table_with_columns(path, format, how, what)
    head = table.head()
    return table, head, choose_column(table, head, field, ("text",), how, option=_TEXT, taken=taken)


def _table_with_columns(path: str | Path, format: str | None, how: Reading, what: str) -> Table:
    table = open_table(path, format, how)
    if table.plain:
        raise InputError(
            f"{table.name} is read as lines, which have no {what}: give .jsonl or .csv, say what it holds by --format "
            "(format=), or give two .txt files"
        )
    return table


def _texts(table: Table, column: Column) -> Iterator[tuple[Row, str]]:
    """Yield each row whose text is not blank, and its text."""
    written_out = count = 0
    for row in table.rows:
        if table.ragged and not column.has(row):
            continue
        text = column.text(row)
        if not text.strip():
            continue
        count += 1
        written_out += bool(table.plain and not column.reading.escapes and WRITTEN_OUT.search(text))
        yield row, text
    if written_out:
        note(
            rf"{written_out} of {count} texts of {table.name} hold \n as two characters: if they mean a line end, as "
            "in the files of llama.cpp's cvector-generator, pass --escapes (escapes=True)"
        )


def _nonempty(texts: Sequence[str], table: Table) -> tuple[str, ...]:
    if not texts:
        raise InputError(f"{table.name} holds no text: give at least one that is not blank")
    return tuple(texts)


def _named(cell: Any, names: Sequence[str]) -> Any:
    named = isinstance(cell, int) and not isinstance(cell, bool) and 0 <= cell < len(names)
    return names[cell] if named else cell


def _weight(row: Row, weight: str, text: str) -> float:
    """Return the weight of a text: 1 if its cell is empty."""
    cell = cell_at(row[1], weight)
    if cell is MISSING or cell is None or cell == "":
        return 1.0
    try:  # the cells of a CSV file are text
        value = check_number(float(cell) if isinstance(cell, str) and cell.strip() else cell, "weight")
    except (ValueError, InputError) as error:
        raise InputError(
            f"{row[0]} has {quote(cell)} as {quote(weight)} of {quote(text)}: give a number of 0 or more"
        ) from error
    return value
