"""Which positions of a text a shift is added at."""

import torch
from jaxtyping import Float
from torch import Tensor

from vectors.checks import shown
from vectors.errors import InputError

POSITIONS = ("bos", "all", "generated", "not-bos")
"""The start token's alone; every one; only those of generated tokens; every one but the start token's."""


def check_positions(positions: str, *, bos: bool = True) -> str:
    """Return the name of some positions if it is one, and if a model has them.

    Raises:
        InputError: an unknown name, or one about the start token for a model without one.

    >>> check_positions("bos")
    'bos'
    """
    if positions not in POSITIONS:
        raise InputError(f"positions is {shown(positions)}: choose from {', '.join(POSITIONS)}")
    if positions in ("bos", "not-bos") and not bos:
        raise InputError(f"positions is {positions!r}, but the model has no start token: choose 'all' or 'generated'")
    return positions


def position_weights(positions: str, length: int, n_prefix: int) -> Float[Tensor, " pos"]:
    """Return how much of a shift each of `length` positions gets, of which the first `n_prefix` were given.

    >>> position_weights("generated", 4, 2).tolist()
    [0.0, 0.0, 1.0, 1.0]
    """
    start, end = {"bos": (0, 1), "all": (0, length), "generated": (n_prefix, length), "not-bos": (1, length)}[positions]
    place = torch.arange(length)
    return ((place >= start) & (place < end)).float()


def on_positions(
    delta: Float[Tensor, "rows d_model"], length: int, n_prefix: int, positions: str
) -> Float[Tensor, "rows pos d_model"]:
    """Return the shift of each of `length` positions, of which the first `n_prefix` were given.

    >>> on_positions(torch.ones(1, 1), 4, 2, "generated")[0, :, 0].tolist()
    [0.0, 0.0, 1.0, 1.0]
    """
    return delta[:, None, :] * position_weights(positions, length, n_prefix).to(delta)[None, :, None]
