"""Names of methods and poolings, so that the command line can list them without importing torch."""

METHODS = (
    "learned", "mean-difference", "mean-centred", "weighted-difference", "pca", "pca-centred", "lda", "probe",
    "gradient", "token",
)  # fmt: skip
"""Extraction methods: the keys of `vectors.extraction.methods.METHODS`."""

CONTEST_METHODS = ("auto", "distilled")
"""Methods that are chosen, or whose layer and positions are, by a contest of samples."""

SHIFT_METHODS = ("learned", "distilled", "distilled-free", "rewarded", "gradient", "token")
"""Methods that find a shift with a length; the others find a direction that separates activations."""

POOLS = ("mean", "last", "no-max-norm")
"""How the activations of a text's own tokens become one row: their mean; the last one; the mean without the token of
the largest norm (an attention sink)."""


def ranks_by_gain(method: str) -> bool:
    """Return whether vectors of a method are ranked by how much their shift raises the log-likelihood of texts.

    >>> ranks_by_gain("learned-together"), ranks_by_gain("pca")
    (True, False)
    """
    return method.startswith("learned") or method in SHIFT_METHODS
