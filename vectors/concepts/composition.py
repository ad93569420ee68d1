"""The smallest shift with given projections on several concepts: to compose a point, and while shifts are learned."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

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
