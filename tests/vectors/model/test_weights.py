"""The hash of a model depends on its weights, and not on their dtype."""

from collections.abc import Callable

import torch

from vectors.model.residual_model import ResidualModel


def test_hash_names_the_weights_and_not_their_dtype(make_hf: Callable, make_tokenizer: Callable) -> None:
    def hash_of(family: str, dtype: torch.dtype = torch.float32, seed: int = 0) -> str:
        return ResidualModel(make_hf(family, seed=seed).to(dtype), make_tokenizer()).hash

    known = hash_of("llama")
    assert known == hash_of("llama", torch.bfloat16) == hash_of("llama", torch.float16)
    assert len({known, hash_of("llama", seed=1), hash_of("gemma"), hash_of("gpt2")}) == 4
    tuned = make_hf("llama")
    with torch.no_grad():
        for weight in tuned.parameters():
            weight += 0.005 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
    assert ResidualModel(tuned, make_tokenizer()).hash != known
    packed = []
    for value in (1, 2):
        hf = make_hf("llama")
        hf.model.layers[0].register_buffer("qweight", torch.full((8,), value, dtype=torch.uint8))
        packed.append(ResidualModel(hf, make_tokenizer()).hash)
    assert packed[0] != packed[1]
