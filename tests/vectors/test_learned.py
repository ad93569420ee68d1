"""A learned shift raises the likelihood of its texts, and leaves the model as it was."""

import pytest
import torch

from vectors import learned
from vectors.errors import InputError
from vectors.learned import _loss, learn
from vectors.residual import shifted

CATS = [
    f"the cat {verb} by the {place} ." for verb in ("sang", "ran", "fell", "saw") for place in ("sea", "river", "tree")
]


def loss_under(model, shift) -> float:
    rows = [[*ids, *sorted(model.eos_ids)[:1]] for ids in model.encode(CATS)]
    with torch.no_grad(), shifted(model, {1: shift.float()}):
        return float(_loss(model, rows))


def test_it_raises_the_likelihood_more_than_chance_directions_of_its_length(tiny_model):
    shift = learn(tiny_model, CATS, 1, steps=60)
    learned, without = loss_under(tiny_model, shift), loss_under(tiny_model, torch.zeros_like(shift))
    generator = torch.Generator().manual_seed(0)
    others = [torch.randn(shift.shape, generator=generator, dtype=torch.float64) for _ in range(10)]
    chance = min(loss_under(tiny_model, other / other.norm() * shift.norm()) for other in others)
    assert learned < without - 0.1
    assert learned < chance


def test_the_seed_decides_and_steps_are_counted(llama_model):
    seen = []
    once = learn(llama_model, CATS, 0, steps=5, seed=1, progress=seen.append)
    assert seen == [1] * 5
    assert torch.equal(once, learn(llama_model, CATS, 0, steps=5, seed=1))
    assert not torch.equal(once, learn(llama_model, CATS, 0, steps=5, seed=2))


def test_only_whole_texts_close_with_the_end_token_and_order_means_nothing(llama_model):
    end = next(iter(llama_model.eos_ids))
    short, long = learned._rows(llama_model, ["the cat", "the " * 200])
    assert short[-1] == end and end not in long and len(long) == llama_model.max_context - 1
    assert torch.equal(learn(llama_model, CATS, 0, steps=3), learn(llama_model, CATS[::-1], 0, steps=3))


def test_weights_keep_neither_gradients_nor_changes(make_hf, make_tokenizer):
    from vectors.model import ResidualModel

    hf = make_hf("llama").requires_grad_(True)
    model = ResidualModel(hf, make_tokenizer())
    before = {name: weight.detach().clone() for name, weight in hf.named_parameters()}
    learn(model, CATS, 1, steps=3)
    for name, weight in hf.named_parameters():
        assert weight.grad is None and weight.requires_grad
        assert torch.equal(weight, before[name])


def test_a_layer_out_of_range_is_refused(llama_model):
    with pytest.raises(InputError, match="layers 0 to 2"):
        learn(llama_model, CATS, 3)
