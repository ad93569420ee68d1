"""Typicality: samples of the same model are typical, and too likely or too unlikely texts are not."""

import math

import numpy as np
import pytest
import torch

import steer
from steer.metrics.typicality import CENTRAL, RealCosts, real_costs, typicality
from steer.runs.sample_set import SampleSet
from steer.sampling.replay import replayed
from vectors.common.errors import InputError
from vectors.model.residual_model import ResidualModel


@pytest.mark.slow
def test_intervals_hold_among_samples_of_the_same_model(llama_model: ResidualModel) -> None:
    """Of twenty runs, about nineteen have each true value within its 95 % interval; below sixteen is one in 400.

    The interval of the mean likelihood is that of the samples alone, and `perfect` is a mean of three times as many
    texts: their difference has a standard error larger by sqrt(1 + 1/3).
    """
    held = np.zeros(3)
    for seed in range(20):
        run = steer.sample(llama_model, None, n=800, seed=seed, max_tokens=16)
        real = RealCosts(tuple(-cost.logprob_base for cost in replayed(llama_model, SampleSet(run[:600]))))
        nll, typical, score = typicality(SampleSet(run[600:]), real)
        assert nll.perfect is not None
        held += (
            abs(nll.value - nll.perfect) <= math.sqrt(4 / 3) * (nll.high - nll.low) / 2,
            typical.low <= CENTRAL <= typical.high,
            score.low <= 0.5 <= score.high,
        )
    assert held.min() >= 16


def test_too_likely_and_too_unlikely_texts_are_both_untypical(llama_model: ResidualModel) -> None:
    run = steer.sample(llama_model, None, n=30, max_tokens=16)
    nll = np.array([sample.base_nats / len(sample.tokens) for sample in run])
    for shift in (-10.0, 10.0):
        real = RealCosts(tuple(np.full(16, value) for value in np.linspace(nll.min(), nll.max(), 50) + shift))
        estimates = {estimate.name: estimate for estimate in typicality(run, real)}
        assert estimates["typical"].value == 0.0 and estimates["typicality"].value < 0.05


def test_the_costs_of_real_texts_are_the_model_s_log_probabilities_with_the_end_token(
    llama_model: ResidualModel,
) -> None:
    texts = ["the cat sat in the sea", "a storm fell"] * 10
    costs = real_costs(llama_model, texts)
    ids = torch.tensor([[*llama_model.encode([texts[0]])[0], 1]])
    with torch.no_grad():
        logs = llama_model.hf(input_ids=ids).logits[0, :-1].log_softmax(-1)
    expected = -logs.gather(-1, ids[0, 1:, None]).squeeze(-1)
    np.testing.assert_allclose(costs.tokens[0], expected.numpy(), atol=1e-4)
    with pytest.raises(InputError, match="20 or more"):
        real_costs(llama_model, texts[:5])
