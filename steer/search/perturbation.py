"""From a steering point and a radius to one direction per sample: doses as asked, everything else searched."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from steer.composition.steering_point import SteeringPoint
from vectors.activations.covariance import LowRankCovariance
from vectors.common.errors import InputError
from vectors.common.rng import Stream, rng
from vectors.common.validation import MAX_SEED, check_integer, check_number, quote

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
    spread: Mapping[int, LowRankCovariance] | None = None,
) -> dict[int, Float32[Tensor, "n d_model"]]:
    """Return, for each steered layer, the shifts of samples `start` to `start + n - 1`.

    Row `i` is a pure function of the point, the radius, the geometry, the seed and the sample's own index, whatever
    `n` is. With `w` of length one and orthogonal to every concept at the layer, independent between layers:

    - `shell` gives `delta + r |delta| w`: every dose stays exactly as asked, the length grows to
      `sqrt(1 + r^2) |delta|`; `w` is uniform on its sphere;
    - `cap` gives the same direction at the point's own length, a rotation by `arctan r`: all doses shrink by
      `1 / sqrt(1 + r^2)`;
    - `natural` is a shell whose `w` has the covariance of natural activations, `spread[layer]`, before the concepts are
      projected out and its length is made one.

    A radius of 0 gives copies of the point, bit for bit. The radius is relative, so the ball around a zero point is
    zero as well.

    Raises:
        InputError: when `n < 1`, the radius is negative or not finite, the seed or start is not whole and
            non-negative, the geometry is unknown or lacks its spread, or the concepts span the whole space and leave
            nothing to search.
    """
    count = check_integer(n, "n", low=1)
    first = check_integer(start, "start", high=MAX_SEED)
    key = check_integer(seed, "seed", high=MAX_SEED)
    check_integer(first + count - 1, "start + n - 1", high=MAX_SEED)
    r = check_radius(radius)
    check_spread(point, geometry, spread)
    result = {}
    for layer, delta in point.deltas.items():
        if r == 0.0:
            result[layer] = delta.expand(count, -1).clone()
            continue
        basis = concept_basis(point, layer)
        centre, length, shrink = scaled_centre(delta, r, geometry)
        if point.around is not None:  # the composed point is what radii are relative to, however far the centre strayed
            length = math.sqrt(float((((basis * centre).sum(axis=1)) ** 2).sum()))
        shapes = [spread[layer]] if spread is not None and geometry == "natural" else []
        shapes += [point.shapes[layer]] if layer in point.shapes else []
        drawn = _Direction(basis, tuple(shapes), key, layer)
        rows = [(centre + r * length * drawn(first + i)) * shrink for i in range(count)]
        result[layer] = _float32(np.stack(rows), r, layer)
    return result


def check_radius(radius: float) -> float:
    """Return a radius that can be used.

    Raises:
        InputError: a negative or huge one, or no number.
    """
    r = check_number(radius, "radius")
    if not 0.0 <= r <= MAX_RADIUS:
        raise InputError(
            f"radius is {r:g}: give a number from 0 (every sample the same) to {MAX_RADIUS:g}, such as 0.5"
        )
    return r


def check_geometry(geometry: str) -> str:
    """Return the name of a geometry if it is one.

    Raises:
        InputError: an unknown one.
    """
    if geometry not in GEOMETRIES:
        raise InputError(f"geometry is {quote(geometry)}: choose from {', '.join(GEOMETRIES)}")
    return geometry


def check_spread(point: SteeringPoint, geometry: str, spread: Mapping[int, LowRankCovariance] | None) -> None:
    """Refuse the geometry `natural` where a steered layer has no covariance.

    Raises:
        InputError: naming the layer.
    """
    for layer in point.deltas if check_geometry(geometry) == "natural" else ():
        if spread is None or layer not in spread:
            raise InputError(f"geometry 'natural' needs the spread of activations at layer {layer}: give spread=")


def scaled_centre(delta: Tensor, r: float, geometry: str) -> tuple[_Rows, float, float]:
    """The point in float64, its length, and by what a cap shrinks everything."""
    centre = delta.double().numpy()
    shrink = 1.0 / math.hypot(1.0, r) if geometry == "cap" else 1.0
    return centre, math.sqrt(float((centre * centre).sum())), shrink


def concept_basis(point: SteeringPoint, layer: int) -> _Rows:
    """Return an orthonormal basis of the concepts at a layer, which leaves room for other directions.

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


@dataclass(frozen=True)
class _Direction:
    """Draws the unit direction of one sample, orthogonal to the basis rows."""

    basis: _Rows
    shapes: tuple[LowRankCovariance, ...]
    seed: int
    layer: int

    def __call__(self, index: int) -> _Rows:
        width = self.basis.shape[1]
        generator = rng(self.seed, index, Stream.DIRECTION, part=self.layer)
        for _ in range(_MAX_DRAWS):
            drawn = generator.standard_normal(width)
            for shape in self.shapes:
                drawn = shape.colour(torch.from_numpy(drawn)[None])[0].numpy()
            rest = project_out(self.basis, drawn)
            length = math.sqrt(float((rest * rest).sum()))
            # so short a rest is mostly rounding error: draw again
            if length > 1e-6 * math.sqrt(float((drawn * drawn).sum())):
                rest = project_out(self.basis, rest / length)
                unit: _Rows = rest / math.sqrt(float((rest * rest).sum()))
                return unit
        raise InputError(
            f"found no direction orthogonal to the concepts at layer {self.layer}: use radius 0 or fewer concepts"
        )


def _float32(rows: _Rows, r: float, layer: int) -> Float32[Tensor, "n d_model"]:
    found = torch.from_numpy(rows).to(torch.float32)
    if not bool(torch.isfinite(found).all()):
        raise InputError(f"radius {r:g} overflows float32 at layer {layer}: use a smaller one")
    return found


def project_out(basis: _Rows, row: _Rows) -> _Rows:
    """Return the row without its components along the basis."""
    # sums instead of matrix products: their order, so their rounding, does not hang on the BLAS of the machine
    for each in basis:
        row = row - (each * row).sum() * each
    return row
