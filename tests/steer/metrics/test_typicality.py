"""Typicality: samples of the same model are typical, and too likely or too unlikely texts are not."""

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
def test_samples_are_typical_among_samples_of_the_same_model(llama_model: ResidualModel) -> None:
    """Percentiles among texts of one and the same sampler: 90 % lie within the central 90 %."""
    run = steer.sample(llama_model, None, n=800, seed=4, max_tokens=16)
    real = RealCosts(tuple(-cost.logprob_base for cost in replayed(llama_model, SampleSet(run[:600]))))
    estimates = {estimate.name: estimate for estimate in typicality(SampleSet(run[600:]), real)}
    assert estimates["typical"].low <= CENTRAL <= estimates["typical"].high
    assert estimates["typicality"].low <= 0.5 <= estimates["typicality"].high
    assert estimates["base NLL"].low <= estimates["base NLL"].perfect <= estimates["base NLL"].high


def test_too_likely_and_too_unlikely_texts_are_both_untypical(llama_model: ResidualModel) -> None:
    run = steer.sample(llama_model, None, n=30, max_tokens=16)
    nll = np.array([-sample.logprob_base / len(sample.tokens) for sample in run])
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
