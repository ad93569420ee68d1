"""How much of what texts say they say alike: distinct runs of words, and how well the texts pack."""

import re
import zlib
from collections import Counter
from collections.abc import Sequence
from itertools import islice

from vectors.common.errors import InputError

_WORD = re.compile(r"\w+(?:['’]\w+)?|[^\w\s]")


def words(text: str) -> list[str]:
    """Return a text's words and marks, in lower case.

    >>> words("The cat's cup, empty.")
    ['the', "cat's", 'cup', ',', 'empty', '.']
    """
    return _WORD.findall(text.lower())


def beginning(text: str, count: int) -> str:
    """Return a text up to the end of so many of its words.

    >>> beginning("The cat's cup, empty.", 3)
    "The cat's cup"
    """
    ends = [found.end() for found in islice(_WORD.finditer(text), count)]
    return text[: ends[-1]] if len(ends) == count else text


def distinct(texts: Sequence[Sequence[str]], size: int) -> float:
    """Return the number of different runs of `size` words, as a share of all such runs; of none, 1.

    Source: Li et al., "A diversity-promoting objective function for neural conversation models" (2016).

    >>> distinct([["a", "cat"], ["a", "dog"]], 1)
    0.75
    """
    runs = Counter(tuple(text[at : at + size]) for text in texts for at in range(len(text) - size + 1))
    return len(runs) / runs.total() if runs else 1.0


def compression_ratio(texts: Sequence[str]) -> float:
    """Return how many times shorter the texts become when they are packed together: more for texts that repeat.

    Source: Shaib et al., "Standardizing the measurement of text diversity" (2024).

    Raises:
        InputError: no text, or nothing in them.

    >>> compression_ratio(["the same again"] * 100) > 20
    True
    """
    joined = "\n".join(texts).encode()
    if not joined.strip():
        raise InputError("there is no text to pack: give at least one")
    return len(joined) / len(zlib.compress(joined, 9))
