"""Perturbations: a pure function of (seed, index), orthogonal to the concepts, of the requested length."""

from typing import Any

import numpy as np
import pytest
import torch
from helpers.points import built, concept, points, shape_of
from hypothesis import given
from hypothesis import strategies as st

from steer.composition import steering_point
from steer.composition.steering_point import compose
from steer.search.perturbation import Perturbation, perturb
from vectors.common.errors import InputError

radii = st.floats(0.01, 4.0)
seeds = st.integers(0, 2**64 - 1)


@given(points(), radii, seeds)
def test_a_shell_keeps_every_dose_and_moves_by_the_radius(
    raw: list[tuple[Any, float]], radius: float, seed: int
) -> None:
    point = built(raw)
    rows = perturb(point, 5, radius, seed=seed)[1, "all"].double()
    delta = point.deltas[1, "all"].double()
    size = float(delta.norm())
    directions = torch.stack([vector.direction.double() for vector in point.vectors])
    tolerance = 1e-6 * (1 + radius) * size + 1e-12
    assert torch.allclose(rows @ directions.T, (directions @ delta).expand(5, -1), atol=4 * tolerance)
    assert torch.allclose(
        (rows - delta).norm(dim=1), torch.full((5,), radius * size, dtype=torch.float64), atol=tolerance
    )


@given(points(), radii, seeds)
def test_a_cap_is_a_rotation_of_the_point(raw: list[tuple[Any, float]], radius: float, seed: int) -> None:
    point = built(raw)
    rows = perturb(point, 5, radius, seed=seed, geometry="cap")[1, "all"].double()
    delta = point.deltas[1, "all"].double()
    size = float(delta.norm())
    assert torch.allclose(rows.norm(dim=1), torch.full((5,), size, dtype=torch.float64), rtol=1e-6)
    if size > 1e-6:
        cosine = rows @ delta / size**2
        assert torch.allclose(
            cosine, torch.full((5,), float(np.cos(np.arctan(radius))), dtype=torch.float64), atol=1e-6
        )


@given(points(), st.floats(0, 4), seeds, st.integers(0, 50), st.integers(1, 20), st.sampled_from(["shell", "cap"]))
def test_a_row_depends_only_on_seed_and_index(
    raw: list[tuple[Any, float]], radius: float, seed: int, start: int, n: int, geometry: str
) -> None:
    point = built(raw)
    whole = perturb(point, start + n, radius, seed=seed, geometry=geometry)[1, "all"]
    part = perturb(point, n, radius, seed=seed, start=start, geometry=geometry)[1, "all"]
    assert torch.equal(part, whole[start:])


@given(points(), seeds)
def test_radius_zero_is_the_point_bit_for_bit(raw: list[tuple[Any, float]], seed: int) -> None:
    point = built(raw)
    for geometry in ("shell", "cap"):
        rows = perturb(point, 3, 0.0, seed=seed, geometry=geometry)[1, "all"]
        assert rows.dtype == torch.float32
        assert torch.equal(rows.view(torch.int32), point.deltas[1, "all"].expand(3, -1).contiguous().view(torch.int32))
    rows.zero_()  # rows are the caller's own
    assert torch.equal(perturb(point, 1, 0.0, seed=seed)[1, "all"][0], point.deltas[1, "all"])


def test_seeds_and_samples_differ() -> None:
    point = compose({concept("cat", np.eye(16)[0]): 1.0})
    rows = torch.cat([perturb(point, 20, 1.0, seed=seed)[1, "all"] for seed in (0, 1)])
    assert len(torch.unique(rows, dim=0)) == 40


def test_directions_fill_the_sphere_evenly() -> None:
    point = compose({concept("cat", np.eye(6)[0]): 1.0})
    rows = perturb(point, 4000, 1.0, seed=3)[1, "all"].double()[:, 1:] / 2.0
    # uniform on the unit sphere of 5 dimensions: mean 0, covariance 1/5; four standard errors
    assert rows.mean(dim=0).abs().max() < 4 * np.sqrt(0.2 / 4000)
    assert (rows.T @ rows / 4000 - torch.eye(5) / 5).abs().max() < 4 * 0.19 / np.sqrt(4000)


def test_a_layers_directions_do_not_depend_on_the_other_shifts() -> None:
    low, high = concept("low", np.eye(16)[0], layer=0), concept("high", np.eye(16)[0], layer=3)
    both = perturb(compose({low: 1.0, high: 1.0}), 4, 0.5, seed=1)
    assert torch.equal(both[0, "all"], perturb(compose({low: 1.0}), 4, 0.5, seed=1)[0, "all"])
    assert not torch.equal(both[0, "all"], both[3, "all"])


