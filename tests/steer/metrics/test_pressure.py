"""Pressure of a run, from its saved samples and from replayed token costs."""

import pytest

import steer
from steer.metrics.pressure import pressure
from steer.sampling.replay import replayed
from vectors.common.errors import InputError
from vectors.model.residual_model import ResidualModel


def test_an_unsteered_run_has_no_pressure_and_its_95th_percentile_needs_token_costs(llama_model: ResidualModel) -> None:
    run = steer.sample(llama_model, None, n=6, max_tokens=12)
    estimates = {estimate.name: estimate for estimate in pressure(run, replayed=replayed(llama_model, run))}
    assert estimates["pressure"].value == pytest.approx(0.0, abs=1e-6) and "p95 pressure" in estimates
    assert "p95 pressure per text" in {estimate.name for estimate in pressure(run)}
    with pytest.raises(InputError, match="give those of this run"):
        pressure(run, replayed=replayed(llama_model, run)[:-1])
