"""Shell completion of concept names, alone and at the end of an expression."""

import re

from cli.terminal.output import ClosedPipeError
from vectors.common.errors import SteerError

_BEFORE = re.compile(r"""(?:.*[+*('"]|.*(?:^|(?<=\s))-)?\s*(?:[\d.]+\s*)?""", re.DOTALL)
"""Everything before the last name: up to an operator, a bracket or a quote, and a dose."""


def concept_names() -> list[str]:
    """Return the names of all shipped and user concepts, of every model; no vector is read."""
    from vectors.common.paths import list_folder, shipped_folders, user_library, vector_files

    folders = (*shipped_folders(), *(path for path in list_folder(user_library()) if path.is_dir()))
    return sorted({name for folder in folders for name in vector_files(folder)})


def complete_name(incomplete: str) -> list[str]:
    """Return the concept names with this prefix."""
    try:
        return [name for name in concept_names() if name.startswith(incomplete)]
    except (SteerError, OSError, ClosedPipeError):
        return []  # a shell cannot show an error


def complete_expression(incomplete: str) -> list[str]:
    """Return the expression with its last name completed, one for each match.

    >>> complete_expression("sonnet + 0.8 qu")
    ['sonnet + 0.8 quantum']
    """
    match = _BEFORE.match(incomplete)
    start = match[0] if match else ""
    return [start + name for name in complete_name(incomplete[len(start) :])]
