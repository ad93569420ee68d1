"""What a shell completes: the names of concepts, by themselves and at the end of an expression."""

import re

from cli.terminal.output import ClosedPipeError
from vectors.common.errors import SteerError

_BEFORE = re.compile(r"""(?:.*[+*('"]|.*(?:^|(?<=\s))-)?\s*(?:[\d.]+\s*)?""", re.DOTALL)
"""All that stands before the last name: up to an operator, a bracket or a quote, and a dose."""


def known() -> list[str]:
    """Return the names of all concepts that are shipped or the user's, of whatever model; nothing is loaded."""
    from vectors.common.paths import EMBEDDED_LIBRARY, list_folder, user_library, vector_files

    folders = (EMBEDDED_LIBRARY, *(place for place in list_folder(user_library()) if place.is_dir()))
    return sorted({name for folder in folders for name in vector_files(folder)})


def complete_name(incomplete: str) -> list[str]:
    """Return the names that begin so."""
    try:
        return [name for name in known() if name.startswith(incomplete)]
    except (SteerError, OSError, ClosedPipeError):
        return []  # a shell asks for names, not for what is wrong


def complete_expression(incomplete: str) -> list[str]:
    """Return the expressions that this may become: its last name completed.

    >>> complete_expression("sonnet + 0.8 qu")
    ['sonnet + 0.8 quantum']
    """
    found = _BEFORE.match(incomplete)
    start = found[0] if found else ""
    return [start + name for name in complete_name(incomplete[len(start) :])]
