"""What a shift does to the residual stream: it is added, turns it, or fills up what is missing of a concept."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from vectors.common.errors import InputError

Intervention = Callable[[Float[Tensor, "rows pos d_model"], Float[Tensor, "#rows #pos d_model"]], Tensor]
"""From the stream and a shift for each row to the stream as it goes on; rows whose shift is zero stay as they are."""


def add(
    hidden: Float[Tensor, "rows pos d_model"], shift: Float[Tensor, "#rows #pos d_model"]
) -> Float[Tensor, "rows pos d_model"]:
    """Return the stream with the shift added."""
    return hidden + shift


def rotate(
    hidden: Float[Tensor, "rows pos d_model"], shift: Float[Tensor, "#rows #pos d_model"]
) -> Float[Tensor, "rows pos d_model"]:
    """Return the stream in the direction that adding the shift gives it, at the length it had.

    >>> round(rotate(torch.tensor([[[3.0, 0.0]]]), torch.tensor([[[0.0, 3.0]]])).norm().item(), 4)
    3.0
    """
    moved = hidden + shift
    before, after = (tensor.float().norm(dim=-1, keepdim=True) for tensor in (hidden, moved))
    kept: Tensor = moved * (before / after.clamp(min=torch.finfo(torch.float32).tiny)).to(moved)
    return kept


@dataclass(frozen=True, eq=False)
class Gate:
    """Adds only what is missing: where the stream reads as much of a concept as its dose asks for, nothing.

    A dose asks for a level, that of texts without the concept plus the dose's own shift. Where a position reads below
    it, the difference is added (the whole shift at most); where it reads as much already, nothing; and the rest of the
    shift, which belongs to no concept, goes with the concept that wants most.

    Args:
        directions: of the concepts at a layer, unit rows.
        levels: what texts without each concept read along it.
    """

    directions: Float[Tensor, "concepts d_model"]
    levels: Float[Tensor, " concepts"]
    _there: dict[torch.device, tuple[Tensor, Tensor, Tensor]] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        """Refuse directions that nothing can be told apart along."""
        if len(self.directions) == 0:
            raise InputError("a gate reads concepts: compose a point of at least one")

    def _on(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """Directions, what adds one along each and nothing along the others, and levels, copied to a device once."""
        if device not in self._there:
            inverse = torch.linalg.pinv(self.directions.double()).float().T
            self._there[device] = self.directions.to(device), inverse.to(device), self.levels.to(device)
        return self._there[device]

    def __call__(
        self, hidden: Float[Tensor, "rows pos d_model"], shift: Float[Tensor, "#rows #pos d_model"]
    ) -> Float[Tensor, "rows pos d_model"]:
        """Return the stream with what is missing added; see the class."""
        directions, inverse, levels = self._on(hidden.device)
        asked = shift.float() @ directions.T
        missing = levels + asked - hidden.float() @ directions.T
        wanted = torch.where(asked >= 0, missing.clamp(min=0).minimum(asked), missing.clamp(max=0).maximum(asked))
        share = torch.where(asked == 0, 0.0, wanted / torch.where(asked == 0, 1.0, asked)).amax(dim=-1, keepdim=True)
        moved: Tensor = hidden + (wanted @ inverse + share * (shift.float() - asked @ inverse)).to(hidden)
        return moved
