"""Open any file, pipe or folder as a table: a file is what it holds, unless a format is given."""

import itertools
from collections.abc import Iterator
from pathlib import Path

from vectors.common.errors import InputError
from vectors.common.files import expand_path
from vectors.common.validation import quote
from vectors.data.files.arrow import (
    ARROW_MAGIC,
    PARQUET_MAGIC,
    STREAM_MAGIC,
    arrow_table,
    dataset_table,
    is_dataset,
    parquet_table,
)
from vectors.data.files.delimited import delimited_table
from vectors.data.files.folder import shards, text_files
from vectors.data.files.json_lines import holds_json, json_table
from vectors.data.files.lines import text_lines
from vectors.data.files.source import HEAD, STDIN, Source, open_source
from vectors.data.files.table import Row, Table, note
from vectors.data.reading import Reading, check_format

_BINARY = {PARQUET_MAGIC: "parquet", ARROW_MAGIC: "arrow", STREAM_MAGIC: "arrow"}
_BY_ENDING = {".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".tsv": "tsv"}
_BINARY_ENDINGS = {".parquet": "parquet", ".arrow": "arrow", ".feather": "arrow"}


def open_table(path: str | Path, format: str | None, reading: Reading) -> Table:
    """Return the rows of a file, a pipe, stdin (`-`) or a folder, to be read once.

    Args:
        path: Where the texts are.
        format: One of `vectors.data.reading.FORMATS`; by default what the first bytes show, and for text the ending:
            JSON is recognised, csv and tsv files need theirs, and everything else is one text a line.
        reading: What the file itself does not say.

    Raises:
        InputError: The file cannot be read, or is damaged.
    """
    kind = check_format(format, reading)
    folder = None if str(path) == STDIN else expand_path(path, InputError)
    if folder is None or not folder.is_dir():
        return _open_file(path, kind, reading)
    if is_dataset(folder):
        return dataset_table(folder, reading.split)
    if kind != "txt" and (files := shards(folder, reading.split)):
        whole = Reading(delimiter=reading.delimiter, header=reading.header)  # the file names had the split
        return _chain(files, kind, whole)
    if kind not in (None, "txt"):
        raise InputError(f"{quote(folder)} is a folder without {kind} files: give the path of a file")
    _note_unused(quote(folder), "txt", reading)
    return Table(quote(folder), _whole_files(text_files(folder)), plain=True)


def _open_file(path: str | Path, kind: str | None, reading: Reading) -> Table:
    source = open_source(path)
    kind = kind or _kind_of(source)
    _note_unused(source.name, kind, reading)
    if kind == "parquet":
        return parquet_table(source)
    if kind == "arrow":
        return arrow_table(source)
    lines = text_lines(source)
    if kind in ("csv", "tsv"):
        return delimited_table(
            source.name, lines, tabs=kind == "tsv", delimiter=reading.delimiter, header=reading.header
        )
    if kind in ("json", "jsonl"):
        return json_table(source.name, lines, split=reading.split, by_line=kind == "jsonl")
    return Table(source.name, _plain_rows(source.name, lines), plain=True)


def _note_unused(name: str, kind: str, reading: Reading) -> None:
    """Say which options have no effect on a file: of two files, they may be meant for the other one."""
    if reading.split is not None and kind not in ("json", "jsonl"):  # of which only the document shows its parts
        note(f"{name} is a {kind} file, which has no parts: --split (split=) has no effect on it")
    if not reading.header and kind not in ("csv", "tsv"):
        note(f"{name} is a {kind} file, which has no header row: --no-header (header=False) has no effect on it")


def _kind_of(source: Source) -> str:
    """Return the format of a file that none was given for."""
    if binary := next((kind for magic, kind in _BINARY.items() if source.head.startswith(magic)), None):
        return binary
    if source.ending in _BINARY_ENDINGS:
        return _BINARY_ENDINGS[source.ending]  # whose reader says what is wrong
    ending = _BY_ENDING.get(source.ending)
    if ending in ("json", "jsonl"):
        return ending
    head = source.head.decode("utf-8-sig", errors="replace")
    if not holds_json(head, whole=len(source.head) < HEAD):
        return ending or "txt"
    return "json"


def _plain_rows(name: str, lines: Iterator[tuple[int, str]]) -> Iterator[Row]:
    return ((f"{name} line {number}", {"text": line.strip()}) for number, line in lines)


def _whole_files(paths: list[Path]) -> Iterator[Row]:
    for path in paths:
        source = open_source(path)
        yield source.name, {"text": "".join(line for _, line in text_lines(source)).strip()}


def _chain(shards: list[Path], kind: str | None, reading: Reading) -> Table:
    """Return the rows of all shards as one table; each is opened when the one before it has been read."""
    first = _open_file(shards[0], kind, reading)
    others = (row for path in shards[1:] for row in _open_file(path, kind, reading).rows)
    first.rows = itertools.chain(first.rows, others)
    return first
