"""Labelled texts: which texts have which concepts, and which texts are held out."""

from collections.abc import Collection, Sequence

import numpy as np
from jaxtyping import Bool

from vectors.common.errors import InputError
from vectors.common.validation import check_name
from vectors.data.contrast import ContrastSet, is_held_out


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
