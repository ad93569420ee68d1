"""Distributions over a part of the vocabulary estimate those over all of it."""

import pytest
import torch

from vectors.extraction.shifts import likely_tokens as module
from vectors.extraction.shifts.likely_tokens import likely_tokens
from vectors.model import output_head
from vectors.model.output_head import final_states, logits_from, logits_of
from vectors.model.residual_model import ResidualModel


def states_of(model: ResidualModel) -> torch.Tensor:
    with torch.no_grad():
        return final_states(model, model.batch([[0, 1, 2, 3], [0, 2, 2, 1]])).flatten(0, 1)


def test_a_small_vocabulary_is_compared_whole(tiny_model: ResidualModel) -> None:
    states = states_of(tiny_model)
    logits = logits_from(tiny_model, states)
    tokens = likely_tokens(tiny_model, [states], logits.shape[1])
    assert tokens.share == 1.0
    drawn = tokens.draw(0, 0)
    torch.testing.assert_close(tokens.log_probs(tiny_model, states, drawn), logits.float().log_softmax(-1))


def test_some_tokens_have_the_logits_of_the_whole_head(
    tiny_model: ResidualModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    states, some = states_of(tiny_model), torch.tensor([3, 0, 5])
    expected = logits_from(tiny_model, states).float()[:, some]
    torch.testing.assert_close(logits_of(tiny_model, states, some), expected, atol=1e-4, rtol=1e-4)
    assert output_head._is_product(tiny_model)
    monkeypatch.setattr(output_head, "_is_product", lambda model: False)
    torch.testing.assert_close(logits_of(tiny_model, states, some), expected)


def test_drawn_tokens_stand_for_the_rest(llama_model: ResidualModel, monkeypatch: pytest.MonkeyPatch) -> None:
    states = states_of(llama_model)
    full = logits_from(llama_model, states).float().log_softmax(-1)
    size = full.shape[1]
    monkeypatch.setattr(module, "LIKELY", size // 4)
    monkeypatch.setattr(module, "OTHERS", size // 4)
    tokens = likely_tokens(llama_model, [states], size)
    best = full.exp().sum(0).topk(size // 4).indices
    assert set(tokens.likely.tolist()) == set(best.tolist())
    assert tokens.share == pytest.approx(float(full.exp()[:, best].sum() / len(states)), abs=1e-5)
    estimates = []
    for step in range(400):
        drawn = tokens.draw(3, step)
        assert len(set(drawn.tolist())) == size // 2
        estimates.append(tokens.log_probs(llama_model, states, drawn)[:, : size // 4])
    mean = torch.stack(estimates).mean(dim=0)
    torch.testing.assert_close(mean, full[:, tokens.likely], atol=0.02, rtol=0.0)


def test_further_tokens_become_likely_ones(llama_model: ResidualModel, monkeypatch: pytest.MonkeyPatch) -> None:
    states = states_of(llama_model)
    full = logits_from(llama_model, states).float().log_softmax(-1)
    size = full.shape[1]
    monkeypatch.setattr(module, "LIKELY", size // 4)
    tokens = likely_tokens(llama_model, [states], size)
    new = tokens.rest[:2].tolist()
    more = tokens.including([*new, int(tokens.likely[0])])
    assert set(more.likely.tolist()) == {*tokens.likely.tolist(), *new} and more.likely.diff().min() > 0
    assert set(more.rest.tolist()) == set(tokens.rest.tolist()) - set(new)
    drawn = more.draw(0, 0)  # all of the rest, since there are fewer than `OTHERS`
    torch.testing.assert_close(more.log_probs(llama_model, states, drawn), full[:, drawn])
    assert likely_tokens(llama_model, [], 8).including([3]).likely.tolist() == list(range(8))
