"""The algebra of several concepts: the smallest shift with given projections, independence, a basis of their span."""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor

from vectors.common.errors import VectorError
from vectors.common.validation import quote

MAX_COSINE = 0.95
MAX_CONDITION = 1e3

Matrix = np.ndarray[tuple[int, int], np.dtype[np.float64]]

_RIDGE = 1e-4  # on the Gram matrix while learning, where concepts may be parallel for a while


def smallest_shift(
    directions: Float[Tensor, "concepts d_model"],
    projections: Float[Tensor, "rows concepts"],
    included: Float[Tensor, "rows concepts"] | None = None,
    *,
    ridge: float = 0.0,
) -> Float[Tensor, "rows d_model"]:
    """Return for each row the smallest shift whose projection on every direction is the given one.

    It is `V (V^T V)^-1 p` for directions V of length one, as columns, and projections p.

    Args:
        directions: unit directions, linearly independent unless there is a ridge.
        projections: length of the shift along each direction; 0 where it is not included.
        included: 1 where a direction has to have its projection, 0 where it may have any; by default 1.
        ridge: added to the diagonal of the Gram matrix.

    >>> directions = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    >>> smallest_shift(directions, torch.tensor([[1.0, 1.0]])).round(decimals=2).tolist()
    [[1.0, 0.5]]
    """
    if included is None:
        included = torch.ones_like(projections)
    gram = included[:, :, None] * (directions @ directions.T) * included[:, None, :]
    diagonal = torch.diag_embed(1 - included + ridge)
    weights = torch.linalg.solve(gram + diagonal, projections[:, :, None])[:, :, 0]
    shifts: Tensor = weights @ directions
    return shifts


def compose_shifts(
    shifts: Float[Tensor, "concepts d_model"], signs: Int64[Tensor, "rows concepts"]
) -> Float[Tensor, "rows d_model"]:
    """Return for each row the composition of the shifts with sign 1, and of the opposites of those with sign -1.

    The projection on each of these concepts is then the length of its own shift. Sign 0 leaves a concept out.

    >>> shifts, signs = torch.tensor([[1.0, 0.0], [1.0, 1.0]]), torch.tensor([[1, 1], [-1, 0]])
    >>> compose_shifts(shifts, signs).round(decimals=2).tolist()
    [[1.0, 1.0], [-1.0, 0.0]]
    """
    lengths = shifts.norm(dim=1).clamp(min=torch.finfo(shifts.dtype).tiny)
    return smallest_shift(shifts / lengths[:, None], signs * lengths, (signs != 0).to(shifts), ridge=_RIDGE)


def unit_rows(shifts: Iterable[Float[Tensor, " d_model"]]) -> Matrix:
    """Return shifts as rows of length one, in float64."""
    rows = np.stack([shift.double().numpy() for shift in shifts])
    # float32 directions have length one only up to rounding
    unit: Matrix = rows / np.sqrt((rows * rows).sum(axis=1, keepdims=True))
    return unit


def check_independent(directions: Matrix, names: Sequence[str]) -> None:
    """Refuse unit rows that are too nearly parallel or linearly dependent to be dosed separately.

    Args:
        directions: unit rows; those of one concept are orthogonal.
        names: the concept of each row.

    Raises:
        VectorError: naming the concepts.
    """
    gram: Matrix = np.asarray(directions @ directions.T)
    cosines = np.triu(gram, 1)
    i, j = (int(index) for index in np.unravel_index(np.abs(cosines).argmax(), gram.shape))
    if abs(cosines[i, j]) > MAX_COSINE:
        raise VectorError(
            f"concepts {quote(names[i])} and {quote(names[j])} are nearly parallel (cosine {cosines[i, j]:.3f}, "
            f"at most {MAX_COSINE} either way): drop one of them, or add them up with --method sum (method='sum')"
        )
    values, modes = np.linalg.eigh(gram)
    condition = values[-1] / values[0] if values[0] > 0 else np.inf
    if condition > MAX_CONDITION:
        weights = np.abs(modes[:, 0])
        heavy = [name for name, weight in zip(names, weights, strict=True) if weight > 0.1 * weights.max()]
        involved = [quote(name) for name in dict.fromkeys(heavy)]
        raise VectorError(
            f"concepts {', '.join(involved)} are nearly dependent (condition number {condition:.2g}, "
            f"at most {MAX_CONDITION:g}): drop one of them, or add them up with --method sum (method='sum')"
        )


def orthonormal(directions: Matrix) -> Matrix:
    """Return an orthonormal basis of the rows' span, by Gram-Schmidt with a second pass.

    A row within 1e-6 of the span of the rows before it is dropped.
    """
    basis: list[np.ndarray[tuple[int], np.dtype[np.float64]]] = []
    for row in directions:
        rest = row.copy()
        for _ in range(2):
            for unit in basis:
                rest = rest - (unit * rest).sum() * unit
        length = np.sqrt((rest * rest).sum())
        if length > 1e-6:
            rest = rest / length
            # scaling a short rest up also scales up its rounding errors along the earlier rows
            for unit in basis:
                rest = rest - (unit * rest).sum() * unit
            basis.append(rest / np.sqrt((rest * rest).sum()))
    return np.stack(basis)


def as_shift(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]], layer: int) -> Float32[Tensor, " d_model"]:
    """Return a shift in float32.

    Raises:
        VectorError: a shift that overflows or vanishes in float32.
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
