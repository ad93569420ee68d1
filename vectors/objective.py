"""What the learning of a shift aims at besides likelier texts: little else changed, and not too long a shift."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import log_softmax

from vectors.checks import number, whole
from vectors.errors import InputError
from vectors.model import ResidualModel
from vectors.nll import losses, losses_of, predicted
from vectors.residual import shifted

CHECKED = 10
"""Steps from one look at the texts kept aside to the next."""


@dataclass(frozen=True, kw_only=True)
class Learning:
    """How a shift is learned, other than by the likelihood of the texts that have its concept.

    Attributes:
        bound: length that no shift outgrows, as a multiple of the typical activation's at its layer; none if left out.
        background: what it costs to make texts without the concept likelier: nats for each nat.
        kl: what it costs to change what is written next in the texts that have it: nats for each nat of
            KL(shifted | base) per token.
        patience: looks at positives kept aside, one every ten steps, after which learning ends if none was better, and
            returns to the best; it never ends early with `None`, or where too few texts could be kept aside.

    Raises:
        InputError: a negative number, or a bound of 0.

    >>> Learning(kl=0.1).kl
    0.1
    """

    bound: float | None = None
    background: float = 0.0
    kl: float = 0.0
    patience: int | None = 3

    def __post_init__(self) -> None:
        """Check every number."""
        for name in ("background", "kl", *(["bound"] if self.bound is not None else [])):
            value = number(getattr(self, name), name)
            if value < 0 or (name == "bound" and not value):
                raise InputError(f"{name} is {value:g}: give {'more than' if name == 'bound' else 'at least'} 0")
        if self.patience is not None:
            whole(self.patience, "patience", low=1)


def objective(
    model: ResidualModel,
    rows: Sequence[Sequence[int]],
    layer: int,
    spread: Float[Tensor, "rows pos d_model"],
    how: Learning,
) -> Float[Tensor, ""]:
    """Return the mean nats per predicted token of some rows under their shifts, and what the shifts change besides."""
    with shifted(model, {layer: spread}):
        nats, logits = losses_of(model, rows)
    loss = nats.sum() / predicted(rows)
    if not how.kl:
        return loss
    with torch.no_grad():
        base = log_softmax(losses_of(model, rows)[1], dim=-1)
    now = log_softmax(logits, dim=-1)
    real = (nats != 0)[:, :, None]  # a padded position has no loss, and says nothing
    changed: Tensor = torch.where(real, now.exp() * (now - base), 0.0).sum() / predicted(rows)
    return loss + how.kl * changed


def raised(
    model: ResidualModel, rows: Sequence[Sequence[int]], layer: int, spread: Float[Tensor, "rows pos d_model"]
) -> Float[Tensor, ""]:
    """Return by how many nats per predicted token shifts make rows likelier; a row that gets less likely counts 0."""
    with torch.no_grad():
        without = losses(model, rows)
    with shifted(model, {layer: spread}):
        gained = (without - losses(model, rows)).sum(dim=1)
    return gained.clamp(min=0).sum() / predicted(rows)
