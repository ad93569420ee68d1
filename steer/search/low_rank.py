"""Perturbations of low rank: a centre, a basis and coefficients, a form that a serving engine can hold."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, Float64
from torch import Tensor

from steer.composition.steering_point import SteeringPoint
from steer.search.perturbation import (
    cap_scale,
    check_covariances,
    check_geometry,
    check_radius,
    concept_basis,
    norm,
    project_out,
)
from vectors.activations.covariance import LowRankCovariance
from vectors.common.rng import Stream, rng
from vectors.common.validation import MAX_SEED, check_integer
from vectors.model.positions import Site

_PART = 1 << 32  # added to the layer, so that the basis has a random stream of its own
_Rows = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


@dataclass(frozen=True, eq=False)
class LowRank:
    """The shifts of many samples at one site: `centre + coefficients @ basis`.

    Attributes:
        centre: the shift that all samples share, "d_model".
        basis: the directions of the perturbations, "rank d_model".
        coefficients: one row per sample, "n rank".
    """

    centre: Float64[Tensor, " d_model"]
    basis: Float64[Tensor, "rank d_model"]
    coefficients: Float64[Tensor, "n rank"]

    def row(self, index: int) -> Float32[Tensor, " d_model"]:
        """Return the shift of one sample, in float32."""
        return (self.centre + self.coefficients[index] @ self.basis).float()

    def rows(self) -> Float32[Tensor, "n d_model"]:
        """Return the shifts of all samples, in float32."""
        return (self.centre + self.coefficients @ self.basis).float()


def low_rank(
    point: SteeringPoint,
    n: int,
    radius: float,
    *,
    rank: int,
    seed: int,
    geometry: str = "shell",
    covariances: Mapping[int, LowRankCovariance] | None = None,
) -> dict[Site, LowRank]:
    """Return shifts by site as `perturb` does, but all of them within `rank` directions.

    A site needs `rank + 1` vectors, however many samples there are. The seed chooses the directions; for the geometry
    `natural` they are those of the largest variance.

    Raises:
        InputError: as `perturb`, or a rank above the number of dimensions that the concepts leave free.
    """
    count, seed, radius = check_integer(n, "n", low=1), check_integer(seed, "seed", high=MAX_SEED), check_radius(radius)
    check_covariances(point, check_geometry(geometry), covariances)
    shrink = cap_scale(radius, geometry)
    result = {}
    for (layer, where), delta in point.deltas.items():
        centre = delta.double().numpy()
        concepts = concept_basis(point, layer)
        covariance = covariances[layer] if covariances is not None and geometry == "natural" else None
        free = len(delta) - len(concepts)
        most = free if covariance is None else min(free, len(covariance.basis))
        size = check_integer(rank, "rank", low=1, high=most)
        if covariance is None:
            rows, deviations = orthogonal_directions(concepts, size, seed=seed, layer=layer), np.ones(size)
        else:
            rows, deviations = covariance.basis.numpy()[:size], covariance.deviations.numpy()[:size]
        rows = np.stack([project_out(concepts, row) for row in rows])
        white = np.stack([rng(seed, i, Stream.DIRECTION, part=layer).standard_normal(size) for i in range(count)])
        coefficients = white * deviations
        lengths = np.sqrt(((coefficients @ rows) ** 2).sum(axis=1, keepdims=True))
        coefficients *= radius * norm(centre) * shrink / lengths
        result[layer, where] = LowRank(*(torch.from_numpy(part) for part in (centre * shrink, rows, coefficients)))
    return result


def orthogonal_directions(concepts: _Rows, count: int, *, seed: int, layer: int) -> _Rows:
    """Return unit directions orthogonal to the concepts, from a random orthogonal matrix.

    Source: Mezzadri, "How to generate random matrices from the classical compact groups" (2007).
    """
    width = concepts.shape[1]
    normal = rng(seed, 0, Stream.DIRECTION, part=layer + _PART).standard_normal((width, width))
    orthogonal, upper = np.linalg.qr(normal)
    rows = []
    for row in (orthogonal * np.sign(np.diag(upper))).T[:count]:
        rest = project_out(concepts, row)
        rest = project_out(concepts, rest / norm(rest))  # twice: rounding leaves a little along the concepts
        rows.append(rest / norm(rest))
    return np.stack(rows)
