"""The linear algebra of composing: concepts as rows, how nearly they coincide, and the space they span."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from vectors.common.errors import VectorError
from vectors.common.validation import quote
from vectors.concepts.vector import ConceptVector

MAX_COSINE = 0.95
MAX_CONDITION = 1e3

Matrix = np.ndarray[tuple[int, int], np.dtype[np.float64]]


def unit_rows(vectors: Sequence[ConceptVector], layer: int) -> Matrix:
    """Return the directions that vectors have at one layer as rows, of length one in float64."""
    rows = np.stack([vector.shift_at(layer).double().numpy() for vector in vectors])
    # float32 rounding left them only nearly unit
    unit: Matrix = rows / np.sqrt((rows * rows).sum(axis=1, keepdims=True))
    return unit


def unit_length(vector: ConceptVector, layer: int) -> float:
    """Return how long a shift dose 1 of a vector stands for at one layer."""
    return vector.scale * (1.0 if layer == vector.layer else float(vector.shift_at(layer).double().norm()))


def checked_gram(directions: Matrix, names: Sequence[str]) -> Matrix:
    """Return the cosines between the rows.

    Raises:
        VectorError: rows too nearly parallel, or dependent, to be dosed apart; it names them.
    """
    gram: Matrix = np.asarray(directions @ directions.T)
    cosines = np.triu(gram, 1)
    i, j = (int(place) for place in np.unravel_index(np.abs(cosines).argmax(), gram.shape))
    if abs(cosines[i, j]) > MAX_COSINE:
        raise VectorError(
            f"concepts {quote(names[i])} and {quote(names[j])} are nearly parallel (cosine {cosines[i, j]:.3f}, "
            f"at most {MAX_COSINE} either way): drop one of them"
        )
    values, modes = np.linalg.eigh(gram)
    condition = values[-1] / values[0] if values[0] > 0 else np.inf
    if condition > MAX_CONDITION:
        weights = np.abs(modes[:, 0])
        involved = [quote(name) for name, weight in zip(names, weights, strict=True) if weight > 0.1 * weights.max()]
        raise VectorError(
            f"concepts {', '.join(involved)} are nearly dependent (condition number {condition:.2g}, "
            f"at most {MAX_CONDITION:g}): drop one of them"
        )
    return gram


def orthonormal(directions: Matrix) -> Matrix:
    """Return a basis of the rows' span, by Gram-Schmidt, twice over.

    A direction within 1e-6 of the span of those before it is dropped.
    """
    basis: list[np.ndarray[tuple[int], np.dtype[np.float64]]] = []
    for row in directions:
        rest = row.copy()
        for _ in range(2):
            for each in basis:
                rest = rest - (each * rest).sum() * each
        length = np.sqrt((rest * rest).sum())
        if length > 1e-6:
            rest = rest / length
            # what rounding left along the earlier rows weighs more once a short rest is stretched
            for each in basis:
                rest = rest - (each * rest).sum() * each
            basis.append(rest / np.sqrt((rest * rest).sum()))
    return np.stack(basis)


def as_shift(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]], layer: int) -> Float32[Tensor, " d_model"]:
    """Return a shift in float32.

    Raises:
        VectorError: one that overflows it, or vanishes in it.
    """
    delta: Float[Tensor, " d_model"] = torch.from_numpy(values + 0.0).to(torch.float32)  # + 0.0 turns -0.0 into 0.0
    if not bool(torch.isfinite(delta).all()):
        raise VectorError(
            f"the shift at layer {layer} overflows float32: lower the doses or calibrate the vectors' units"
        )
    if values.any() and not bool(delta.any()):
        raise VectorError(
            f"the shift at layer {layer} is too small for float32: raise the doses or calibrate the vectors' units"
        )
    return delta
