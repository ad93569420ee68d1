"""How a shift changes the residual stream: it is added, rotates the stream, or adds only what a concept lacks."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from vectors.common.errors import InputError

Intervention = Callable[[Float[Tensor, "rows pos d_model"], Float[Tensor, "#rows #pos d_model"]], Tensor]
"""Takes the stream and a shift per row, and returns the new stream; rows whose shift is zero must not change."""


def add(
    hidden: Float[Tensor, "rows pos d_model"], shift: Float[Tensor, "#rows #pos d_model"]
) -> Float[Tensor, "rows pos d_model"]:
    """Return the stream plus the shift."""
    return hidden + shift


def rotate(
    hidden: Float[Tensor, "rows pos d_model"], shift: Float[Tensor, "#rows #pos d_model"]
) -> Float[Tensor, "rows pos d_model"]:
    """Return the stream rotated towards the shift: the direction of their sum, at the norm of the stream.

    >>> round(rotate(torch.tensor([[[3.0, 0.0]]]), torch.tensor([[[0.0, 3.0]]])).norm().item(), 4)
    3.0
    """
    total = hidden + shift
    before, after = (tensor.float().norm(dim=-1, keepdim=True) for tensor in (hidden, total))
    rotated: Tensor = total * (before / after.clamp(min=torch.finfo(torch.float32).tiny)).to(total)
    return rotated


@dataclass(frozen=True, eq=False)
class Gate:
    """Add only as much of each concept as a position lacks.

    A dose sets a target along the concept's direction: the level of texts without the concept, plus the dose's shift.
    A position below the target gets the difference, at most the whole shift; a position at or above it gets nothing.
    The component of the shift orthogonal to all concepts is scaled by the largest fraction that a concept gets.

    Args:
        directions: Unit directions of the concepts at a layer.
        levels: Projection of texts without each concept on its direction.

    Raises:
        InputError: There are no directions.
    """

    directions: Float[Tensor, "concepts d_model"]
    levels: Float[Tensor, " concepts"]
    _copies: dict[torch.device, tuple[Tensor, Tensor, Tensor]] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if len(self.directions) == 0:
            raise InputError("a gate needs directions: compose a point with at least one concept")

    def _on(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """Return the directions, their pseudo-inverse as rows, and the levels, copied to each device once."""
        if device not in self._copies:
            inverse = torch.linalg.pinv(self.directions.double()).float().T
            self._copies[device] = self.directions.to(device), inverse.to(device), self.levels.to(device)
        return self._copies[device]

    def __call__(
        self, hidden: Float[Tensor, "rows pos d_model"], shift: Float[Tensor, "#rows #pos d_model"]
    ) -> Float[Tensor, "rows pos d_model"]:
        """Return the stream with the missing part of each concept added."""
        directions, inverse, levels = self._on(hidden.device)
        full = shift.float() @ directions.T
        missing = levels + full - hidden.float() @ directions.T
        added = torch.where(full >= 0, missing.clamp(min=0).minimum(full), missing.clamp(max=0).maximum(full))
        fraction = torch.where(full == 0, 0.0, added / torch.where(full == 0, 1.0, full)).amax(dim=-1, keepdim=True)
        gated: Tensor = hidden + (added @ inverse + fraction * (shift.float() - full @ inverse)).to(hidden)
        return gated
