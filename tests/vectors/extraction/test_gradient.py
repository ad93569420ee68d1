"""Gradients of texts' likelihood against finite differences, and positions weighed by them."""

import numpy as np
import pytest
import torch

from vectors.activations import text_likelihood
from vectors.common.errors import InputError
from vectors.extraction.gradient import mean_gradient, text_gradients, weighted_means
from vectors.extraction.token_direction import token_ids, token_share, towards_tokens
from vectors.model.hooks import shift_layers
from vectors.model.positions import shift_by_position

TEXTS = ["the cat sang by the sea", "a dog ran", "blue light on the old snow of night"]


@pytest.fixture
def double(make_hf, make_tokenizer):
    from vectors.model.residual_model import ResidualModel

    return ResidualModel(make_hf("llama").double(), make_tokenizer(), name="double")


def mean_nats(model, texts, layer, shift, positions) -> float:
    found = []
    for text in texts:
        rows = text_likelihood.cut_to_beginnings(model, model.encode([text]))
        with torch.no_grad(), shift_layers(model, {layer: shift_by_position(shift[None], len(rows[0]), 1, positions)}):
            found.append(float(text_likelihood.losses(model, rows).sum()) / (len(rows[0]) - 1))
    return float(np.mean(found))


@pytest.mark.parametrize("positions", ["all", "bos", "not-bos"])
def test_the_mean_gradient_is_that_of_finite_differences(double, positions):
    found = mean_gradient(double, double.encode(TEXTS), [0, 1], positions=positions)
    for layer in (0, 1):
        for place in (0, 7, 31):
            step = torch.zeros(32, dtype=torch.float64)
            step[place] = 1e-2
            up, down = (mean_nats(double, TEXTS, layer, sign * step, positions) for sign in (1, -1))
            assert float(found[layer][place]) == pytest.approx((down - up) / 2e-2, rel=2e-2, abs=2e-4)


def test_weights_count_in_the_mean_gradient(llama_model):
    rows, weights = llama_model.encode(TEXTS), torch.tensor([3.0, 1.0, 1.0]).double()
    weighed = mean_gradient(llama_model, rows, [1], positions="all", weights=weights)[1]
    each = [mean_gradient(llama_model, [row], [1], positions="all")[1] for row in rows]
    assert torch.allclose(weighed, (3 * each[0] + each[1] + each[2]) / 5, atol=1e-6)


def test_padding_changes_no_gradient(llama_model):
    (together,) = text_gradients(llama_model, llama_model.encode(TEXTS), [1])
    for row, text in enumerate(TEXTS):
        (alone,) = text_gradients(llama_model, llama_model.encode([text]), [1])
        width = alone.gradient[1].shape[1]
        assert torch.allclose(together.gradient[1][row, :width], alone.gradient[1][0], atol=1e-6)
        assert not bool(together.gradient[1][row, width:].any())


def test_positions_count_as_their_gradients_are_long(llama_model):
    (read,) = text_gradients(llama_model, llama_model.encode(TEXTS[:1]), [1])
    own = slice(1, len(read.rows[0]) - 1)  # neither the start token nor the end token
    lengths = read.gradient[1][0, own].norm(dim=1)
    expected = (lengths[:, None] * read.hidden[1][0, own]).sum(dim=0) / lengths.sum()
    assert torch.allclose(
        weighted_means(llama_model, llama_model.encode(TEXTS[:1]), [1])[1].float(), expected, atol=1e-5
    )


def test_weights_of_the_model_keep_no_gradient(make_hf, make_tokenizer):
    from vectors.model.residual_model import ResidualModel

    hf = make_hf("llama").requires_grad_(True)
    model = ResidualModel(hf, make_tokenizer())
    mean_gradient(model, model.encode(TEXTS), [0], positions="all")
    assert all(weight.grad is None for weight in hf.parameters())


# Words


def test_words_are_the_tokens_that_they_are(llama_model):
    assert token_ids(llama_model, ["cat", "sea"]) == sorted(llama_model.tokenizer.convert_tokens_to_ids(["cat", "sea"]))
    with pytest.raises(InputError, match="'quark' is no single token"):
        token_ids(llama_model, ["cat", "quark"])
    with pytest.raises(InputError, match="no word is given"):
        token_ids(llama_model, [])


def test_a_direction_towards_words_is_that_of_finite_differences(double):
    tokens = token_ids(double, ["cat", "sea"])
    found = towards_tokens(double, tokens, double.encode(TEXTS), [1], positions="all")[1]

    def told(shift: torch.Tensor) -> float:
        each = []
        for text in TEXTS:
            rows = text_likelihood.cut_to_beginnings(double, double.encode([text]))
            with torch.no_grad(), shift_layers(double, {1: shift}):
                logits = double.hf(**double.batch(rows)).logits[0]
            each.append(float(logits.softmax(dim=-1)[:, tokens].sum(dim=-1).log().mean()))
        return float(np.mean(each))

    for place in (0, 7, 31):
        step = torch.zeros(32, dtype=torch.float64)
        step[place] = 1e-2
        assert float(found[place]) == pytest.approx((told(step) - told(-step)) / 2e-2, rel=2e-2, abs=2e-4)


def test_enough_is_reached_where_the_words_have_a_tenth(llama_model):
    tokens = token_ids(llama_model, ["cat"])
    share = token_share(llama_model, tokens, llama_model.encode(TEXTS), layer=1, positions="all")
    direction = towards_tokens(llama_model, tokens, llama_model.encode(TEXTS), [1], positions="all")[1]
    shares = [share(direction / direction.norm() * length) for length in (0.0, 1.0, 50.0)]
    assert shares[0] < shares[1] < shares[2] <= 1.0
