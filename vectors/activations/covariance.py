"""How natural activations vary at a layer: the directions they vary along most, how far, and how far along the rest."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from vectors.activations.moments import Moments, moments
from vectors.activations.text_activations import text_means
from vectors.common.errors import InputError
from vectors.common.validation import check_integer
from vectors.model.residual_model import ResidualModel

RANK = 64
"""Directions that are told apart, at most; along all others activations are taken to vary alike."""

FEWEST = 32
"""Texts, at least: fewer say nothing about how texts vary."""


@dataclass(frozen=True, eq=False)
class LowRankCovariance:
    """The covariance of texts' mean activations at one layer, of low rank and a constant along everything else.

    Attributes:
        layer: 0-based block whose output it was read from.
        mean: of all texts, "d_model".
        basis: the leading directions, orthonormal rows, "rank d_model".
        deviations: standard deviation along each of them, falling.
        rest: standard deviation along every direction at right angles to them.
        distances: Mahalanobis distances of natural texts, in order.
        count: texts that it was measured on.
    """

    layer: int
    mean: Float64[Tensor, " d_model"] = field(repr=False)
    basis: Float64[Tensor, "rank d_model"] = field(repr=False)
    deviations: Float64[Tensor, " rank"] = field(repr=False)
    rest: float
    distances: np.ndarray = field(repr=False)
    count: int

    def colour(self, white: Float64[Tensor, "rows d_model"]) -> Float64[Tensor, "rows d_model"]:
        """Return standard normal rows as rows of this covariance around zero."""
        along = white @ self.basis.T
        return self.rest * white + (along * (self.deviations - self.rest)) @ self.basis

    def distance(self, shifts: Float64[Tensor, "rows d_model"]) -> Float64[Tensor, " rows"]:
        """Return the Mahalanobis distance of each shift from no shift."""
        along = shifts @ self.basis.T
        outside = (shifts.square().sum(dim=-1) - along.square().sum(dim=-1)).clamp(min=0)
        return ((along / self.deviations).square().sum(dim=-1) + outside / self.rest**2).sqrt()

    def percentile(self, shift: Float[Tensor, " d_model"]) -> float:
        """Return the share of natural texts that lie no farther from the mean than the shift does from zero."""
        found = float(self.distance(shift.double()[None])[0])
        return float(np.searchsorted(self.distances, found, side="right") / len(self.distances))

    @cached_property
    def digest(self) -> str:
        """Hexadecimal digest of what directions are drawn from."""
        content = hashlib.sha256(f"{self.layer} {self.rest!r}".encode())
        for tensor in (self.basis, self.deviations):
            content.update(tensor.numpy().tobytes())
        return content.hexdigest()


def estimate_covariance(
    model: ResidualModel, texts: Sequence[str], layer: int, *, rank: int = RANK
) -> LowRankCovariance:
    """Return how the mean activations of some texts vary at a layer.

    Args:
        model: the model that reads them.
        texts: natural ones: the more they are like what the model writes by itself, the better.
        layer: 0-based block.
        rank: directions that are told apart, at most a quarter as many as texts.

    Raises:
        InputError: too few texts, or texts that do not vary.
        ModelError: activations that are not finite.
    """
    if len(texts) < FEWEST:
        raise InputError(f"{len(texts)} texts say too little about how texts vary: give at least {FEWEST}")
    wanted = min(check_integer(rank, "rank", low=1), model.d_model - 1, len(texts) // 4)
    found: Moments = moments(model, texts, [layer], second=True)[layer]
    scatter = found.scatter
    assert scatter is not None
    values, modes = torch.linalg.eigh(scatter / (found.count - 1))
    values, modes = values.flip(0).clamp(min=0), modes.flip(1)
    rest = float(values[wanted:].mean().sqrt())
    floor = float(values[0].sqrt()) * 1e-6
    if floor == 0.0:
        raise InputError("the texts do not vary at this layer: give different ones")
    # the sign of an eigenvector means nothing: the largest entry is made positive, so that a seed means one thing
    basis = modes[:, :wanted].T
    largest = basis.gather(1, basis.abs().argmax(dim=1, keepdim=True))
    basis = basis * largest.sign()
    shape = LowRankCovariance(
        layer=layer,
        mean=found.mean,
        basis=basis.contiguous(),
        deviations=values[:wanted].sqrt().clamp(min=floor),
        rest=max(rest, floor),
        distances=np.zeros(0),
        count=round(found.count),
    )
    far = [shape.distance(means[layer].cpu().double() - found.mean) for _, means in text_means(model, texts, [layer])]
    object.__setattr__(shape, "distances", np.sort(torch.cat(far).numpy()))
    return shape
