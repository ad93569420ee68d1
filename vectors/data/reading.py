"""How a file of texts is read, where the file itself does not say it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vectors.common.errors import InputError
from vectors.common.validation import quote

FORMATS = ("txt", "json", "jsonl", "csv", "tsv", "parquet", "arrow")
"""Formats of files; `arrow` is also what feather files and datasets folders hold."""

_ALIASES = {"text": "txt", "ndjson": "jsonl", "feather": "arrow"}
_DELIMITERS = {"\\t": "\t", "tab": "\t"}

Message = Mapping[str, Any]
"""One turn of a conversation: `role` and `content`."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    r"""How a file of texts is read.

    Attributes:
        split: Which part of a dataset with several parts to read; by default `train`, if there is one.
        delimiter: The character between the cells of a row, such as `;`; makes any text file one of rows and cells.
        header: Whether the first row of a csv or tsv file names the columns; otherwise they are called 1, 2, ….
        escapes: Whether `\n`, `\t`, `\\`, `\"`, `\'`, `\r` and `\x41` in texts stand for other characters, as in the
            text files of llama.cpp's cvector-generator.
        chat: Turns the messages of a conversation into one text (see `vectors.data.chat`); by default conversations
            are refused.

    Raises:
        InputError: The delimiter is not one character, or a quotation mark or line end.

    >>> Reading(delimiter="tab").delimiter
    '\t'
    """

    split: str | None = None
    delimiter: str | None = None
    header: bool = True
    escapes: bool = False
    chat: Callable[[Sequence[Message]], str] | None = None

    def __post_init__(self) -> None:
        """Check the delimiter."""
        if self.delimiter is None:
            return
        delimiter = _DELIMITERS.get(self.delimiter, self.delimiter)
        if len(delimiter) != 1 or delimiter in '"\r\n\0':
            raise InputError(f'delimiter is {quote(self.delimiter)}: give one character, such as ";" or tab')
        object.__setattr__(self, "delimiter", delimiter)


def check_format(format: str | None, reading: Reading) -> str | None:
    """Return one of `FORMATS`, or `None` if neither the format nor a delimiter says what a file is.

    Raises:
        InputError: An unknown format, or one without cells and a delimiter.
    """
    if format is None:
        return None if reading.delimiter is None else "csv"
    kind = format.removeprefix(".").lower()
    kind = _ALIASES.get(kind, kind)
    if kind not in FORMATS:
        raise InputError(f"the format is {quote(format)}: choose from {', '.join(FORMATS)}")
    if reading.delimiter is not None and kind not in ("csv", "tsv"):
        raise InputError(f"a delimiter is given, and {kind} files have none: leave it out, or say that the file is csv")
    return kind
