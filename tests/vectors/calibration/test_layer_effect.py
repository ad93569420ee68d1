"""Effects of layers are measured at equal pressure, and the layer with the most success is the best."""

import numpy as np
import pytest
import torch

from vectors.calibration import layer_effect
from vectors.calibration.layer_effect import BUDGET, SAMPLES, Effect, best_layer, measure_effects
from vectors.calibration.word_judge import MentionJudge
from vectors.decoding.prompt_free_samples import ShiftedSamples


def direction(model) -> torch.Tensor:
    return torch.nn.functional.one_hot(torch.tensor(3), model.d_model).double()


@pytest.mark.parametrize("positions", ["all", "bos"])
def test_each_layer_is_shifted_as_far_as_the_budget_allows(llama_model, monkeypatch, positions):
    cost, done = {0: 0.1, 2: 0.02}, []  # nats per unit of length

    def fake_samples(_model, shifts, *, n, settings, seed):
        ((layer, shift),) = shifts.items()
        assert (settings.positions, seed) == (positions, 5)
        texts = ["a cat" if layer == 2 and index % 2 else "a dog" for index in range(n)]
        return ShiftedSamples(texts, np.full(4 * n, cost[layer] * float(shift.norm())))

    monkeypatch.setattr(layer_effect, "sample_shifted", fake_samples)
    effects = measure_effects(
        llama_model, dict.fromkeys(cost, direction(llama_model)), MentionJudge(["cat"]), starts={0: 1.0, 2: 3.0},
        positions=positions, seed=5, progress=done.append,
    )  # fmt: skip
    assert {layer: (effect.success, effect.n) for layer, effect in effects.items()} == {
        0: (0.0, SAMPLES),
        2: (0.5, SAMPLES),
    }
    assert done == [1, 1]
    for layer, effect in effects.items():
        assert effect.p95 == pytest.approx(cost[layer] * effect.shift) and effect.p95 <= BUDGET
    # at the start token the search ends at twice the first shift
    assert [effect.shift for effect in effects.values()] == ([2.0, 6.0] if positions == "bos" else [5.0, 24.0])


def test_the_effect_is_that_of_real_samples(llama_model):
    (effect,) = measure_effects(
        llama_model, {1: direction(llama_model)}, MentionJudge(["cat"]), starts={1: 1.0}, positions="all"
    ).values()
    assert effect.shift > 0 and 0 < effect.p95 <= BUDGET and 0 <= effect.success <= 1


def test_the_best_layer_has_the_most_success_and_then_the_least_pressure():
    def effect(success: float, p95: float) -> Effect:
        return Effect(shift=1.0, success=success, p95=p95, n=48)

    assert best_layer({0: effect(0.2, 0.1), 1: effect(0.6, 0.5), 2: effect(0.5, 0.2)}) == 1
    assert best_layer({0: effect(0.6, 0.5), 1: effect(0.6, 0.3), 2: effect(0.6, 0.4)}) == 1
