"""From activations of a contrast set to a direction: one function a method."""

from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor

from vectors.activations import Moments
from vectors.errors import VectorError

Direction = Float64[Tensor, " d_model"]


@dataclass(frozen=True)
class Reading:
    """What was read at one layer: moments of the texts with the concept and of the background."""

    positive: Moments
    background: Moments

    @property
    def difference(self) -> Direction:
        """Mean of positives minus mean of background."""
        return self.positive.mean - self.background.mean


def mean_difference(reading: Reading) -> Direction:
    """Return the difference of the two means.

    Source: Marks and Tegmark, "The geometry of truth" (2023); Rimsky et al., "Steering Llama 2" (2023).
    """
    return reading.difference


def pca(reading: Reading) -> Direction:
    """Return the first principal axis of the positives' differences from the background mean, signed towards them.

    The differences are not centred, so that the axis carries both the shift and the spread of the positives.
    Source: Zou et al., "Representation engineering" (2023), with the background mean in place of a paired text.

    Raises:
        VectorError: moments without second moments.
    """
    scatter = reading.positive.scatter
    if scatter is None:
        raise VectorError("pca needs second moments: read the texts with second=True")
    shift = reading.difference
    axis: Tensor = torch.linalg.eigh(scatter + reading.positive.count * torch.outer(shift, shift)).eigenvectors[:, -1]
    return axis if float(axis @ shift) >= 0 else -axis


def unit(direction: Direction, *, what: str) -> Direction:
    """Return the direction at length one.

    Raises:
        VectorError: a direction without length or with NaN in it.
    """
    length = float(direction.norm())
    if not 0 < length < float("inf"):
        raise VectorError(f"{what} has length {length:g}: the texts of both sides look alike here; give others")
    return direction / length
