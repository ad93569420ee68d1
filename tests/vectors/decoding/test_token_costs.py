"""Costs against a plain forward of the model, one text at a time."""

import numpy as np
import pytest
import torch

from vectors.decoding import token_costs
from vectors.decoding.token_costs import compute_costs, token_logprobs
from vectors.model.hooks import shift_layers
from vectors.model.positions import POSITIONS, shift_by_position

EVERYWHERE = (*POSITIONS, "first:2", "decay:1.5")
GENERATED = [[5, 9, 12, 1], [7, 3], [20, 21, 22, 23, 24, 25, 26]]


def plain(model, ids: list[int], n_prefix: int, delta: torch.Tensor | None):
    with torch.no_grad(), shift_layers(model, {} if delta is None else {1: delta}):
        logits = model.hf(torch.tensor([ids]), use_cache=False).logits[0]
    return torch.log_softmax(logits[n_prefix - 1 : -1].double(), dim=-1)


@pytest.mark.parametrize("positions", EVERYWHERE)
def test_costs_equal_those_of_each_text_alone(tiny_model, positions):
    prefix = tiny_model.encode(["the cat"])[0]
    deltas = torch.randn(3, tiny_model.d_model, generator=torch.Generator().manual_seed(0))
    cost_by_row = compute_costs(tiny_model, {1: deltas}, prefix=prefix, generated=GENERATED, positions=positions)
    for row, tokens in enumerate(GENERATED):
        ids = [*prefix, *tokens]
        spread = shift_by_position(deltas[row : row + 1], len(ids), len(prefix), positions)
        base, steered = plain(tiny_model, ids, len(prefix), None), plain(tiny_model, ids, len(prefix), spread)
        chosen = torch.tensor(tokens)[:, None]
        assert np.allclose(cost_by_row[row].logprob_base, base.gather(1, chosen)[:, 0], atol=1e-4)
        assert np.allclose(cost_by_row[row].logprob_steered, steered.gather(1, chosen)[:, 0], atol=1e-4)
        assert np.allclose(cost_by_row[row].kl, (steered.exp() * (steered - base)).sum(dim=1), atol=1e-4)


@pytest.mark.parametrize("positions", EVERYWHERE)
def test_logprobs_are_those_of_the_costs(llama_model, positions):
    texts = {"prefix": llama_model.encode(["the cat"])[0], "generated": GENERATED}
    deltas = {1: torch.randn(3, llama_model.d_model, generator=torch.Generator().manual_seed(0))}
    costs = compute_costs(llama_model, deltas, **texts, positions=positions)
    for logprobs, cost in zip(token_logprobs(llama_model, {}, **texts), costs, strict=True):
        assert np.array_equal(logprobs, cost.logprob_base)
    finished = []
    steered = token_logprobs(llama_model, deltas, **texts, positions=positions, progress=finished.append)
    for logprobs, cost in zip(steered, costs, strict=True):
        assert np.array_equal(logprobs, cost.logprob_steered)
    assert sum(finished) == len(GENERATED)


def test_no_shift_costs_nothing(tiny_model):
    prefix = tiny_model.start_ids()
    for deltas in ({}, {0: torch.zeros(3, tiny_model.d_model)}):
        for cost in compute_costs(tiny_model, deltas, prefix=prefix, generated=GENERATED):
            assert np.array_equal(cost.logprob_base, cost.logprob_steered)
            assert cost.pressure == {"mean": 0.0, "p95": 0.0, "total": 0.0}


def test_the_batch_size_changes_nothing(llama_model, monkeypatch):
    prefix, deltas = llama_model.start_ids(), {0: torch.ones(3, llama_model.d_model)}
    whole = compute_costs(llama_model, deltas, prefix=prefix, generated=GENERATED)
    monkeypatch.setattr(token_costs, "_MAX_TOKENS", 1)
    single = compute_costs(llama_model, deltas, prefix=prefix, generated=GENERATED)
    for one, other in zip(whole, single, strict=True):
        assert np.allclose(one.kl, other.kl, atol=1e-5)


def test_pressure_summarises_the_tokens(llama_model):
    (cost,) = compute_costs(
        llama_model, {0: torch.ones(1, llama_model.d_model)}, prefix=llama_model.start_ids(), generated=GENERATED[2:]
    )
    assert cost.pressure["total"] == pytest.approx(cost.kl.sum())
    assert cost.pressure["mean"] == pytest.approx(cost.kl.sum() / 7)
    assert cost.pressure["mean"] <= cost.pressure["p95"] <= cost.kl.max() + 1e-12
