"""From a steering point and a radius to one shift per sample: the doses stay as asked, other directions vary."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from steer.composition.steering_point import SteeringPoint
from vectors.common.errors import InputError
from vectors.common.rng import Stream, rng
from vectors.common.validation import MAX_SEED, check_integer, check_number, quote
from vectors.model.positions import Site

if TYPE_CHECKING:
    from vectors.activations.covariance import LowRankCovariance

GEOMETRIES = ("shell", "cap", "natural")
MAX_RADIUS = 1e6
_MAX_DRAWS = 100
_Rows = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


def perturb(
    point: SteeringPoint,
    n: int,
    radius: float,
    *,
    seed: int,
    start: int = 0,
    geometry: str = "shell",
    covariances: "Mapping[int, LowRankCovariance] | None" = None,
) -> dict[Site, Float32[Tensor, "n d_model"]]:
    """Return, for each steered site, the shifts of samples `start` to `start + n - 1`.

    Row `i` is a pure function of the point, the radius, the geometry, the seed and the sample's index; it does not
    depend on `n`. With `w` of length one and orthogonal to every concept at the layer, the same for all positions at a
    layer and independent between layers:

    - `shell` gives `delta + r |delta| w`: every dose stays exactly as asked, the length grows to
      `sqrt(1 + r^2) |delta|`; `w` is uniform on its sphere;
    - `cap` gives the same direction at the point's own length, a rotation by `arctan r`: all doses shrink by
      `1 / sqrt(1 + r^2)`;
    - `natural` is a shell whose `w` has the covariance of natural activations, `covariances[layer]`, before the
      concepts are projected out and its length is made one.

    A radius of 0 gives copies of the point, bit for bit. The radius is relative to the point's length, so a zero point
    stays zero.

    Raises:
        InputError: when `n < 1`, the radius is negative or not finite, the seed or start is not whole and
            non-negative, the geometry is unknown or lacks its covariances, or the concepts span the whole space and
            leave no other direction.
    """
    count = check_integer(n, "n", low=1)
    first = check_integer(start, "start", high=MAX_SEED)
    check_integer(first + count - 1, "start + n - 1", high=MAX_SEED)
    perturbation = Perturbation(
        point, check_radius(radius), check_integer(seed, "seed", high=MAX_SEED), check_geometry(geometry), covariances
    )
    return perturbation.shifts(range(first, first + count))


class Perturbation:
    """The perturbed shifts around one point, by sample index; see `perturb` for the formulas.

    The basis of the concepts is computed once, however many batches are drawn.

    Args:
        point: the centre.
        radius: checked by `check_radius`.
        seed: of the directions, checked.
        geometry: checked by `check_geometry`.
        covariances: of natural activations by layer, for the geometry `natural`.

    Raises:
        InputError: a layer without its covariance, or concepts that span the whole space.
    """

    def __init__(
        self,
        point: SteeringPoint,
        radius: float,
        seed: int,
        geometry: str,
        covariances: "Mapping[int, LowRankCovariance] | None" = None,
    ) -> None:
        check_covariances(point, geometry, covariances)
        self._point, self._radius = point, radius
        self._directions = {
            layer: _directions(point, layer, seed, geometry, covariances) for layer in (point.layers if radius else ())
        }
        self._shrink = cap_scale(radius, geometry)

    def shifts(self, indices: Sequence[int]) -> dict[Site, Float32[Tensor, "n d_model"]]:
        """Return the shifts of some samples by site, one row per index.

        Raises:
            InputError: a radius that overflows float32.
        """
        if not self._radius:
            return {site: delta.expand(len(indices), -1).clone() for site, delta in self._point.deltas.items()}
        directions = {
            layer: np.stack([drawn.direction(index) for index in indices]) for layer, drawn in self._directions.items()
        }
        shifts = {}
        for site, delta in self._point.deltas.items():
            centre = delta.double().numpy()
            length = self._radius * self._length(centre, site[0])
            shifts[site] = _float32((centre + length * directions[site[0]]) * self._shrink, self._radius, site[0])
        return shifts

    def _length(self, centre: _Rows, layer: int) -> float:
        """Return the length that the radius multiplies: of the composed point, not of a centre that has drifted."""
        if self._point.around is None:
            return norm(centre)
        return math.sqrt(float((((self._directions[layer].basis * centre).sum(axis=1)) ** 2).sum()))


@dataclass(frozen=True)
class _Directions:
    """The directions of perturbations at one layer, orthogonal to the rows of `basis`."""

    basis: _Rows
    covariances: tuple["LowRankCovariance", ...]
    seed: int
    layer: int

    def direction(self, index: int) -> _Rows:
        """Draw the unit direction of one sample, orthogonal to the concepts."""
        width = self.basis.shape[1]
        generator = rng(self.seed, index, Stream.DIRECTION, part=self.layer)
        for _ in range(_MAX_DRAWS):
            drawn = generator.standard_normal(width)
            for covariance in self.covariances:
                drawn = covariance.colour(torch.from_numpy(drawn)[None])[0].numpy()
            rest = project_out(self.basis, drawn)
            length = norm(rest)
            # a rest this short is mostly rounding error: draw again
            if length > 1e-6 * norm(drawn):
                rest = project_out(self.basis, rest / length)
                unit: _Rows = rest / norm(rest)
                return unit
        raise InputError(
            f"found no direction orthogonal to the concepts at layer {self.layer}: use radius 0 or fewer concepts"
        )


def _directions(
    point: SteeringPoint, layer: int, seed: int, geometry: str, covariances: "Mapping[int, LowRankCovariance] | None"
) -> _Directions:
    natural = [covariances[layer]] if covariances is not None and geometry == "natural" else []
    picked = [point.shapes[layer]] if layer in point.shapes else []
    return _Directions(concept_basis(point, layer), (*natural, *picked), seed, layer)


def check_radius(radius: float) -> float:
    """Return a radius as a float.

    Raises:
        InputError: one that is negative, huge, or no number.
    """
    r = check_number(radius, "radius")
    if not 0.0 <= r <= MAX_RADIUS:
        raise InputError(
            f"radius is {r:g}: give a number from 0 (every sample the same) to {MAX_RADIUS:g}, such as 0.5"
        )
    return r


def check_geometry(geometry: str) -> str:
    """Return the name of a geometry.

    Raises:
        InputError: an unknown name.
    """
    if geometry not in GEOMETRIES:
        raise InputError(f"geometry is {quote(geometry)}: choose from {', '.join(GEOMETRIES)}")
    return geometry


def check_covariances(
    point: SteeringPoint, geometry: str, covariances: "Mapping[int, LowRankCovariance] | None"
) -> None:
    """Refuse the geometry `natural` where a steered layer has no covariance.

    Raises:
        InputError: naming the layer.
    """
    for layer in point.layers if geometry == "natural" else ():
        if covariances is None or layer not in covariances:
            raise InputError(
                f"geometry 'natural' needs the covariance of activations at layer {layer}: give covariances="
            )


def cap_scale(radius: float, geometry: str) -> float:
    """Return the factor by which a geometry multiplies the perturbed shift, so that a cap keeps the point's length."""
    return 1.0 / math.hypot(1.0, radius) if geometry == "cap" else 1.0


