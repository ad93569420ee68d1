"""The lines of a stream as text, with the number of the line in every complaint."""

import codecs
import io
import re
from collections.abc import Iterator

from vectors.common.errors import InputError
from vectors.data.files.source import Source

_BYTE_ORDER_MARKS = {  # the longer ones first: UTF-32 begins like UTF-16
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_INVALID = re.compile("[\udc80-\udcff]")  # bytes that are not UTF-8, as the decoder hands them on


def text_lines(source: Source) -> Iterator[tuple[int, str]]:
    """Yield the number and text of each line with its end: a line feed, a carriage return, or both.

    Text is UTF-8, or UTF-16 or UTF-32 with a byte order mark. A line does not end at U+2028, form feeds and others.

    Raises:
        InputError: A line is not UTF-8, or holds a NUL.
    """
    marks = (name for mark, name in _BYTE_ORDER_MARKS.items() if source.head.startswith(mark))
    encoding = next(marks, "utf-8-sig")
    errors = "surrogateescape" if encoding == "utf-8-sig" else "strict"
    number = 0
    try:
        for number, line in enumerate(io.TextIOWrapper(source.stream, encoding, errors, newline=""), 1):
            if not line.isascii() and _INVALID.search(line):
                raise InputError(
                    f"{source.name} line {number} is not UTF-8: save the file as UTF-8, such as by "
                    "iconv -f WINDOWS-1252 -t UTF-8"
                )
            if "\0" in line:
                raise InputError(
                    f"{source.name} line {number} holds a NUL: give a text file (one in UTF-16 becomes one by "
                    "iconv -f UTF-16LE -t UTF-8)"
                )
            yield number, line
    except UnicodeError as error:
        raise InputError(
            f"{source.name} is damaged {encoding.upper()} after line {number} ({error}): save the file as UTF-8"
        ) from error
