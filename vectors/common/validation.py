"""Validate numbers and names, and quote arbitrary values safely in messages."""

import math
import operator
import unicodedata
from collections.abc import Iterable
from pathlib import PurePath
from typing import SupportsFloat, SupportsIndex

from vectors.common.errors import InputError, SteerError

MAX_NAME = 100
MAX_SEED = 2**64 - 1
MAX_BATCH = 2**20
_FORBIDDEN = frozenset('/\\:*?"<>|')
_WINDOWS_RESERVED = frozenset(
    ["con", "prn", "aux", "nul"] + [f"{port}{digit}" for port in ("com", "lpt") for digit in "0123456789¹²³"]
)
_BLANK = frozenset("\u115f\u1160\u2800\u3164\uffa0")  # letters and symbols without a glyph
_ZERO_WIDTH_JOINER = "\u200d"  # joins emoji; all other invisible characters are refused or escaped
_INVISIBLE_CATEGORIES = frozenset(["Cc", "Cf", "Cs", "Zl", "Zp"])


def quote(value: object) -> str:
    r"""Return any value as one printable line of at most 80 characters for a message; text and paths get quotes.

    Longer values lose their middle, so that the file name at the end of a path stays.

    >>> quote("a\nb")
    "'a\\nb'"
    """
    line = repr(str(value))
    line = line if len(line) <= 80 else f"{line[:37]}...{line[-40:]}"
    return line if isinstance(value, str | PurePath) else line[1:-1]


def list_names(values: Iterable[object], *, width: int = 160) -> str:
    """Return several values for a message, each quoted and whole: as many as fit, and how many more there are.

    >>> list_names(["cat", "sea"]), list_names([3, 5])
    ("'cat', 'sea'", '3, 5')
    >>> list_names(range(1000), width=12)
    '0, 1, 2, 3 and 996 more'
    """
    names = [quote(value) for value in values]
    shown = 0
    while shown < len(names) and (not shown or len(", ".join(names[: shown + 1])) <= width):
        shown += 1
    rest = f" and {len(names) - shown} more" if shown < len(names) else ""
    return ", ".join(names[:shown]) + rest


def is_invisible(character: str) -> bool:
    """Return whether a character is a control or format character, which may act on a terminal or reorder text."""
    return unicodedata.category(character) in _INVISIBLE_CATEGORIES and character != _ZERO_WIDTH_JOINER


def escape_invisible(text: str) -> str:
    r"""Return a text with all control and invisible characters escaped, so that it is safe to print in a terminal.

    >>> escape_invisible("a\x1b[2Jb\nc")
    'a\\x1b[2Jb\\nc'
    """
    return "".join(
        character.encode("unicode_escape").decode() if is_invisible(character) else character for character in text
    )


def check_number(value: object, what: str, *, error: type[SteerError] = InputError) -> float:
    """Return `value` as a finite float, or raise `error`, calling it `what`.

    NumPy numbers and 0-d tensors are accepted, strings and booleans (NumPy's too) are not.

    >>> check_number(2, "dose")
    2.0
    """
    if isinstance(value, str | bytes | bool) or type(value).__name__ == "bool" or not isinstance(value, SupportsFloat):
        raise error(f"{what} is {quote(value)}: give a finite number")
    try:
        result = float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        result = math.nan
    if not math.isfinite(result):
        raise error(f"{what} is {quote(value)}: give a finite number")
    return result


def check_integer(
    value: object, what: str, *, low: int = 0, high: int | None = None, error: type[SteerError] = InputError
) -> int:
    """Return `value` as an int in `[low, high]`, or raise `error`, calling it `what`.

    >>> check_integer(3, "n", low=1)
    3
    """
    result: int | None = None
    if isinstance(value, SupportsIndex) and not isinstance(value, bool):
        try:
            result = operator.index(value)
        except TypeError:
            result = None
    if result is None or result < low or (high is not None and result > high):
        bounds = f"of at least {low}" if high is None else f"from {low} to {high}"
        raise error(f"{what} is {quote(value)}: give a whole number {bounds}")
    return result


def check_utf8(text: str, what: str) -> None:
    """Check that a text, called `what` in messages, can be encoded as UTF-8.

    Raises:
        InputError: It cannot; the message names the character.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{what} is not UTF-8 at character {error.start + 1}: write it in UTF-8") from error


def check_name(name: object) -> str:
    """Check that a concept name is a valid file name on every system, and return it in Unicode NFC.

    Allowed are letters of any script, digits, inner spaces, emoji and most punctuation. Not allowed are path
    separators, the characters `: * ? " < > |`, control and invisible characters, a leading dot or hyphen, a trailing
    dot, leading or trailing spaces, names reserved by Windows, the suffix `.safetensors`, and more than 100 characters
    or 200 bytes.

    Raises:
        InputError: The name breaks a rule; the message names the first.

    >>> check_name("slow-burn")
    'slow-burn'
    """
    if not isinstance(name, str):
        raise InputError(f"a concept name is text, got {quote(name)}")
    normalised = unicodedata.normalize("NFC", name)
    if problem := _name_problem(normalised):
        raise InputError(f"{quote(name)} cannot name a concept: {problem}")
    return normalised


def _name_problem(name: str) -> str | None:
    if not name:
        return "it is empty, give it at least one letter"
    for character in name:
        if character in _FORBIDDEN:
            return f"{quote(character)} is not allowed in names, use letters, digits, '_' or '-'"
        if is_invisible(character) or character in _BLANK or (character.isspace() and character != " "):
            return f"it holds the invisible character U+{ord(character):04X}, leave it out"
    if len(name) > MAX_NAME or len(name.encode()) > 2 * MAX_NAME:
        size = f"{len(name)} characters and {len(name.encode())} bytes"
        return f"it has {size}, keep to {MAX_NAME} characters and {2 * MAX_NAME} bytes"
    if name != name.strip() or name[0] in ".-" or name[-1] == ".":
        return "it starts with '.' or '-', ends with '.', or has blanks around it, leave those out"
    if name.split(".")[0].strip().lower() in _WINDOWS_RESERVED:
        return "Windows reserves that name, choose another"
    if name.lower().endswith(".safetensors"):
        return "it ends like a file, leave '.safetensors' off"
    return None
