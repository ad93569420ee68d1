r"""Escapes in lines of text, such as `\n` for a line end, as llama.cpp reads them in the files of cvector-generator."""

import re

from vectors.common.errors import InputError

# what llama.cpp's string_process_escapes turns back; anything else stays as it is
_ESCAPE = re.compile(rb"\\(?:([nrt'\"\\])|x([0-9a-fA-F]{2}))")
_MEANING = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"'": b"'", b'"': b'"', b"\\": b"\\"}

WRITTEN_OUT = re.compile(r"(?<!\\)(?:\\\\)*\\n")
r"""A line end that is written out: `\n` after no other backslash."""


def process_escapes(text: str, where: str) -> str:
    r"""Return a text with `\n`, `\r`, `\t`, `\'`, `\"`, `\\` and `\x41` turned into the characters they stand for.

    `\x` gives a byte, so that several of them make one character of UTF-8.

    Raises:
        InputError: The bytes are not UTF-8; `where` says which text has them.

    >>> process_escapes(r"one\ntwo \d", "line 1")
    'one\ntwo \\d'
    """
    if "\\" not in text:
        return text
    data = _ESCAPE.sub(_meant, text.encode())
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise InputError(f"{where} has \\x escapes that are not UTF-8: write the characters themselves") from error


def _meant(found: re.Match[bytes]) -> bytes:
    return _MEANING[found[1]] if found[1] else bytes.fromhex(found[2].decode())