def concept_basis(point: SteeringPoint, layer: int) -> _Rows:
    """Return an orthonormal basis of the concept directions at a layer, "concepts d_model".

    Raises:
        InputError: concepts that span the whole space.
    """
    basis: _Rows = point.span(layer).numpy()
    if len(basis) >= basis.shape[1]:
        raise InputError(
            f"the {len(basis)} concepts at layer {layer} span all its {basis.shape[1]} dimensions: "
            "use radius 0 or fewer concepts"
        )
    return basis


def norm(row: _Rows) -> float:
    """Return the Euclidean length of a row."""
    # a plain sum, whose rounding does not depend on the machine's BLAS
    return math.sqrt(float((row * row).sum()))


def project_out(basis: _Rows, row: _Rows) -> _Rows:
    """Return the row without its components along the basis."""
    # sums instead of matrix products, whose order and rounding depend on the machine's BLAS
    for direction in basis:
        row = row - (direction * row).sum() * direction
    return row


def _float32(rows: _Rows, radius: float, layer: int) -> Float32[Tensor, "n d_model"]:
    shifts = torch.from_numpy(rows).to(torch.float32)
    if not bool(torch.isfinite(shifts).all()):
        raise InputError(f"radius {radius:g} overflows float32 at layer {layer}: use a smaller one")
    return shifts
