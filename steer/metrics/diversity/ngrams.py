"""Repetition in texts: the share of distinct n-grams, and the compression ratio."""

import re
import zlib
from collections import Counter
from collections.abc import Sequence
from itertools import islice

from vectors.common.errors import InputError

_WORD = re.compile(r"\w+(?:['’]\w+)?|[^\w\s]")


def words(text: str) -> list[str]:
    """Return the words and punctuation marks of a text, in lower case.

    >>> words("The cat's cup, empty.")
    ['the', "cat's", 'cup', ',', 'empty', '.']
    """
    return _WORD.findall(text.lower())


def first_words(text: str, count: int) -> str:
    """Return the text up to the end of its first `count` words.

    >>> first_words("The cat's cup, empty.", 3)
    "The cat's cup"
    """
    ends = [match.end() for match in islice(_WORD.finditer(text), count)]
    return text[: ends[-1]] if len(ends) == count else text


def distinct(texts: Sequence[Sequence[str]], size: int) -> float:
    """Return the number of different n-grams of `size` words as a share of all n-grams; 1 if there are none.

    Source: Li et al., "A diversity-promoting objective function for neural conversation models" (2016).

    >>> distinct([["a", "cat"], ["a", "dog"]], 1)
    0.75
    """
    ngrams = Counter(tuple(text[start : start + size]) for text in texts for start in range(len(text) - size + 1))
    return len(ngrams) / ngrams.total() if ngrams else 1.0


def compression_ratio(texts: Sequence[str]) -> float:
    """Return the size of the texts divided by their compressed size: higher for texts that repeat themselves.

    Source: Shaib et al., "Standardizing the measurement of text diversity" (2024).

    Raises:
        InputError: no text, or only blank ones.

    >>> compression_ratio(["the same again"] * 100) > 20
    True
    """
    joined = "\n".join(texts).encode()
    if not joined.strip():
        raise InputError("there is no text to compress: give at least one")
    return len(joined) / len(zlib.compress(joined, 9))