def test_a_zero_point_stays_zero() -> None:
    rows = perturb(compose({concept("cat", np.eye(16)[0]): 0.0}), 4, 2.0, seed=1)[1, "all"]
    assert rows.shape == (4, 16)
    assert not rows.any()


def test_one_free_dimension_is_enough_and_none_is_not() -> None:
    cast = {concept(f"c{i}", np.eye(3)[i]): 1.0 for i in range(2)}
    rows = perturb(compose(cast), 20, 1.0, seed=0)[1, "all"]
    assert torch.allclose(rows[:, 2].abs(), torch.full((20,), float(np.sqrt(8.0))))
    assert len(torch.unique(rows[:, 2].sign())) == 2
    full = compose(cast | {concept("c2", np.eye(3)[2]): 1.0})
    with pytest.raises(InputError, match="3 concepts at layer 1 span all its 3 dimensions: use radius 0"):
        perturb(full, 1, 0.1, seed=0)
    assert perturb(full, 2, 0.0, seed=0)[1, "all"].shape == (2, 3)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"n": 0}, "n is 0"),
        ({"n": -3}, "n is -3"),
        ({"radius": -0.1}, "radius is -0.1"),
        ({"radius": float("nan")}, "radius is nan"),
        ({"radius": float("inf")}, "radius is inf"),
        ({"radius": 1e30}, "radius is 1e[+]30"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 2**64}, "seed is"),
        ({"start": -1}, "start is -1"),
        ({"start": 2**64 - 1, "n": 2}, "start [+] n - 1"),
        ({"geometry": "cube"}, "geometry is 'cube': choose from shell, cap"),
    ],
)
def test_invalid_arguments_are_refused(change: dict[str, Any], why: str) -> None:
    point = compose({concept("cat", np.eye(16)[0]): 1.0})
    with pytest.raises(InputError, match=why) as caught:
        perturb(point, **({"n": 2, "radius": 0.5, "seed": 0} | change))
    assert len(str(caught.value).splitlines()) == 1


@given(points(), radii, seeds)
def test_the_natural_geometry_keeps_every_dose_and_moves_by_the_radius(
    raw: list[tuple[Any, float]], radius: float, seed: int
) -> None:
    point = built(raw)
    covariances = {1: shape_of(len(point.deltas[1, "all"]))}
    how = {"seed": seed, "geometry": "natural", "covariances": covariances}
    rows = perturb(point, 5, radius, **how)[1, "all"].double()
    delta = point.deltas[1, "all"].double()
    size = float(delta.norm())
    directions = torch.stack([vector.direction.double() for vector in point.vectors])
    tolerance = 1e-6 * (1 + radius) * size + 1e-12
    assert torch.allclose(rows @ directions.T, (directions @ delta).expand(5, -1), atol=4 * tolerance)
    assert torch.allclose((rows - delta).norm(dim=1), torch.full((5,), radius * size).double(), atol=tolerance)
    assert torch.equal(perturb(point, 2, radius, start=3, **how)[1, "all"].double(), rows[3:])


def test_natural_directions_follow_the_covariance() -> None:
    point, covariances = compose({concept("cat", np.eye(16)[0]): 1.0}), {1: shape_of(16)}
    rows = perturb(point, 2000, 1.0, seed=3, geometry="natural", covariances=covariances)[1, "all"].double() / 2.0
    rows[:, 0] = 0.0  # the point's own
    along = (rows @ covariances[1].basis.T).square().mean(dim=0)
    # of Gaussian directions before they are made one long; the concept takes a little from each
    assert torch.corrcoef(torch.stack([along, covariances[1].deviations.square()]))[0, 1] > 0.9
    with pytest.raises(InputError, match="needs the covariance of activations at layer 1"):
        perturb(point, 2, 1.0, seed=3, geometry="natural")
    with pytest.raises(InputError, match="needs the covariance of activations at layer 1"):
        perturb(point, 2, 1.0, seed=3, geometry="natural", covariances={0: covariances[1]})


def test_a_batch_takes_any_indices_and_one_gram_schmidt_a_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    real = steering_point.orthonormal
    monkeypatch.setattr(steering_point, "orthonormal", lambda rows: calls.append(len(rows)) or real(rows))
    low, high = concept("low", np.eye(16)[0], layer=0), concept("high", np.eye(16)[1], layer=3)
    point = compose({low: 1.0, high: 1.0})
    ball = Perturbation(point, 0.5, 7, "shell")
    first, second = ball.shifts([9, 2, 2]), ball.shifts(range(10))
    assert calls == [1, 1]
    for site in point.deltas:
        assert torch.equal(first[site], second[site][[9, 2, 2]])
        assert torch.equal(second[site], perturb(point, 10, 0.5, seed=7)[site])
