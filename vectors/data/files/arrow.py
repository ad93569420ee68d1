"""Rows of parquet and arrow files and of datasets folders, read batch by batch."""

import io
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from vectors.common.errors import InputError
from vectors.common.validation import quote
from vectors.data.files.source import Source
from vectors.data.files.splits import choose_split
from vectors.data.files.table import Row, Table

_BATCH = 1000
_UNKNOWN = 1 << 62
_MOST_ROWS_A_BYTE = 100  # a file that declares more is damaged, or meant to fill the memory
_FREE_BYTES, _MOST_TIMES = 1 << 31, 200  # as of other compressed files, from a size on that no small file reaches

PARQUET_MAGIC, ARROW_MAGIC, STREAM_MAGIC = b"PAR1", b"ARROW1", b"\xff\xff\xff\xff"


def parquet_table(source: Source) -> Table:
    """Return the rows of a parquet file.

    Raises:
        InputError: The file is damaged.
    """
    import pyarrow
    import pyarrow.parquet

    content: Any = source.path or io.BytesIO(source.stream.read())
    size = source.path.stat().st_size if source.path else len(content.getvalue())
    try:
        file = pyarrow.parquet.ParquetFile(content)
        declared, schema = file.metadata.num_rows, file.schema_arrow
    except (pyarrow.ArrowException, OSError, ValueError) as cause:
        raise _damaged(source.name, "parquet", cause) from cause
    if declared > _MOST_ROWS_A_BYTE * size:
        raise InputError(f"{source.name} declares {declared} rows in {size} bytes: it is damaged, fetch it again")
    rows = _rows(source.name, file.iter_batches(batch_size=_BATCH), "parquet", size)
    return Table(source.name, rows, label_names=_label_names(schema))


def arrow_table(source: Source) -> Table:
    """Return the rows of an arrow file or stream, or of a feather file.

    Raises:
        InputError: The file is damaged.
    """
    import pyarrow

    try:
        if source.head.startswith(ARROW_MAGIC):
            content = pyarrow.memory_map(str(source.path)) if source.path else pyarrow.py_buffer(source.stream.read())
            file = pyarrow.ipc.open_file(content)
            batches: Iterable[Any] = (file.get_batch(index) for index in range(file.num_record_batches))
        else:
            file = batches = pyarrow.ipc.open_stream(pyarrow.PythonFile(source.stream, "r"))
        names = _label_names(file.schema)
    except (pyarrow.ArrowException, OSError, ValueError) as cause:
        raise _damaged(source.name, "arrow", cause) from cause
    size = source.path.stat().st_size if source.path else _UNKNOWN
    return Table(source.name, _rows(source.name, batches, "arrow", size), label_names=names)


def is_dataset(folder: Path) -> bool:
    """Return whether a folder was written by `save_to_disk` of the library datasets."""
    return (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file()


def dataset_table(folder: Path, split: str | None) -> Table:
    """Return the rows of a folder that `save_to_disk` wrote.

    Raises:
        InputError: The folder is damaged, or has several splits and none is asked for or called `train`.
    """
    name = quote(folder)
    import datasets

    try:
        data: Any = datasets.load_from_disk(str(folder))
    except Exception as cause:  # the errors that damaged files cause there are of many classes
        raise _damaged(name, "datasets", cause) from cause
    if isinstance(data, datasets.DatasetDict):
        data = data[choose_split(name, list(data), split)]
    elif split is not None and split != str(data.split):
        raise InputError(f"{name} has no splits: leave --split (split=) out")
    batches = data.with_format("arrow").iter(_BATCH)
    return Table(name, _rows(name, batches, "datasets", _UNKNOWN), label_names=_label_names(data.features.arrow_schema))


class _BatchRow(Mapping[str, Any]):
    """A row of a batch; a column becomes Python values only when a cell of it is read."""

    __slots__ = ("_batch", "_index", "_values")

    def __init__(self, batch: Any, index: int, values: dict[str, list[Any]]) -> None:
        self._batch, self._index, self._values = batch, index, values

    def __getitem__(self, column: str) -> Any:
        if column not in self._values:
            if column not in self._batch.schema.names:
                raise KeyError(column)
            self._values[column] = _decoded(self._batch.column(column)).to_pylist()
        return self._values[column][self._index]

    def __iter__(self) -> Iterator[str]:
        return iter(self._batch.schema.names)

    def __len__(self) -> int:
        return len(self._batch.schema.names)


def _decoded(column: Any) -> Any:
    """Return a column of bytes as text if all of it is UTF-8: Spark and others leave out that it is text."""
    import pyarrow

    kind = column.type
    if not (pyarrow.types.is_binary(kind) or pyarrow.types.is_large_binary(kind)):
        return column
    try:
        return column.cast(pyarrow.large_string())
    except pyarrow.ArrowInvalid:
        return column


def _rows(name: str, batches: Iterable[Any], what: str, size: int) -> Iterator[Row]:
    import pyarrow

    number = decoded = 0
    try:
        for batch in batches:
            decoded += batch.nbytes
            if decoded > max(_FREE_BYTES, _MOST_TIMES * size):
                raise InputError(
                    f"{name} grows more than {_MOST_TIMES}-fold when it is read, which no texts do: "
                    "write it anew if you trust it"
                )
            values: dict[str, list[Any]] = {}
            for index in range(batch.num_rows):
                number += 1
                yield f"{name} row {number}", _BatchRow(batch, index, values)
    except (pyarrow.ArrowException, OSError, ValueError) as cause:
        raise _damaged(name, what, cause) from cause


def _label_names(schema: Any) -> dict[str, list[str]]:
    """Return the names of label numbers, which the library datasets notes in the schema."""
    try:
        noted = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        features = noted.get("info", {}).get("features", {})
        named = {}
        for column, feature in features.items():
            if isinstance(feature, list) and feature:
                feature = feature[0]  # how older versions note a list of labels
            inner = feature.get("feature", feature) if isinstance(feature, dict) else {}
            if isinstance(inner, dict) and isinstance(inner.get("names"), list):
                named[str(column)] = [str(label) for label in inner["names"]]
        return named
    except (ValueError, AttributeError):
        return {}


def _damaged(name: str, what: str, cause: Exception) -> InputError:
    return InputError(
        f"{name} cannot be read as {what} ({quote(' '.join(str(cause).split()))}): fetch or write it again"
    )
