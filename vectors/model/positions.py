"""Which positions of a text a shift is added at, and how much of it."""

import re

import torch
from jaxtyping import Float
from torch import Tensor

from vectors.common.errors import InputError
from vectors.common.validation import quote

POSITIONS = ("bos", "all", "generated", "not-bos")
"""The start token's alone; every one; only those of generated tokens; every one but the start token's."""

SCOPES = ("first:N", "decay:H")
"""Every position until N tokens are drawn; every one, of the last that was given on halved with every H tokens."""

_SCOPE = re.compile(r"(first):([1-9][0-9]{0,8})|(decay):([0-9]{1,9}(?:\.[0-9]{1,9})?)", re.ASCII)


def check_positions(positions: str, *, bos: bool = True, scopes: bool = False) -> str:
    """Return the name of some positions if it is one, and if a model has them.

    Args:
        positions: one of `POSITIONS`, or of `SCOPES` with a number.
        bos: whether the model has a start token.
        scopes: whether `SCOPES` will do.

    Raises:
        InputError: an unknown name, or one about the start token for a model without one.

    >>> check_positions("bos"), check_positions("first:12", scopes=True)
    ('bos', 'first:12')
    """
    known = (*POSITIONS, *SCOPES) if scopes else POSITIONS
    scope = _SCOPE.fullmatch(positions) if scopes and isinstance(positions, str) else None
    if scope and scope[3] and not float(scope[4]):
        raise InputError(f"positions is {positions!r}: what halves at once is never added, give tokens, decay:8")
    if positions not in POSITIONS and scope is None:
        example = ", such as first:12 or decay:8" if scopes else ""
        raise InputError(f"positions is {quote(positions)}: choose from {', '.join(known)}{example}")
    if positions in ("bos", "not-bos") and not bos:
        raise InputError(f"positions is {positions!r}, but the model has no start token: choose 'all' or 'generated'")
    return positions


def position_weights(positions: str, length: int, n_prefix: int) -> Float[Tensor, " pos"]:
    """Return how much of a shift each of `length` positions gets, of which the first `n_prefix` were given.

    A position is where the token after it is drawn: `first:1` ends with the last one that was given.

    >>> position_weights("generated", 4, 2).tolist()
    [0.0, 0.0, 1.0, 1.0]
    >>> position_weights("decay:1", 4, 2).tolist()
    [1.0, 1.0, 0.5, 0.25]
    """
    place = torch.arange(length)
    if scope := _SCOPE.fullmatch(positions):
        drawn = (place - (n_prefix - 1)).clamp(min=0)  # tokens, at each position, that were drawn before
        return (drawn < int(scope[2])).float() if scope[1] else 0.5 ** (drawn / float(scope[4]))
    start, end = {"bos": (0, 1), "all": (0, length), "generated": (n_prefix, length), "not-bos": (1, length)}[positions]
    return ((place >= start) & (place < end)).float()


def shift_by_position(
    delta: Float[Tensor, "rows d_model"], length: int, n_prefix: int, positions: str
) -> Float[Tensor, "rows pos d_model"]:
    """Return the shift of each of `length` positions, of which the first `n_prefix` were given.

    >>> shift_by_position(torch.ones(1, 1), 4, 2, "generated")[0, :, 0].tolist()
    [0.0, 0.0, 1.0, 1.0]
    """
    return delta[:, None, :] * position_weights(positions, length, n_prefix).to(delta)[None, :, None]
