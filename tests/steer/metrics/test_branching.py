"""Branching factor: even choices, and the entropies of the sampled distributions."""

import numpy as np
import pytest
import torch

import steer
from steer.metrics.branching import branching
from steer.sampling.replay import replayed
from vectors.common.errors import InputError
from vectors.decoding.token_costs import Cost
from vectors.decoding.token_sampling import Settings, probabilities
from vectors.model.residual_model import ResidualModel


def test_the_branching_factor_of_even_choices_is_their_number(llama_model: ResidualModel) -> None:
    run = steer.sample(llama_model, None, n=5, max_tokens=20)
    rows = [np.ones(len(sample.tokens)) for sample in run]
    costs = [Cost(-row, -row, row, entropy=row * np.log(7.0)) for row in rows]
    whole, curve = branching(run, costs)
    assert whole.value == pytest.approx(7.0) and whole.low <= 7.0 <= whole.high + 1e-9
    assert all(point.value == pytest.approx(7.0) for point in curve) and curve[0].n == 5
    with pytest.raises(InputError, match="no entropies"):
        branching(run, [Cost(-row, -row, row) for row in rows])


@pytest.mark.parametrize("settings", [{}, {"temperature": 0.7, "top_p": 0.8}])
def test_entropies_are_those_of_the_distributions_that_tokens_are_sampled_from(
    tiny_model: ResidualModel, settings: dict
) -> None:
    run = steer.sample(tiny_model, None, n=3, max_tokens=9, **settings)
    for sample, cost in zip(run, replayed(tiny_model, run), strict=True):
        ids = torch.tensor([[*tiny_model.start_ids(), *sample.tokens]])
        with torch.no_grad():
            logits = tiny_model.hf(input_ids=ids).logits[0, :-1]
        probs = probabilities(logits, Settings(**settings))
        probs = probs / probs.sum(-1, keepdim=True)
        expected = torch.special.entr(probs).sum(-1)
        np.testing.assert_allclose(cost.entropy, expected.numpy(), atol=1e-4)
