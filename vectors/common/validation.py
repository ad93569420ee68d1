"""Checks shared by every floor: how hostile values are shown, and which numbers and names are accepted."""

import math
import operator
import unicodedata
from pathlib import PurePath
from typing import SupportsFloat, SupportsIndex

from vectors.common.errors import InputError, SteerError

MAX_NAME = 100
MAX_SEED = 2**64 - 1
MAX_BATCH = 2**20
_FORBIDDEN = frozenset('/\\:*?"<>|')
_WINDOWS = frozenset(
    ["con", "prn", "aux", "nul"] + [f"{port}{digit}" for port in ("com", "lpt") for digit in "0123456789¹²³"]
)
_BLANK = frozenset("\u115f\u1160\u2800\u3164\uffa0")  # letters and signs that show nothing
_ZERO_WIDTH_JOINER = "\u200d"  # glues emoji together; every other invisible character is refused or escaped
_HIDDEN = frozenset(["Cc", "Cf", "Cs", "Zl", "Zp"])


def quote(value: object) -> str:
    r"""Render any value for a one-line message: controls escaped, 80 characters at most, text and paths quoted.

    What is longer loses its middle: a path is known by the name at its end.

    >>> quote("a\nb")
    "'a\\nb'"
    """
    quoted = repr(str(value))
    quoted = quoted if len(quoted) <= 80 else f"{quoted[:37]}...{quoted[-40:]}"
    return quoted if isinstance(value, str | PurePath) else quoted[1:-1]


def is_invisible(character: str) -> bool:
    """Whether a character shows nothing by itself, and may steer a terminal or turn the text around it."""
    return unicodedata.category(character) in _HIDDEN and character != _ZERO_WIDTH_JOINER


def escape_invisible(text: str) -> str:
    r"""Return a text with every control and invisible character escaped, so that it cannot steer a terminal.

    >>> escape_invisible("a\x1b[2Jb\nc")
    'a\\x1b[2Jb\\nc'
    """
    return "".join(
        character.encode("unicode_escape").decode() if is_invisible(character) else character for character in text
    )


def check_number(value: object, what: str, *, kind: type[SteerError] = InputError) -> float:
    """Return `value` as a finite float, or raise `kind` naming it as `what`.

    Strings and booleans are refused; numpy numbers and 0-d tensors are welcome.

    >>> check_number(2, "dose")
    2.0
    """
    if isinstance(value, str | bytes | bool) or not isinstance(value, SupportsFloat):
        raise kind(f"{what} is {quote(value)}: give a finite number")
    try:
        result = float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        result = math.nan
    if not math.isfinite(result):
        raise kind(f"{what} is {quote(value)}: give a finite number")
    return result


def check_integer(
    value: object, what: str, *, low: int = 0, high: int | None = None, kind: type[SteerError] = InputError
) -> int:
    """Return `value` as an int in `[low, high]`, or raise `kind` naming it as `what`.

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
        span = f"of at least {low}" if high is None else f"from {low} to {high}"
        raise kind(f"{what} is {quote(value)}: give a whole number {span}")
    return result


def check_utf8(text: str, what: str) -> None:
    """Refuse text that cannot be written as UTF-8, naming it as `what`.

    Raises:
        InputError: saying at which character.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{what} is not UTF-8 at character {error.start + 1}: write it in UTF-8") from error


def check_name(name: object) -> str:
    """Return a concept name in Unicode NFC, or say why it cannot name a file on every system.

    Letters of any script, digits, spaces inside, emoji and most punctuation are fine. Path separators, the characters
    `: * ? " < > |`, control and invisible characters, a leading dot or hyphen, a trailing dot, blanks at either end,
    names that Windows reserves, the suffix `.safetensors`, and more than 100 characters (200 bytes) are not.

    Raises:
        InputError: naming the first rule that is broken.

    >>> check_name("slow-burn")
    'slow-burn'
    """
    if not isinstance(name, str):
        raise InputError(f"a concept name is text, got {quote(name)}")
    result = unicodedata.normalize("NFC", name)
    broken = _broken_rule(result)
    if broken:
        raise InputError(f"{quote(name)} cannot name a concept: {broken}")
    return result


def _broken_rule(name: str) -> str | None:
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
    if name.split(".")[0].strip().lower() in _WINDOWS:
        return "Windows reserves that name, choose another"
    if name.lower().endswith(".safetensors"):
        return "it ends like a file, leave '.safetensors' off"
    return None
