"""Low-rank perturbations: doses and lengths as for `perturb`, and rows that do not depend on their number."""

from typing import Any

import numpy as np
import pytest
import torch
from helpers.points import built, concept, points, shape_of
from hypothesis import given
from hypothesis import strategies as st

from steer.composition.steering_point import compose
from steer.search.low_rank import low_rank, orthogonal_directions
from vectors.common.errors import InputError

radii = st.floats(0.01, 4.0)
seeds = st.integers(0, 2**64 - 1)


@given(points(), radii, seeds, st.sampled_from(["shell", "cap", "natural"]))
def test_low_rank_keeps_doses_and_lengths(
    raw: list[tuple[Any, float]], radius: float, seed: int, geometry: str
) -> None:
    point = built(raw)
    delta = point.deltas[1, "all"].double()
    covariances = {1: shape_of(len(delta))} if geometry == "natural" else None
    rank = min(3, len(delta) - len(point.vectors))
    found = low_rank(point, 40, radius, rank=rank, seed=seed, geometry=geometry, covariances=covariances)[1, "all"]
    assert found.basis.shape == (rank, len(delta)) and found.coefficients.shape == (40, rank)
    rows, size = found.rows().double(), float(delta.norm())
    assert torch.equal(found.row(7), found.rows()[7]) or torch.allclose(found.row(7), found.rows()[7], rtol=1e-5)
    shrink = 1 / np.hypot(1, radius) if geometry == "cap" else 1.0
    tolerance = 2e-6 * (1 + radius) * size + 1e-12
    directions = torch.stack([vector.direction.double() for vector in point.vectors])
    assert torch.allclose(rows @ directions.T, (directions @ delta * shrink).expand(40, -1), atol=4 * tolerance)
    away = (rows - delta * shrink).norm(dim=1)
    assert torch.allclose(away, torch.full((40,), radius * size * shrink).double(), atol=tolerance)
    more = low_rank(point, 50, radius, rank=rank, seed=seed, geometry=geometry, covariances=covariances)[1, "all"]
    assert torch.equal(more.coefficients[:40], found.coefficients)


def test_a_rank_above_the_free_dimensions_is_refused() -> None:
    point = compose({concept("cat", np.eye(4)[0]): 1.0})
    with pytest.raises(InputError, match="rank is 4"):
        low_rank(point, 2, 1.0, rank=4, seed=0)


def test_directions_are_orthogonal_to_the_concepts_and_of_length_one() -> None:
    concepts = np.eye(8)[:2]
    rows = orthogonal_directions(concepts, 5, seed=3, layer=1)
    assert np.abs(rows @ concepts.T).max() < 1e-12
    assert np.allclose(np.linalg.norm(rows, axis=1), 1.0, atol=1e-12)
    assert np.array_equal(rows[:2], orthogonal_directions(concepts, 2, seed=3, layer=1))
