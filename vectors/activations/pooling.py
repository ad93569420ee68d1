"""Pooling: the activations of a text become one row, such as the mean over its own tokens."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vectors.common.errors import InputError
from vectors.common.option_names import POOLS
from vectors.common.validation import quote

TokenWeights = Callable[[Float[Tensor, "pos d_model"]], Float[Tensor, " pos"]]
"""Maps the activations of one text's own tokens, in order, to a weight for each of them."""

Pool = str | TokenWeights


def check_pool(pool: Pool) -> Pool:
    """Return `pool` if it is a known name or a function.

    Raises:
        InputError: the name is unknown.
    """
    if not callable(pool) and pool not in POOLS:
        raise InputError(f"pool is {quote(pool)}: choose from {', '.join(POOLS)}, or pass a function")
    return pool


def pool_tokens(
    hidden: Float[Tensor, "batch pos d_model"], own: Bool[Tensor, "batch pos"], pool: Pool = "mean"
) -> Float[Tensor, "batch d_model"]:
    """Pool the activations at each text's own tokens into one row a text.

    Args:
        hidden: activations of any dtype; they are summed in float32.
        own: which positions hold the text's own tokens, at least one a text.
        pool: one of `vectors.common.option_names.POOLS`, or a function of one text's activations that returns one
            weight a token.

    Raises:
        InputError: the name is unknown, or the weights have the wrong shape, are not finite, negative or all zero.

    >>> hidden = torch.tensor([[[9.0, 9.0], [1.0, 0.0], [3.0, 0.0]]])
    >>> own = torch.tensor([[False, True, True]])
    >>> [pool_tokens(hidden, own, pool).tolist() for pool in POOLS]
    [[[2.0, 0.0]], [[3.0, 0.0]], [[1.0, 0.0]]]
    """
    check_pool(pool)
    own = own.to(hidden.device)
    # replaced, not multiplied by zero: masked positions may hold NaN
    clean = torch.where(own[:, :, None], hidden.float(), 0.0)
    if pool == "mean":
        return clean.sum(dim=1) / own.sum(dim=1)[:, None]
    if pool == "last":
        positions = torch.arange(own.shape[1], device=own.device)
        return clean[torch.arange(len(own), device=own.device), (own * (positions + 1)).argmax(dim=1)]
    if pool == "no-max-norm":
        norms = torch.where(own, clean.norm(dim=-1), -1.0)
        is_largest = torch.arange(own.shape[1], device=own.device) == norms.argmax(dim=1)[:, None]
        single = own.sum(dim=1, keepdim=True) == 1  # the only token of a text counts, whatever its norm
        included = own & (~is_largest | single)
        return torch.where(included[:, :, None], clean, 0.0).sum(dim=1) / included.sum(dim=1)[:, None]
    assert callable(pool)
    return torch.stack([_weighted_mean(row[mask], pool) for row, mask in zip(clean, own, strict=True)])


def _weighted_mean(rows: Float[Tensor, "pos d_model"], token_weights: TokenWeights) -> Float[Tensor, " d_model"]:
    weights = token_weights(rows)
    if not isinstance(weights, Tensor) or weights.shape != rows.shape[:1]:
        shape = tuple(weights.shape) if isinstance(weights, Tensor) else type(weights).__name__
        raise InputError(f"pool gave {shape} for a text of {len(rows)} tokens: return one weight a token, as a tensor")
    weights = weights.to(rows)
    if not bool(weights.isfinite().all()) or bool((weights < 0).any()) or not bool(weights.any()):
        raise InputError("pool gave weights that are not finite, negative or all zero: return some above 0")
    return (weights @ rows) / weights.sum()
