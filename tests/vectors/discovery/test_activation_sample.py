"""The mean of each text and a sample of positions, whatever the order of the texts."""

import pytest
import torch

from vectors.common.errors import InputError
from vectors.discovery.activation_sample import sample_activations

TEXTS = ["the old ship on the sea", "a red bird sang", "king", "dog ran by the tree and fell by the river ."]


def by_hand(model, text, layer):
    """The hidden states of a text's own tokens, as transformers gives them."""
    ids = torch.tensor(model.encode([text]))
    with torch.no_grad():
        return model.hf(ids, output_hidden_states=True).hidden_states[layer + 1][0, 1:]


def test_means_and_rows_leave_out_bos(tiny_model):
    sample = sample_activations(tiny_model, TEXTS, [0, 1])
    for layer in (0, 1):
        states = {text: by_hand(tiny_model, text, layer) for text in TEXTS}
        for text, mean, length in zip(sample[layer].texts, sample[layer].means, sample[layer].lengths, strict=True):
            torch.testing.assert_close(mean, states[text].mean(dim=0), rtol=1e-4, atol=1e-5)
            assert length == len(states[text])
        states_of_all = torch.cat(list(states.values()))
        assert len(sample[layer].rows) == len(states_of_all)
        gaps = torch.cdist(sample[layer].rows, states_of_all).min(dim=1).values
        assert float(gaps.max()) < 1e-3


def test_order_and_duplicates_of_texts_have_no_effect(llama_model):
    one = sample_activations(llama_model, TEXTS, [1], seed=4, max_rows=9)[1]
    two = sample_activations(llama_model, [*TEXTS[::-1], *TEXTS], [1], seed=4, max_rows=9)[1]
    assert one.texts == two.texts and len(one.rows) == 9
    assert torch.equal(one.means, two.means) and torch.equal(one.rows, two.rows)
    assert sample_activations(llama_model, TEXTS, [1], seed=5)[1].texts != one.texts


def test_each_text_is_equally_likely_to_be_sampled(llama_model):
    texts = [f"{first} {second} sang" for first in ["sea", "cat", "dog", "storm", "river", "night"] for second in
             ["the", "old", "young", "king", "ship", "moon", "rain", "wind"]]  # fmt: skip
    few = sample_activations(llama_model, texts, [1], max_texts=10, max_rows=12)[1]
    assert len(few.texts) == 10 and few.rows.shape == (12, 32)
    # texts are taken in the order of their keys, so that a larger sample begins with the smaller one
    more = sample_activations(llama_model, texts, [1], max_texts=20)[1]
    assert more.texts[:10] == few.texts
    counted = [0] * len(texts)
    for seed in range(120):
        for text in sample_activations(llama_model, texts, [0], seed=seed, max_texts=6, max_rows=1)[0].texts:
            counted[texts.index(text)] += 1
    assert min(counted) > 2 and max(counted) < 35  # 15 each on average


def test_scores_of_short_texts_are_shrunk(llama_model):
    sample = sample_activations(llama_model, TEXTS, [1])[1]
    filters, mean = torch.eye(32, dtype=torch.float64)[:2], torch.zeros(32, dtype=torch.float64)
    scores = sample.scores(filters, mean)
    shortest = sample.texts.index("king")
    assert sample.lengths.median() == 4
    torch.testing.assert_close(scores[shortest].float(), sample.means[shortest, :2] / 2)
    rest = [index for index in range(4) if index != shortest]
    torch.testing.assert_close(scores[rest].float(), sample.means[rest, :2])


def test_an_empty_text_is_refused(llama_model):
    with pytest.raises(InputError, match="no token of its own"):
        sample_activations(llama_model, ["the sea", ""], [0])
