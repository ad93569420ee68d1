"""Means and moments against plain Hugging Face hidden states, whatever the padding."""

import weakref

import numpy as np
import pytest
import torch
from helpers.padding import pad_left

from vectors.activations import text_activations
from vectors.activations.moments import Moments, moments
from vectors.activations.text_activations import encode_texts, text_means
from vectors.common.errors import InputError, ModelError
from vectors.model.hooks import capture
from vectors.model.residual_model import ResidualModel

TEXTS = [
    "the cat", "a storm rose and fell in the night", "rain", "the old king sang a song by the river",
    "snow and wind", "the moon was red", "a bird heard the dark sea", "the dog ran on a stone",
]  # fmt: skip


def plain_mean(model, text: str, layer: int) -> torch.Tensor:
    """The mean over a text's own tokens, from HF's own hidden states of the text alone."""
    ids = model.encode([text])[0]
    with torch.no_grad():
        hidden = model.hf(torch.tensor([ids]), output_hidden_states=True).hidden_states[layer + 1][0]
    own = [index for index, token in enumerate(ids) if token not in (0, 1)]
    return hidden[own].mean(dim=0)


def test_text_means_are_hf_hidden_states_without_special_positions(tiny_model):
    layers = [0, 1]  # after the last block HF's states carry the final norm
    found = {}
    for indices, means in text_means(tiny_model, encode_texts(tiny_model, TEXTS), layers):
        for row, index in enumerate(indices):
            found[index] = {layer: means[layer][row] for layer in layers}
    assert sorted(found) == list(range(len(TEXTS)))
    for index, text in enumerate(TEXTS):
        for layer in layers:
            assert torch.allclose(found[index][layer], plain_mean(tiny_model, text, layer), atol=1e-5)


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_tokenizers_padding_side_changes_nothing(make_hf, make_tokenizer, side):
    tokenizer = make_tokenizer()
    tokenizer.padding_side = side
    model = ResidualModel(make_hf("llama"), tokenizer)
    found = moments(model, encode_texts(model, TEXTS), [1])[1].mean
    expected = torch.stack([plain_mean(model, text, 1) for text in TEXTS]).mean(dim=0)
    assert torch.allclose(found.float(), expected, atol=1e-5)


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_on_either_side_reads_the_same(tiny_model, side):
    rows = tiny_model.encode(TEXTS)
    batch = pad_left(tiny_model, rows) if side == "left" else tiny_model.batch(rows)
    with torch.no_grad(), capture(tiny_model, [1]) as read:
        tiny_model.hf(**batch, use_cache=False)
    for row, text in enumerate(TEXTS):
        own = batch["attention_mask"][row].bool()
        own &= torch.tensor([int(token) not in (0, 1) for token in batch["input_ids"][row]])
        assert torch.allclose(read[1][row][own].mean(dim=0), plain_mean(tiny_model, text, 1), atol=1e-4)


def test_streamed_moments_agree_with_numpy():
    rows = np.random.default_rng(0).normal(size=(100, 5)) + 100
    found = Moments.empty(5, second=True)
    for start in range(0, 100, 7):
        found.add(torch.from_numpy(rows[start : start + 7]))
    assert found.count == 100
    assert np.allclose(found.mean, rows.mean(axis=0))
    assert np.allclose(found.scatter / 99, np.cov(rows.T), atol=1e-9)


def test_a_text_without_a_token_of_its_own_is_refused(llama_model):
    with pytest.raises(InputError, match="the text '<eos>' has no token"):
        encode_texts(llama_model, ["the cat", "<eos>"])


def test_a_word_that_the_tokenizer_does_not_know_is_text(llama_model):
    known, unknown = (
        moments(llama_model, encode_texts(llama_model, [text]), [0])[0].mean for text in ("the cat", "the zzz")
    )
    assert not torch.allclose(known, unknown)
    encode_texts(llama_model, ["zzz qqq"])


def test_memory_does_not_grow_with_the_number_of_texts(llama_model, monkeypatch):
    monkeypatch.setattr("vectors.activations.text_activations.BATCH_TOKENS", 64)
    alive: list[weakref.ref[torch.Tensor]] = []
    most = 0
    original = text_activations.pool_tokens

    def tracked(hidden: torch.Tensor, own: torch.Tensor, pool: str) -> torch.Tensor:
        nonlocal most
        pooled = original(hidden, own, pool)
        alive.extend((weakref.ref(hidden), weakref.ref(pooled)))
        most = max(most, sum(each() is not None for each in alive))
        return pooled

    monkeypatch.setattr(text_activations, "pool_tokens", tracked)
    found = moments(llama_model, encode_texts(llama_model, TEXTS * 50), [0, 1])[1]
    assert found.count == 400 and len(alive) > 100
    assert most <= 8  # of two batches and two layers, hidden states and means


def test_activations_that_are_not_finite_are_refused(make_hf, make_tokenizer):
    hf = make_hf("llama")
    with torch.no_grad():
        hf.model.embed_tokens.weight[5] = float("inf")
    model = ResidualModel(hf, make_tokenizer(), name="broken")
    with pytest.raises(ModelError, match="activations at layer 1 that are not finite, because its weights hold NaN"):
        moments(model, encode_texts(model, ["the cat", "a sea cat"]), [1])


def test_progress_counts_every_text(llama_model):
    seen = []
    moments(llama_model, encode_texts(llama_model, TEXTS), [0], progress=seen.append)
    assert sum(seen) == len(TEXTS)
