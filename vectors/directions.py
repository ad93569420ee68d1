"""From activations of a contrast set to a direction: one function a method."""

from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor

from vectors.activations import Moments
from vectors.errors import VectorError

_BACKWARD = 0.3  # cosine against the difference beyond which a learned direction is refused, not turned

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


def leaning(direction: Direction, difference: Direction, *, cosine: float) -> Direction:
    """Return the direction, turned just so far that its cosine with the difference of means is at least `cosine`.

    A learned direction may be at right angles to the difference, or a little beyond; its natural gap must be positive.

    Raises:
        VectorError: a direction that clearly points away from the difference.

    >>> backward, forward = torch.tensor([[1.0, -0.1], [0.0, 2.0]], dtype=torch.float64)
    >>> leaning(backward, forward, cosine=0.0).tolist()
    [1.0, 0.0]
    """
    towards = unit(difference, what="the difference of means")
    along = float(direction @ towards)
    if along < -_BACKWARD * float(direction.norm()):
        raise VectorError(
            f"the learned direction points away from its texts (cosine {along / float(direction.norm()):.2f}): "
            "give more texts, another layer or another method"
        )
    across = direction - along * towards
    least = cosine / (1 - cosine**2) ** 0.5 * float(across.norm())
    turned: Tensor = across + max(along, least) * towards
    return turned


def unit(direction: Direction, *, what: str) -> Direction:
    """Return the direction at length one.

    Raises:
        VectorError: a direction without length or with NaN in it.
    """
    length = float(direction.norm())
    if not 0 < length < float("inf"):
        raise VectorError(f"{what} has length {length:g}: the texts of both sides look alike here; give others")
    return direction / length
