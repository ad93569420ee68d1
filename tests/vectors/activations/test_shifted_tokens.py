"""Tokens that a shift makes more or less likely, against a hook of the test's own and plain Hugging Face forwards."""

import pytest
import torch

import vectors
from vectors.activations.shifted_tokens import most_shifted_tokens
from vectors.concepts.vector import ConceptVector

TEXTS = ["the cat ran by the sea", "a ship", "the old king saw the moon and the river"]


def vector_of(model, positions="all", **more):
    direction = torch.randn(model.d_model, generator=torch.Generator().manual_seed(4))
    return ConceptVector(
        name="any", model=model.name, model_hash=model.hash, layer=1, direction=direction / direction.norm(),
        mean=torch.zeros(model.d_model), gap=3.0, method="mean-difference", positions=positions, **more,
    )  # fmt: skip


def kl_shares(model, vector, length):
    """Each token's share of the KL in both directions, one text at a time."""
    gained = lost = 0.0
    for text in TEXTS:
        ids = torch.tensor(model.encode([text]))
        with torch.no_grad():
            base = model.hf(ids).logits[0].double().softmax(dim=-1)

            def hook(_block, _inputs, output):
                stream = output[0] if isinstance(output, tuple) else output
                where = slice(0, 1) if vector.positions == "bos" else slice(None)
                stream[:, where] += vector.direction * length
                return output

            handle = model.blocks[1].register_forward_hook(hook)
            steered = model.hf(ids).logits[0].double().softmax(dim=-1)
            handle.remove()
        gained = gained + (steered * (steered / base).log()).sum(dim=0)
        lost = lost + (base * (base / steered).log()).sum(dim=0)
    return gained, lost


@pytest.mark.parametrize("positions", ["all", "bos"])
def test_the_tokens_have_the_largest_shares_of_the_kl_in_either_direction(tiny_model, positions):
    vector = vector_of(tiny_model, positions)
    top, bottom = most_shifted_tokens(tiny_model, vector, tiny_model.encode(TEXTS), 5, shift=2.0)
    for found, part in zip((top, bottom), kl_shares(tiny_model, vector, 2.0), strict=True):
        order = [token for token in part.argsort(descending=True).tolist() if 3 <= token < len(tiny_model.tokenizer)]
        assert found == [tiny_model.decode([token]) for token in order[:5]]


def test_the_default_length_is_the_vectors_scale(llama_model):
    vector = vector_of(llama_model)
    assert most_shifted_tokens(llama_model, vector, llama_model.encode(TEXTS), 9) == most_shifted_tokens(
        llama_model, vector, llama_model.encode(TEXTS), 9, shift=3.0
    )
    assert most_shifted_tokens(llama_model, vector, llama_model.encode(TEXTS), 9) != most_shifted_tokens(
        llama_model, vector, llama_model.encode(TEXTS), 9, shift=-3.0
    )


def test_several_layers_are_shifted_at_once(llama_model):
    other_shifts = {2: torch.randn(llama_model.d_model, generator=torch.Generator().manual_seed(5))}
    wide = vector_of(llama_model, other_shifts=other_shifts)
    assert most_shifted_tokens(llama_model, wide, llama_model.encode(TEXTS), 9) != most_shifted_tokens(
        llama_model, vector_of(llama_model), llama_model.encode(TEXTS), 9
    )


def test_a_zero_shift_makes_no_token_more_likely(llama_model):
    top, bottom = most_shifted_tokens(llama_model, vector_of(llama_model), llama_model.encode(TEXTS), 9, shift=0.0)
    assert top == bottom == []


def test_a_shipped_concept_makes_its_own_words_more_likely():
    model = vectors.load_model(device="cpu")
    tokens = vectors.load("cat", model).evidence["moved"]
    assert {"purr", "tail", "mew"} & set(tokens["top"])
