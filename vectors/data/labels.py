"""Labelled texts: which of them have which concept, and which are held out."""

from collections.abc import Collection, Sequence

import numpy as np
from jaxtyping import Bool

from vectors.common.errors import InputError
from vectors.common.validation import check_name
from vectors.data.contrast import ContrastSet, is_held_out


def label_matrix(
    texts: Sequence[str], labels: Sequence[Collection[str]]
) -> tuple[list[str], Bool[np.ndarray, "texts concepts"]]:
    """Return the concepts that labels name, in order, and for each text which of them it has.

    Raises:
        InputError: texts and labels of unequal number, no label, or one that cannot name a concept.

    >>> label_matrix(["a", "b"], [["sea"], ["sea", "cat"]])
    (['cat', 'sea'], array([[False,  True],
           [ True,  True]]))
    """
    if len(texts) != len(labels):
        raise InputError(f"there are {len(texts)} texts and {len(labels)} labels: give each text the concepts it has")
    names = sorted({check_name(name) for having in labels for name in having})
    if not names:
        raise InputError("no text has a label: name the concepts of each text")
    return names, np.array([[name in having for name in names] for having in labels])


def held_out_mask(
    texts: Sequence[str], names: Sequence[str], has: Bool[np.ndarray, "texts concepts"], *, share: float, seed: int
) -> Bool[np.ndarray, " texts"]:
    """Return which texts are held out, by `is_held_out`.

    Raises:
        InputError: a concept that too few texts have or lack, to find it in or to hold out.
    """
    out = np.array([is_held_out(text, share=share, seed=seed) for text in texts])
    for column, name in enumerate(names):
        for part, chosen in (("learn from", ~out), ("hold out", out)):
            if has[chosen, column].sum() < 1 or (~has[chosen, column]).sum() < 1:
                raise InputError(f"too few texts have or lack {name!r} to {part}: give more of both, or drop the label")
    return out


def contrast_of_label(texts: Sequence[str], having: Bool[np.ndarray, " texts"]) -> ContrastSet:
    """Return the texts that have a concept against those that do not."""
    positive = [text for text, has in zip(texts, having, strict=True) if has]
    return ContrastSet(positive, [text for text, has in zip(texts, having, strict=True) if not has])
