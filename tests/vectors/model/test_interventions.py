"""Interventions leave rows without a shift bit-equal; rotation keeps norms, and a gate never exceeds its target."""

import numpy as np
import pytest
import torch

from vectors.common.errors import InputError
from vectors.decoding.decode import decode
from vectors.decoding.token_costs import compute_costs
from vectors.decoding.token_sampling import Settings
from vectors.model.interventions import Gate, add, rotate


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def gate_of(*rows: torch.Tensor) -> Gate:
    directions = torch.stack([row / row.norm() for row in rows])
    return Gate(directions, torch.linspace(-1, 1, len(rows)))


@pytest.mark.parametrize("intervention", [add, rotate, gate_of(normal(8, seed=1), normal(8, seed=2))])
def test_a_row_without_a_shift_is_left_as_it_is(intervention):
    hidden, shift = normal(3, 5, 8), normal(3, 1, 8, seed=3)
    shift[1] = 0
    shifted = intervention(hidden, shift)
    assert torch.equal(shifted[1], hidden[1])
    assert not torch.equal(shifted[0], hidden[0])


def test_rotation_keeps_norms_and_has_the_direction_of_the_sum():
    hidden, shift = normal(3, 5, 8), 4 * normal(3, 1, 8, seed=3)
    rotated = rotate(hidden, shift)
    assert torch.allclose(rotated.norm(dim=-1), hidden.norm(dim=-1), rtol=1e-5)
    assert torch.allclose(torch.cosine_similarity(rotated, hidden + shift, dim=-1), torch.ones(3, 5), atol=1e-5)


def test_a_gate_reaches_its_target_and_adds_at_most_the_dose():
    gate = gate_of(normal(8, seed=1), normal(8, seed=2))
    hidden, asked = 2 * normal(2, 50, 8), torch.tensor([[1.5, 0.7], [1.0, -2.0]])
    inverse = torch.linalg.pinv(gate.directions).T
    shift = (asked @ inverse)[:, None]
    before, after = (tensor @ gate.directions.T for tensor in (hidden, gate(hidden, shift)))
    level = gate.levels + asked[:, None]
    up = asked[:, None] > 0
    rose = torch.where(up, after - before, before - after)
    assert bool((rose >= -1e-5).all()) and bool((rose <= asked[:, None].abs() + 1e-5).all())
    there = torch.where(up, before >= level, before <= level)
    assert torch.allclose(after[there], before[there], atol=1e-5)
    near = ~there & ((level - before).abs() <= asked[:, None].abs())
    assert torch.allclose(after[near], level.expand_as(after)[near], atol=1e-4)
    assert bool(there.any()) and bool(near.any())


def test_the_orthogonal_rest_is_scaled_like_the_concept():
    gate = gate_of(normal(8, seed=1))
    direction = gate.directions[0]
    orthogonal = normal(8, seed=4)
    orthogonal -= (orthogonal @ direction) * direction
    full = torch.zeros(1, 1, 8) - 9 * direction
    assert torch.allclose(gate(full, (direction + orthogonal)[None, None]), full + direction + orthogonal, atol=1e-5)
    closed = torch.zeros(1, 1, 8) + 9 * direction
    assert torch.allclose(gate(closed, (direction + orthogonal)[None, None]), closed, atol=1e-5)
    with pytest.raises(InputError, match="at least one"):
        Gate(torch.zeros(0, 8), torch.zeros(0))


@pytest.mark.parametrize("kind", ["rotate", "gate"])
def test_costs_while_sampling_equal_those_of_a_second_forward(tiny_model, kind):
    vector = normal(tiny_model.d_model, seed=5)
    interventions = {1: rotate if kind == "rotate" else gate_of(vector)}
    deltas = 3 * vector.expand(6, -1)
    found = sorted(
        decode(
            tiny_model, lambda some: {1: deltas[list(some)]}, prefix=tiny_model.start_ids(),
            settings=Settings(max_tokens=12), seed=3, indices=range(6), batch_size=4, interventions=interventions,
        ),
        key=lambda each: each.index,
    )  # fmt: skip
    again = compute_costs(
        tiny_model,
        {1: deltas},
        prefix=tiny_model.start_ids(),
        generated=[each.tokens for each in found],
        interventions=interventions,
    )
    plain = compute_costs(
        tiny_model, {1: deltas}, prefix=tiny_model.start_ids(), generated=[each.tokens for each in found]
    )
    for each, cost, other in zip(found, again, plain, strict=True):
        np.testing.assert_allclose(each.cost.kl, cost.kl, atol=1e-4, rtol=1e-3)
        assert abs(float(other.kl.sum() - cost.kl.sum())) > 1e-3
