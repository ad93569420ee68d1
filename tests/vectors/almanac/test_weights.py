"""Weights at the beginning of a run: a function of the seed, or an earlier model's under other pieces."""

from itertools import islice

import pytest
import torch

from vectors.almanac.generate import stream
from vectors.almanac.tokenizer import learn
from vectors.almanac.weights import fresh, inherit

SIZE = {"d_model": 32, "layers": 2, "heads": 2}
BLANK = "\u0120"  # byte-level pieces write it so


@pytest.fixture(scope="module")
def tokenizers():
    texts = [made.text for made in islice(stream(5), 200)]
    return learn(texts, vocab_size=500), learn(texts, vocab_size=700)


@pytest.fixture
def earlier(tokenizers, tmp_path):
    model = fresh(tokenizers[0], seed=3, **SIZE)
    model.save_pretrained(tmp_path)
    tokenizers[0].save_pretrained(tmp_path)
    return model, tmp_path


def test_fresh_weights_are_a_function_of_the_seed(tokenizers):
    one, same, other = (fresh(tokenizers[0], seed=seed, **SIZE).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["model.embed_tokens.weight"], other["model.embed_tokens.weight"])


def test_a_model_that_inherits_under_the_same_pieces_is_the_earlier_one(tokenizers, earlier):
    model = fresh(tokenizers[0], seed=4, **SIZE)
    inherit(model, tokenizers[0], earlier[1])
    ids = torch.tensor([tokenizers[0]("The sea is calm today.")["input_ids"]])
    with torch.no_grad():
        assert torch.equal(model(ids).logits, earlier[0](ids).logits)


def test_a_new_piece_begins_as_the_mean_of_those_it_was_spelled_with(tokenizers, earlier):
    before, after = tokenizers
    model = fresh(after, seed=4, **SIZE)
    inherit(model, after, earlier[1])
    rows, table = earlier[0].model.embed_tokens.weight, model.model.embed_tokens.weight
    new = sorted(after.get_vocab().keys() - before.get_vocab().keys())
    words = [piece[1:] for piece in new if piece[0] == BLANK and piece[1:].isalpha()]
    assert len(words) >= 50
    for word in words:
        spelled = before(word, add_special_tokens=False)["input_ids"]  # a blank is read before each line
        assert len(spelled) > 1
        assert torch.allclose(table[after.convert_tokens_to_ids(BLANK + word)], rows[spelled].mean(dim=0), atol=1e-6)
    for piece, place in before.get_vocab().items():
        assert torch.equal(table[after.convert_tokens_to_ids(piece)], rows[place])
    assert model.lm_head.weight is model.model.embed_tokens.weight


def test_a_model_of_another_size_cannot_be_inherited(tokenizers, earlier):
    with pytest.raises(RuntimeError, match="size mismatch"):
        inherit(fresh(tokenizers[0], seed=4, d_model=16, layers=2, heads=2), tokenizers[0], earlier[1])
