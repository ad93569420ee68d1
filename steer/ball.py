"""From a steering point and a radius to one direction per sample: doses as asked, everything else searched."""

import math

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from steer.point import SteeringPoint
from vectors.checks import MAX_SEED, number, shown, whole
from vectors.errors import InputError
from vectors.randomness import Stream, rng

GEOMETRIES = ("shell", "cap")
MAX_RADIUS = 1e6
_MAX_DRAWS = 100
_Rows = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


def perturb(
    point: SteeringPoint, n: int, radius: float, *, seed: int, start: int = 0, geometry: str = "shell"
) -> dict[int, Float32[Tensor, "n d_model"]]:
    """Return, for each steered layer, the shifts of samples `start` to `start + n - 1`.

    Row `i` is a pure function of the point, the radius, the geometry, the seed and the sample's own index, whatever
    `n` is. With `w` of length one and orthogonal to every concept at the layer, independent between layers: `shell`
    gives `delta + r |delta| w`: every dose stays exactly as asked, the length grows to `sqrt(1 + r^2) |delta|`;
    `cap` gives the same direction at the point's own length, a rotation by `arctan r`: all doses shrink by `1 /
    sqrt(1 + r^2)`. A radius of 0 gives copies of the point, bit for bit. The radius is relative, so the ball around a
    zero point is zero as well.

    Raises:
        InputError: when `n < 1`, the radius is negative or not finite, the seed or start is not whole and
            non-negative, the geometry is unknown, or the concepts span the whole space and leave nothing to search.
    """
    count = whole(n, "n", low=1)
    first = whole(start, "start", high=MAX_SEED)
    key = whole(seed, "seed", high=MAX_SEED)
    whole(first + count - 1, "start + n - 1", high=MAX_SEED)
    r = number(radius, "radius")
    if not 0.0 <= r <= MAX_RADIUS:
        raise InputError(
            f"radius is {r:g}: give a number from 0 (every sample the same) to {MAX_RADIUS:g}, such as 0.5"
        )
    if geometry not in GEOMETRIES:
        raise InputError(f"geometry is {shown(geometry)}: choose from {', '.join(GEOMETRIES)}")
    result = {}
    for layer, delta in point.deltas.items():
        if r == 0.0:
            result[layer] = delta.expand(count, -1).clone()
            continue
        basis: _Rows = point.span(layer).numpy()
        if len(basis) >= len(delta):
            raise InputError(
                f"the {len(basis)} concepts at layer {layer} span all its {len(delta)} dimensions: "
                "use radius 0 or fewer concepts"
            )
        centre = delta.double().numpy()
        length = math.sqrt(float((centre * centre).sum()))
        shrink = 1.0 / math.hypot(1.0, r) if geometry == "cap" else 1.0
        rows = [(centre + r * length * _outward(basis, key, first + i, layer)) * shrink for i in range(count)]
        result[layer] = torch.from_numpy(np.stack(rows)).to(torch.float32)
        if not bool(torch.isfinite(result[layer]).all()):
            raise InputError(f"radius {r:g} overflows float32 at layer {layer}: use a smaller one")
    return result


def _outward(basis: _Rows, seed: int, index: int, layer: int) -> _Rows:
    """Draw the unit direction of one sample, uniform on the sphere orthogonal to the basis rows."""
    generator = rng(seed, index, Stream.DIRECTION, part=layer)
    for _ in range(_MAX_DRAWS):
        drawn: _Rows = generator.standard_normal(basis.shape[1])
        rest = _projected_out(basis, drawn)
        length = math.sqrt(float((rest * rest).sum()))
        # so short a rest is mostly rounding error: draw again
        if length > 1e-6 * math.sqrt(float((drawn * drawn).sum())):
            rest = _projected_out(basis, rest / length)
            unit: _Rows = rest / math.sqrt(float((rest * rest).sum()))
            return unit
    raise InputError(f"found no direction orthogonal to the concepts at layer {layer}: use radius 0 or fewer concepts")


def _projected_out(basis: _Rows, row: _Rows) -> _Rows:
    # sums instead of matrix products: their order, so their rounding, does not hang on the BLAS of the machine
    for each in basis:
        row = row - (each * row).sum() * each
    return row
