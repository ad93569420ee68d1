"""The covariance of texts' mean activations at a layer: a few leading directions, and a constant elsewhere."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from vectors.activations.moments import Moments, moments
from vectors.activations.text_activations import encode_texts, text_means
from vectors.common.errors import InputError
from vectors.common.validation import check_integer
from vectors.model.residual_model import ResidualModel

RANK = 64
"""Maximum rank: variance along all other directions is taken to be equal."""

FEWEST = 32
"""Minimum number of texts."""


@dataclass(frozen=True, eq=False)
class LowRankCovariance:
    """The covariance of texts' mean activations at one layer: low rank, plus a constant along all other directions.

    Attributes:
        layer: 0-based block whose output it was read from.
        mean: mean of all texts, "d_model".
        basis: leading directions, orthonormal rows, "rank d_model".
        deviations: standard deviation along each of them, largest first, "rank".
        rest: standard deviation along every orthogonal direction.
        distances: Mahalanobis distances of the texts from their mean, sorted.
        count: number of texts.
    """

    layer: int
    mean: Float64[Tensor, " d_model"] = field(repr=False)
    basis: Float64[Tensor, "rank d_model"] = field(repr=False)
    deviations: Float64[Tensor, " rank"] = field(repr=False)
    rest: float
    distances: np.ndarray = field(repr=False)
    count: int

    def colour(self, white: Float64[Tensor, "rows d_model"]) -> Float64[Tensor, "rows d_model"]:
        """Transform standard normal rows into rows with this covariance and mean zero."""
        coordinates = white @ self.basis.T
        return self.rest * white + (coordinates * (self.deviations - self.rest)) @ self.basis

    def distance(self, shifts: Float64[Tensor, "rows d_model"]) -> Float64[Tensor, " rows"]:
        """Return the Mahalanobis length of each shift."""
        coordinates = shifts @ self.basis.T
        outside = (shifts.square().sum(dim=-1) - coordinates.square().sum(dim=-1)).clamp(min=0)
        return ((coordinates / self.deviations).square().sum(dim=-1) + outside / self.rest**2).sqrt()

    def percentile(self, shift: Float[Tensor, " d_model"]) -> float:
        """Return the share of texts whose distance from the mean is at most the length of the shift."""
        length = float(self.distance(shift.double()[None])[0])
        return float(np.searchsorted(self.distances, length, side="right") / len(self.distances))

    @cached_property
    def digest(self) -> str:
        """Hexadecimal digest of the layer, the basis and the standard deviations."""
        content = hashlib.sha256(f"{self.layer} {self.rest!r}".encode())
        for tensor in (self.basis, self.deviations):
            content.update(tensor.numpy().tobytes())
        return content.hexdigest()


def estimate_covariance(
    model: ResidualModel, texts: Sequence[str], layer: int, *, rank: int = RANK
) -> LowRankCovariance:
    """Estimate the covariance of the texts' mean activations at a layer.

    Args:
        model: the model.
        texts: natural texts, best ones like those that the model writes without a prompt.
        layer: 0-based block.
        rank: maximum rank; it is also at most a quarter of the number of texts.

    Raises:
        InputError: there are too few texts, or they do not vary.
        ModelError: activations are not finite.
    """
    if len(texts) < FEWEST:
        raise InputError(f"{len(texts)} texts are too few for a covariance: give at least {FEWEST}")
    rank = min(check_integer(rank, "rank", low=1), model.d_model - 1, len(texts) // 4)
    rows = encode_texts(model, texts)
    text_moments: Moments = moments(model, rows, [layer], second=True)[layer]
    scatter = text_moments.scatter
    assert scatter is not None
    variances, modes = torch.linalg.eigh(scatter / (text_moments.count - 1))
    variances, modes = variances.flip(0).clamp(min=0), modes.flip(1)
    rest = float(variances[rank:].mean().sqrt())
    floor = float(variances[0].sqrt()) * 1e-6
    if floor == 0.0:
        raise InputError("the texts do not vary at this layer: give different ones")
    # the sign of an eigenvector is arbitrary: a positive largest entry makes results of a seed reproducible
    basis = modes[:, :rank].T
    largest = basis.gather(1, basis.abs().argmax(dim=1, keepdim=True))
    basis = basis * largest.sign()
    covariance = LowRankCovariance(
        layer=layer,
        mean=text_moments.mean,
        basis=basis.contiguous(),
        deviations=variances[:rank].sqrt().clamp(min=floor),
        rest=max(rest, floor),
        distances=np.zeros(0),
        count=round(text_moments.count),
    )
    distances = [
        covariance.distance(means[layer].cpu().double() - text_moments.mean)
        for _, means in text_means(model, rows, [layer])
    ]
    object.__setattr__(covariance, "distances", np.sort(torch.cat(distances).numpy()))
    return covariance
