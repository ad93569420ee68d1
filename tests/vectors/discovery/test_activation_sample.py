"""What is kept of texts: their own tokens' means and a sample of positions, whatever their order."""

import pytest
import torch

from vectors.common.errors import InputError
from vectors.discovery.activation_sample import gather

TEXTS = ["the old ship on the sea", "a red bird sang", "king", "dog ran by the tree and fell by the river ."]


def by_hand(model, text, layer):
    """The hidden states of a text's own tokens, as transformers gives them."""
    ids = torch.tensor(model.encode([text]))
    with torch.no_grad():
        return model.hf(ids, output_hidden_states=True).hidden_states[layer + 1][0, 1:]


def test_means_and_rows_are_those_of_own_tokens(tiny_model):
    found = gather(tiny_model, TEXTS, [0, 1])
    for layer in (0, 1):
        states = {text: by_hand(tiny_model, text, layer) for text in TEXTS}
        for text, mean, length in zip(found[layer].texts, found[layer].means, found[layer].lengths, strict=True):
            torch.testing.assert_close(mean, states[text].mean(dim=0), rtol=1e-4, atol=1e-5)
            assert length == len(states[text])
        every = torch.cat(list(states.values()))
        assert len(found[layer].rows) == len(every)
        gaps = torch.cdist(found[layer].rows, every).min(dim=1).values
        assert float(gaps.max()) < 1e-3


def test_the_order_of_texts_and_copies_mean_nothing(llama_model):
    one = gather(llama_model, TEXTS, [1], seed=4, most_rows=9)[1]
    two = gather(llama_model, [*TEXTS[::-1], *TEXTS], [1], seed=4, most_rows=9)[1]
    assert one.texts == two.texts and len(one.rows) == 9
    assert torch.equal(one.means, two.means) and torch.equal(one.rows, two.rows)
    assert gather(llama_model, TEXTS, [1], seed=5)[1].texts != one.texts


def test_what_is_kept_of_many_is_a_fair_sample_of_them(llama_model):
    texts = [f"{first} {second} sang" for first in ["sea", "cat", "dog", "storm", "river", "night"] for second in
             ["the", "old", "young", "king", "ship", "moon", "rain", "wind"]]  # fmt: skip
    few = gather(llama_model, texts, [1], most_texts=10, most_rows=12)[1]
    assert len(few.texts) == 10 and few.rows.shape == (12, 32)
    # the texts that come first by their keys, so that more of them only add to what fewer gave
    more = gather(llama_model, texts, [1], most_texts=20)[1]
    assert more.texts[:10] == few.texts
    counted = [0] * len(texts)
    for seed in range(120):
        for text in gather(llama_model, texts, [0], seed=seed, most_texts=6, most_rows=1)[0].texts:
            counted[texts.index(text)] += 1
    assert min(counted) > 2 and max(counted) < 35  # 15 each on average


def test_short_texts_count_for_less(llama_model):
    found = gather(llama_model, TEXTS, [1])[1]
    filters, mean = torch.eye(32, dtype=torch.float64)[:2], torch.zeros(32, dtype=torch.float64)
    scores = found.scores(filters, mean)
    shortest = found.texts.index("king")
    assert found.lengths.median() == 4
    torch.testing.assert_close(scores[shortest].float(), found.means[shortest, :2] / 2)
    rest = [place for place in range(4) if place != shortest]
    torch.testing.assert_close(scores[rest].float(), found.means[rest, :2])


def test_an_empty_text_is_refused(llama_model):
    with pytest.raises(InputError, match="no token of its own"):
        gather(llama_model, ["the sea", ""], [0])
