"""Names that users choose from, for whoever must not import torch to list them."""

METHODS = (
    "learned", "mean-difference", "mean-centred", "weighted-difference", "pca", "pca-centred", "lda", "probe",
    "gradient", "token",
)  # fmt: skip
"""Ways to find a direction: the names of `vectors.extraction.methods.METHODS`."""

SHIFTS = ("learned", "gradient", "token")
"""Those that find a shift of a certain length; the others find a direction to read along."""

POOLS = ("mean", "last", "no-max-norm")
"""How a text's activations become one row: all of its own tokens alike; its last one; all but the one whose activation
is longest (an attention sink)."""


def ranks_by_gain(method: str) -> bool:
    """Tell whether vectors of a method are judged by what their shift does to texts' likelihood.

    >>> ranks_by_gain("learned-together"), ranks_by_gain("pca")
    (True, False)
    """
    return method.startswith("learned") or method in SHIFTS
