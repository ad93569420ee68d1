"""Effects of layers are measured at equal pressure, and the layer with the most success is the best."""

import numpy as np
import pytest
import torch

from vectors.calibration import equal_pressure
from vectors.calibration.equal_pressure import PRESSURE, Effect
from vectors.calibration.layer_effect import SAMPLES, best_layer, measure_effects
from vectors.calibration.word_judge import MentionJudge
from vectors.decoding.prompt_free_samples import ShiftedSamples


def direction(model) -> torch.Tensor:
    return torch.nn.functional.one_hot(torch.tensor(3), model.d_model).double()


@pytest.mark.parametrize("positions", ["all", "bos"])
def test_each_layer_is_shifted_until_its_pressure_is_that_of_the_others(llama_model, monkeypatch, positions):
    cost, done = {0: 0.1, 2: 0.02}, []  # nats per unit of length

    def fake_samples(_model, shifts, *, n, settings, seed):
        (((layer, where), rows),) = shifts.items()
        assert (where, seed) == (positions, 5)
        costs = [cost[layer] * float(row.norm()) for row in rows]
        texts = ["a cat" if layer == 2 and index % 2 and nats > 0.1 else "a dog" for index, nats in enumerate(costs)]
        return ShiftedSamples(texts, [np.full(4, nats) for nats in costs])

    monkeypatch.setattr(equal_pressure, "sample_shifted", fake_samples)
    effects = measure_effects(
        llama_model, dict.fromkeys(cost, direction(llama_model)), MentionJudge(["cat"]), starts={0: 2.0, 2: 3.0},
        positions=positions, seed=5, progress=done.append,
    )  # fmt: skip
    assert {layer: (effect.success, effect.n) for layer, effect in effects.items()} == {
        0: (0.0, SAMPLES),
        2: (0.5, SAMPLES),
    }
    assert done == [1, 1]
    # at the start token the search ends at twice the first shift; without any success, the natural length is as good
    assert effects[0].scale == 1.0
    assert effects[2].scale == 2.0 if positions == "bos" else effects[2].pressure == pytest.approx(PRESSURE, rel=0.2)


def test_the_best_layer_has_the_most_success_and_then_the_least_pressure():
    def effect(success: float, pressure: float) -> Effect:
        return Effect(scale=1.0, success=success, pressure=pressure, n=48)

    assert best_layer({0: effect(0.2, 0.1), 1: effect(0.6, 0.5), 2: effect(0.5, 0.2)}) == 1
    assert best_layer({0: effect(0.6, 0.5), 1: effect(0.6, 0.3), 2: effect(0.6, 0.4)}) == 1
