"""Labelled texts: which texts have which concepts, and which texts are held out."""

import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Sequence

import numpy as np
from jaxtyping import Bool

from vectors.common.errors import InputError
from vectors.common.validation import check_name, quote
from vectors.data.contrast import ContrastSet, is_held_out

_BARE = re.compile(r"[^\W\d_]\w*(?:-\w+)*")  # what an expression takes without quotes
_NUMBERS = frozenset({"nan", "inf", "infinity"})
_MOST_CHARACTERS = 50
_KEPT = frozenset({"L", "M", "N"})  # letters, their accents, digits; emoji are kept as well


def concept_names(labels: Iterable[str], key: str) -> dict[str, str]:
    """Return a name for the concept of each different label: the label itself where an expression takes it as it is.

    Otherwise the name is its letters and digits in lower case, joined by hyphens; the key goes before what is no word.

    Args:
        labels: The labels, as a file has them.
        key: What they are values of.

    Raises:
        InputError: Two labels would have the same name, or a label has neither letters nor digits.

    >>> concept_names(["sea", "Sci-Fi & Fantasy", "3"], "stars")
    {'sea': 'sea', 'Sci-Fi & Fantasy': 'sci-fi-fantasy', '3': 'stars-3'}
    """
    names: dict[str, str] = {}
    label_by_name: dict[str, str] = {}
    for label in dict.fromkeys(labels):
        name = names[label] = _concept_name(label, key)
        other = label_by_name.setdefault(name.casefold(), label)
        if other != label:
            raise InputError(
                f"the labels {quote(other)} and {quote(label)} would both be stored as {quote(name)}: rename one, "
                "or extract them one by one with --where"
            )
    return names


def _concept_name(label: str, key: str) -> str:
    name = unicodedata.normalize("NFC", label.strip())
    if _BARE.fullmatch(name) and len(name) <= _MOST_CHARACTERS and _is_name(name):
        return name
    words = _words(name)
    if not words:
        raise InputError(
            f"no name can be made from the label {quote(label)}: give it one with --where {quote(f'{key}={label}')}"
        )
    if not words[0].isalpha() or not _is_name(words):
        words = _words(f"{key} {words}")
    return check_name(words)


def _is_name(text: str) -> bool:
    """Return whether a text can name a concept, and is no number to an expression."""
    try:
        return check_name(text).casefold() not in _NUMBERS
    except InputError:
        return False


def _words(text: str) -> str:
    """Return the words of a text in lower case, with hyphens in between."""
    kept = [character if _is_kept(character) else " " for character in text.lower()]
    return "-".join("".join(kept).split())[:_MOST_CHARACTERS].strip("-")


def _is_kept(character: str) -> bool:
    """Return whether a character may be part of a name: letters, digits and emoji, but not what stands for damage."""
    category = unicodedata.category(character)
    return (category[0] in _KEPT or category == "So") and character != "\ufffd"


def label_matrix(
    texts: Sequence[str], labels: Sequence[Collection[str]]
) -> tuple[list[str], Bool[np.ndarray, "texts concepts"]]:
    """Return the sorted names of all concepts, and a matrix that says which text has which.

    Raises:
        InputError: There are not as many labels as texts, no labels at all, or a label cannot name a concept.

    >>> label_matrix(["a", "b"], [["sea"], ["sea", "cat"]])
    (['cat', 'sea'], array([[False,  True],
           [ True,  True]]))
    """
    if len(texts) != len(labels):
        raise InputError(f"there are {len(texts)} texts and {len(labels)} labels: give each text the concepts it has")
    names = sorted({check_name(name) for concepts in labels for name in concepts})
    if not names:
        raise InputError("no text has a label: name the concepts of each text")
    return names, np.array([[name in concepts for name in names] for concepts in labels])


def held_out_mask(
    texts: Sequence[str], names: Sequence[str], has: Bool[np.ndarray, "texts concepts"], *, share: float, seed: int
) -> Bool[np.ndarray, " texts"]:
    """Return which texts are held out, as `is_held_out` decides for each.

    Raises:
        InputError: Among the texts of either part, none has a concept, or all do.
    """
    held_out = np.array([is_held_out(text, share=share, seed=seed) for text in texts])
    for column, name in enumerate(names):
        for purpose, part in (("learn from", ~held_out), ("hold out", held_out)):
            if has[part, column].sum() < 1 or (~has[part, column]).sum() < 1:
                raise InputError(
                    f"too few texts have or lack {name!r} to {purpose}: give more of both, or drop the label"
                )
    return held_out


def contrast_of_label(texts: Sequence[str], has_label: Bool[np.ndarray, " texts"]) -> ContrastSet:
    """Return the texts with a label as positives and the others as background."""
    positive = [text for text, has in zip(texts, has_label, strict=True) if has]
    return ContrastSet(positive, [text for text, has in zip(texts, has_label, strict=True) if not has])


def contrasts_of_labels(texts: Sequence[str], labels: Sequence[Collection[str]]) -> Iterator[tuple[str, ContrastSet]]:
    """Yield each concept in the labels, in order, with its texts against all others.

    Raises:
        InputError: texts and labels of unequal number, no label, or a concept that all or none of the texts have.
    """
    names, has = label_matrix(texts, labels)
    for column, name in enumerate(names):
        yield name, contrast_of_label(texts, has[:, column])
