"""Steering points of random directions, and covariances, for tests of the search."""

from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st

from steer.composition.steering_point import SteeringPoint, compose
from vectors.activations.covariance import LowRankCovariance
from vectors.concepts.vector import ConceptVector


def concept(name: str, direction: Any, **changes: Any) -> ConceptVector:
    """A vector of a model that does not exist, along a direction."""
    row = torch.as_tensor(np.asarray(direction, dtype=np.float64))
    fields: dict[str, Any] = {
        "name": name,
        "model": "tiny",
        "model_hash": "0123456789abcdef",
        "layer": 1,
        "direction": row / row.norm(),
        "mean": torch.zeros(len(row)),
        "gap": 2.0,
        "method": "mean",
        "positions": "all",
        "created": "2024-01-02T03:04:05+00:00",
    }
    return ConceptVector(**(fields | changes))


def axis(name: str, *weights: float, **changes: Any) -> ConceptVector:
    """A vector in 16 dimensions with these first coordinates."""
    return concept(name, np.pad(np.array(weights), (0, 16 - len(weights))), **changes)


DOSES = st.just(0.0) | st.floats(1e-6, 3) | st.floats(-3, -1e-6)  # a shift too small for float32 is refused


@st.composite
def points(draw: st.DrawFn) -> list[tuple[Any, float]]:
    """Random directions, each with a dose."""
    generator = np.random.default_rng(draw(st.integers(0, 10**6)))
    width, size = draw(st.integers(8, 64)), draw(st.integers(1, 4))
    rows = generator.standard_normal((size, width))
    doses = draw(st.lists(DOSES, min_size=size, max_size=size))
    return list(zip(rows, doses, strict=True))


def built(raw: list[tuple[Any, float]]) -> SteeringPoint:
    # random rows in few dimensions may be near parallel, which "exact" refuses
    return compose({concept(f"c{i}", row): dose for i, (row, dose) in enumerate(raw)}, method="sum")


def shape_of(width: int, *, seed: int = 0, layer: int = 1) -> LowRankCovariance:
    """A covariance with a few directions of large variance."""
    generator = np.random.default_rng(seed)
    modes = np.linalg.qr(generator.standard_normal((width, width)))[0][: width // 2]
    wide = np.sort(generator.uniform(1, 9, len(modes)))[::-1].copy()
    return LowRankCovariance(
        layer=layer, mean=torch.zeros(width, dtype=torch.float64), basis=torch.from_numpy(modes),
        deviations=torch.from_numpy(wide), rest=0.5, distances=np.arange(5.0), count=99,
    )  # fmt: skip
