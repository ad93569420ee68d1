"""The parts of a dataset, such as `train` and `test`."""

import re
from collections.abc import Sequence

from vectors.common.errors import InputError
from vectors.common.validation import list_names, quote
from vectors.data.files.table import note

DEFAULT = "train"

SPLIT = re.compile(r"(?:^|[-_.])(train|test|valid(?:ation)?|val|dev|eval)(?=[-_.]|$)", re.IGNORECASE)
"""What names a split in the name of a file, a folder or a key."""


def is_split(key: str) -> bool:
    """Return whether a key is the name of a split."""
    return SPLIT.fullmatch(key) is not None


def choose_split(name: str, splits: Sequence[str], asked: str | None) -> str:
    """Return the part to read: the one that is asked for, the only one, or `train`, which a note then says.

    Raises:
        InputError: There is no such part, or several and none is asked for or called `train`.
    """
    known = list_names(splits)
    if asked is not None:
        if asked not in splits:
            raise InputError(f"{name} has no split {quote(asked)}: choose from {known}")
        return asked
    if len(splits) == 1:
        return splits[0]
    if DEFAULT not in splits:
        raise InputError(f"{name} has several parts ({known}): name one by --split (split=)")
    note(f"{name} has the parts {known}: {DEFAULT!r} is read; --split (split=) names another")
    return DEFAULT
