"""Pressure budget: the largest scale within it; a point that fits is unchanged, one that never fits is refused."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import steer
from steer.composition.steering_point import SteeringPoint
from steer.sampling.pressure_budget import scale_to_pressure
from steer.sampling.replay import replayed
from vectors.common.errors import InputError
from vectors.concepts.vector import ConceptVector
from vectors.model.residual_model import ResidualModel


def plain() -> SteeringPoint:
    return SteeringPoint(deltas={1: torch.ones(4)}, doses={}, vectors=())


def vector(model: ResidualModel, positions: str = "all") -> ConceptVector:
    row = torch.randn(model.d_model, generator=torch.Generator().manual_seed(1))
    return ConceptVector(
        name="cat", model=model.name, model_hash=model.hash, layer=1, direction=row / row.norm(),
        mean=torch.zeros(model.d_model), gap=4.0, method="mean", positions=positions,
    )  # fmt: skip


@given(st.floats(0.02, 15.0), st.floats(1.0, 3.0))
def test_the_scale_is_the_largest_within_the_budget(full: float, power: float) -> None:
    found = scale_to_pressure(plain(), 0.3, lambda point: np.full(9, full * point.scale**power))
    exact = min(1.0, (0.3 / full) ** (1 / power))
    assert found.point.scale <= exact + 1e-9 and found.point.scale >= exact - 0.01
    assert torch.allclose(found.point.deltas[1, "all"], torch.full((4,), found.point.scale))
    assert all((scale, pressure) == (scale, pytest.approx(full * scale**power)) for scale, pressure in found.trace)
    assert (len(found.trace) == 1) == (full <= 0.3)


def test_budgets_that_cannot_be_met_are_refused() -> None:
    for wrong in (0.0, -1.0, float("nan")):
        with pytest.raises(InputError, match="max_pressure"):
            scale_to_pressure(plain(), wrong, lambda point: np.zeros(3))
    with pytest.raises(InputError, match="already pays 5"):
        scale_to_pressure(plain(), 0.3, lambda point: np.full(3, 5.0))


def test_a_run_within_a_budget_records_its_scale(llama_model: ResidualModel) -> None:
    at = steer.compose({vector(llama_model): 3.0})
    free = steer.sample(llama_model, at, n=48, seed=2, max_tokens=16)
    pressure = np.percentile([cost for run in replayed(llama_model, free, point=at) for cost in run.kl], 95)
    budget = float(pressure) / 4
    held = steer.sample(llama_model, at, n=48, seed=2, max_tokens=16, max_pressure=budget)
    scale = held[0].settings["scale"]
    assert 0 < scale < 1 and held[0].settings["max_pressure"] == budget and free[0].settings["scale"] == 1.0
    assert held[0].doses == {"cat": 3.0}
    kl = [cost for run in replayed(llama_model, held, point=at.scaled(scale)) for cost in run.kl]
    assert np.percentile(kl, 95) < 1.6 * budget  # other samples than the pilot's
    assert steer.sample(llama_model, at, n=4, seed=2, max_tokens=16, max_pressure=1e3)[0].settings["scale"] == 1.0


def test_a_gate_is_recorded_replayed_and_refused_at_the_start_token(llama_model: ResidualModel) -> None:
    at = steer.compose({vector(llama_model): 2.0})
    gated = steer.sample(llama_model, at, n=32, seed=2, max_tokens=12, gate=True)
    assert gated[0].settings["gate"] is True
    assert gated.texts != steer.sample(llama_model, at, n=32, seed=2, max_tokens=12).texts
    for run, cost in zip(gated, replayed(llama_model, gated, point=at), strict=True):
        assert cost.pressure["total"] == pytest.approx(run.pressure["total"], abs=1e-3)
    with pytest.raises(InputError, match="the start token has nothing to read"):
        steer.sample(llama_model, {vector(llama_model, "bos"): 2.0}, n=2, max_tokens=8, gate=True)
    with pytest.raises(InputError, match="choose one of them"):
        turned = steer.compose({vector(llama_model): 2.0}, method="rotate")
        steer.sample(llama_model, turned, n=2, max_tokens=8, gate=True)


def test_a_rotation_is_recorded_and_replayed(llama_model: ResidualModel) -> None:
    at = steer.compose({vector(llama_model): 2.0}, method="rotate")
    run = steer.sample(llama_model, at, n=8, seed=2, max_tokens=12, radius=0.5)
    assert run[0].settings["composition"] == "rotate"
    assert run.texts != steer.sample(llama_model, {vector(llama_model): 2.0}, n=32, seed=2, max_tokens=12).texts
    for sample, cost in zip(run, replayed(llama_model, run, point=at), strict=True):
        assert cost.pressure["total"] == pytest.approx(sample.pressure["total"], abs=1e-3)
