"""The embedded model before training: its size, and weights that are a function of the seed."""

import torch

from vectors.almanac.training.initial_weights import initial_model


def test_initial_weights_are_a_function_of_the_seed(tokenizer):
    size = {"d_model": 32, "layers": 2, "heads": 2}
    one, same, other = (initial_model(tokenizer, seed=seed, **size).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["model.embed_tokens.weight"], other["model.embed_tokens.weight"])


def test_every_width_is_a_multiple_of_64(tokenizer):
    for name, weight in initial_model(tokenizer, seed=1, d_model=256, layers=1, heads=4).named_parameters():
        inside = weight.shape[1:] if "embed_tokens" in name else weight.shape
        assert all(size % 64 == 0 for size in inside), name
