"""Directions that lead to words: token ids, gradients against finite differences, and the share of the words."""

import numpy as np
import pytest
import torch

from vectors.activations import text_likelihood
from vectors.common.errors import InputError
from vectors.extraction.shifts.token_direction import (
    TARGET_SHARE,
    token_ids,
    token_logprob,
    token_share,
    towards_tokens,
)
from vectors.model.hooks import shift_layers
from vectors.model.residual_model import ResidualModel

TEXTS = ["the cat sang by the sea", "a dog ran", "blue light on the old snow of night"]


@pytest.fixture
def double(make_hf, make_tokenizer):
    return ResidualModel(make_hf("llama").double(), make_tokenizer(), name="double")


def test_the_ids_are_those_of_words_that_are_single_tokens(llama_model):
    assert token_ids(llama_model, ["cat", "sea"]) == sorted(llama_model.tokenizer.convert_tokens_to_ids(["cat", "sea"]))
    with pytest.raises(InputError, match="'quark' is no single token"):
        token_ids(llama_model, ["cat", "quark"])
    with pytest.raises(InputError, match="no word is given"):
        token_ids(llama_model, [])


def test_the_direction_is_the_gradient_by_finite_differences(double):
    tokens = token_ids(double, ["cat", "sea"])
    gradient = towards_tokens(double, tokens, double.encode(TEXTS), [1], positions="all")[1]

    def log_prob(shift: torch.Tensor) -> float:
        by_text = []
        for text in TEXTS:
            rows = text_likelihood.cut_to_beginnings(double, double.encode([text]))
            with torch.no_grad(), shift_layers(double, {1: shift}):
                logits = double.hf(**double.batch(rows)).logits[0]
            by_text.append(float(logits.softmax(dim=-1)[:, tokens].sum(dim=-1).log().mean()))
        return float(np.mean(by_text))

    for coordinate in (0, 7, 31):
        step = torch.zeros(32, dtype=torch.float64)
        step[coordinate] = 1e-2
        expected = (log_prob(step) - log_prob(-step)) / 2e-2
        assert float(gradient[coordinate]) == pytest.approx(expected, rel=2e-2, abs=2e-4)


def test_padding_changes_no_log_probability(llama_model):
    tokens, rows = token_ids(llama_model, ["cat"]), llama_model.encode(TEXTS)
    with torch.no_grad():
        together = token_logprob(llama_model, rows, tokens)
        alone = torch.cat([token_logprob(llama_model, [row], tokens) for row in rows])
    assert torch.allclose(together, alone, atol=1e-5)


def test_the_share_grows_with_the_shift_and_is_1_once_the_words_have_their_target(llama_model):
    tokens, rows = token_ids(llama_model, ["cat"]), llama_model.encode(TEXTS)
    share = token_share(llama_model, tokens, rows, layer=1, positions="all")
    direction = towards_tokens(llama_model, tokens, rows, [1], positions="all")[1]
    shares = [share(direction / direction.norm() * length) for length in (0.0, 1.0, 50.0)]
    assert shares[0] < shares[1] < shares[2] <= 1.0
    with torch.no_grad():
        cut = text_likelihood.cut_to_beginnings(llama_model, rows)
        probability = float(token_logprob(llama_model, cut, tokens).exp().mean())
    assert shares[0] == pytest.approx(probability / TARGET_SHARE, rel=1e-4)
