"""How a text's activations become one row: the mean over its own tokens, the last of them, or what a function says."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vectors.common.errors import InputError
from vectors.common.option_names import POOLS
from vectors.common.validation import quote

Weigher = Callable[[Float[Tensor, "pos d_model"]], Float[Tensor, " pos"]]
"""From the activations of one text's own tokens, in order, to how much each of them counts."""

Pool = str | Weigher


def check_pool(pool: Pool) -> Pool:
    """Return a way of pooling if it is one.

    Raises:
        InputError: an unknown name.
    """
    if not callable(pool) and pool not in POOLS:
        raise InputError(f"pool is {quote(pool)}: choose from {', '.join(POOLS)}, or pass a function")
    return pool


def pool_tokens(
    hidden: Float[Tensor, "batch pos d_model"], own: Bool[Tensor, "batch pos"], pool: Pool = "mean"
) -> Float[Tensor, "batch d_model"]:
    """Return one row a text: its activations at the positions that are its `own`, by how much each of them counts.

    Args:
        hidden: activations, of whatever dtype; they are summed in float32.
        own: which positions hold the text's own tokens, at least one each.
        pool: one of `vectors.common.option_names.POOLS`, or a function of one text's activations.

    Raises:
        InputError: an unknown name, or a function whose weights are not as many, not finite, negative or all zero.

    >>> hidden = torch.tensor([[[9.0, 9.0], [1.0, 0.0], [3.0, 0.0]]])
    >>> own = torch.tensor([[False, True, True]])
    >>> [pool_tokens(hidden, own, pool).tolist() for pool in POOLS]
    [[[2.0, 0.0]], [[3.0, 0.0]], [[1.0, 0.0]]]
    """
    check_pool(pool)
    own = own.to(hidden.device)
    # masked positions may hold anything, NaN too, so they are replaced and not multiplied away
    clean = torch.where(own[:, :, None], hidden.float(), 0.0)
    if pool == "mean":
        return clean.sum(dim=1) / own.sum(dim=1)[:, None]
    if pool == "last":
        place = torch.arange(own.shape[1], device=own.device)
        return clean[torch.arange(len(own), device=own.device), (own * (place + 1)).argmax(dim=1)]
    if pool == "no-max-norm":
        lengths = torch.where(own, clean.norm(dim=-1), -1.0)
        left = own & (
            (torch.arange(own.shape[1], device=own.device) != lengths.argmax(dim=1)[:, None]) | ~_several(own)
        )
        return torch.where(left[:, :, None], clean, 0.0).sum(dim=1) / left.sum(dim=1)[:, None]
    assert callable(pool)
    return torch.stack([_weighed(row[mine], pool) for row, mine in zip(clean, own, strict=True)])


def _several(own: Tensor) -> Tensor:
    return own.sum(dim=1, keepdim=True) > 1


def _weighed(rows: Float[Tensor, "pos d_model"], weigher: Weigher) -> Float[Tensor, " d_model"]:
    weights = weigher(rows)
    if not isinstance(weights, Tensor) or weights.shape != rows.shape[:1]:
        given = tuple(weights.shape) if isinstance(weights, Tensor) else type(weights).__name__
        raise InputError(f"pool gave {given} for a text of {len(rows)} tokens: return one weight a token, as a tensor")
    weights = weights.to(rows)
    if not bool(weights.isfinite().all()) or bool((weights < 0).any()) or not bool(weights.any()):
        raise InputError("pool gave weights that are not finite, negative or all zero: return some above 0")
    return (weights @ rows) / weights.sum()
