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
    shift = reading.difference
    return towards(_first_axis(scatter_of(reading.positive, about=reading.background.mean)), shift)


def pca_centred(reading: Reading) -> Direction:
    """Return the first principal axis of both sides around the midpoint of their means, signed towards the positives.

    Each side counts as much as the other, however many texts it has.
    Source: as `pca`; the centring is that of repeng's `pca_center`.

    Raises:
        VectorError: moments without second moments.
    """
    middle = (reading.positive.mean + reading.background.mean) / 2
    sides = [scatter_of(side, about=middle) / side.count for side in (reading.positive, reading.background)]
    return towards(_first_axis(sides[0] + sides[1]), reading.difference)


def pca_of_pairs(differences: Moments) -> Direction:
    """Return the first principal axis of the differences of pairs, not centred, signed towards the first of each.

    Raises:
        VectorError: moments without second moments.
    """
    return towards(_first_axis(scatter_of(differences, about=0 * differences.mean)), differences.mean)


def lda(reading: Reading) -> Direction:
    """Return the whitened mean difference: Fisher's discriminant with a covariance that is shrunk.

    The covariance is that within the two sides, each by its number of texts, shrunk towards a multiple of the identity
    by Chen et al., "Shrinkage algorithms for MMSE covariance estimation" (2010, the oracle approximation).

    Raises:
        VectorError: moments without second moments.
    """
    within = scatter_of(reading.positive, about=reading.positive.mean)
    within = within + scatter_of(reading.background, about=reading.background.mean)
    n = reading.positive.count + reading.background.count
    found: Tensor = torch.linalg.solve(shrunk(within / n, n), reading.difference)
    return found


def shrunk(covariance: Float64[Tensor, "d_model d_model"], n: float) -> Float64[Tensor, "d_model d_model"]:
    """Return a covariance of `n` rows shrunk towards its mean variance times the identity.

    >>> shrunk(torch.diag(torch.tensor([3.0, 1.0], dtype=torch.float64)), 1e9).diagonal().round(decimals=3).tolist()
    [3.0, 1.0]
    """
    d_model = len(covariance)
    variance = covariance.diagonal().mean()
    alpha = covariance.square().mean()
    above, below = alpha + variance**2, (n + 1) * (alpha - variance**2 / d_model)
    share = min(float(above / below), 1.0) if below > 0 else 1.0
    shared: Tensor = (1 - share) * covariance
    return shared + share * variance * torch.eye(d_model, dtype=torch.float64)


def scatter_of(side: Moments, *, about: Direction) -> Float64[Tensor, "d_model d_model"]:
    """Return the sum of the outer products of a side's deviations from any point.

    Raises:
        VectorError: moments without second moments.
    """
    if side.scatter is None:
        raise VectorError("this method needs second moments: read the texts with second=True")
    step = side.mean - about
    return side.scatter + side.count * torch.outer(step, step)


def towards(axis: Direction, shift: Direction) -> Direction:
    """Return the axis, turned round if it points away from where the shift goes."""
    return axis if float(axis @ shift) >= 0 else -axis


def _first_axis(scatter: Float64[Tensor, "d_model d_model"]) -> Direction:
    axis: Tensor = torch.linalg.eigh(scatter).eigenvectors[:, -1]
    return axis


def unit(direction: Direction, *, what: str) -> Direction:
    """Return the direction at length one.

    Raises:
        VectorError: a direction without length or with NaN in it.
    """
    length = float(direction.norm())
    if not 0 < length < float("inf"):
        raise VectorError(f"{what} has length {length:g}: the texts of both sides look alike here; give others")
    return direction / length
