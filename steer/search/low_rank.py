"""Perturbations of low rank: a centre, a basis, and coefficients, as a serving engine can hold them."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, Float64
from torch import Tensor

from steer.composition.steering_point import SteeringPoint
from steer.search.perturbation import check_radius, check_spread, concept_basis, project_out, scaled_centre
from vectors.activations.covariance import LowRankCovariance
from vectors.common.rng import Stream, rng
from vectors.common.validation import MAX_SEED, check_integer

_PART = 1 << 32  # added to the layer: these directions draw from streams of their own
_Rows = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


@dataclass(frozen=True, eq=False)
class LowRank:
    """The shifts of many samples at one layer, as a centre and few directions: sample `i` is `row(i)`.

    Attributes:
        centre: what all have in common, "d_model".
        basis: the directions searched, "rank d_model".
        coefficients: how far each sample goes along each of them, "n rank".
    """

    centre: Float64[Tensor, " d_model"]
    basis: Float64[Tensor, "rank d_model"]
    coefficients: Float64[Tensor, "n rank"]

    def row(self, index: int) -> Float32[Tensor, " d_model"]:
        """Return the shift of one sample."""
        return (self.centre + self.coefficients[index] @ self.basis).float()

    def rows(self) -> Float32[Tensor, "n d_model"]:
        """Return the shifts of all."""
        return (self.centre + self.coefficients @ self.basis).float()


def low_rank(
    point: SteeringPoint,
    n: int,
    radius: float,
    *,
    rank: int,
    seed: int,
    geometry: str = "shell",
    spread: Mapping[int, LowRankCovariance] | None = None,
) -> dict[int, LowRank]:
    """Return shifts as `perturb` does, but all of them within `rank` directions that the seed chooses.

    However many samples there are, `rank + 1` vectors a layer hold them. Of a `natural` geometry the directions are
    the ones that activations vary along most.

    Raises:
        InputError: as `perturb`, or more directions than there are beside the concepts.
    """
    count, key, r = check_integer(n, "n", low=1), check_integer(seed, "seed", high=MAX_SEED), check_radius(radius)
    check_spread(point, geometry, spread)
    result = {}
    for layer, delta in point.deltas.items():
        centre, length, shrink = scaled_centre(delta, r, geometry)
        concepts = concept_basis(point, layer)
        most = len(delta) - len(concepts)
        shape = spread[layer] if spread is not None and geometry == "natural" else None
        if shape is not None:
            most = min(most, len(shape.basis))
        size = check_integer(rank, "rank", low=1, high=most)
        rows = (
            shape.basis.numpy()[:size]
            if shape is not None
            else orthogonal_directions(concepts, size, seed=key, layer=layer)
        )
        rows = np.stack([project_out(concepts, row) for row in rows])
        widths = np.ones(size) if shape is None else shape.deviations.numpy()[:size]
        white = np.stack([rng(key, i, Stream.DIRECTION, part=layer).standard_normal(size) for i in range(count)])
        coefficients = white * widths
        lengths = np.sqrt(((coefficients @ rows) ** 2).sum(axis=1, keepdims=True))
        coefficients *= r * length * shrink / lengths
        result[layer] = LowRank(*(torch.from_numpy(part) for part in (centre * shrink, rows, coefficients)))
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
        rest = project_out(concepts, rest / np.linalg.norm(rest))
        rows.append(rest / np.linalg.norm(rest))
    return np.stack(rows)
