"""The smallest shift with given projections on several concepts."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

_RIDGE = 1e-4  # on the Gram matrix, so that two concepts may be parallel on the way


def composed(
    shifts: Float[Tensor, "concepts d_model"], told: Int64[Tensor, "rows concepts"]
) -> Float[Tensor, "rows d_model"]:
    """Return for each row the smallest shift whose projection on each told concept is that concept's own shift.

    A concept is told with 1, taken away with -1, and left alone with 0.

    >>> composed(torch.tensor([[1.0, 0.0], [1.0, 1.0]]), torch.tensor([[1, 1], [-1, 0]])).round(decimals=2).tolist()
    [[1.0, 1.0], [-1.0, 0.0]]
    """
    inside = (told != 0).to(shifts)
    lengths = shifts.norm(dim=1).clamp(min=torch.finfo(shifts.dtype).tiny)
    directions = shifts / lengths[:, None]
    gram = inside[:, :, None] * (directions @ directions.T) * inside[:, None, :]
    rest = torch.diag_embed(1 - inside + _RIDGE)
    weights = torch.linalg.solve(gram + rest, (told * lengths)[:, :, None])[:, :, 0]
    added: Tensor = weights @ directions
    return added
