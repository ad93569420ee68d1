"""Gradients of the likelihood of texts agree with finite differences, and weight positions."""

import numpy as np
import pytest
import torch

from vectors.activations import text_likelihood
from vectors.extraction.shifts.gradient import mean_gradient, text_gradients, weighted_means
from vectors.model.hooks import shift_layers
from vectors.model.positions import shift_by_position
from vectors.model.residual_model import ResidualModel

TEXTS = ["the cat sang by the sea", "a dog ran", "blue light on the old snow of night"]


@pytest.fixture
def double(make_hf, make_tokenizer):
    return ResidualModel(make_hf("llama").double(), make_tokenizer(), name="double")


def mean_nats(model, texts, layer, shift, positions) -> float:
    losses = []
    for text in texts:
        rows = text_likelihood.cut_to_beginnings(model, model.encode([text]))
        with torch.no_grad(), shift_layers(model, {layer: shift_by_position(shift[None], len(rows[0]), 1, positions)}):
            losses.append(float(text_likelihood.losses(model, rows).sum()) / (len(rows[0]) - 1))
    return float(np.mean(losses))


@pytest.mark.parametrize("positions", ["all", "bos", "not-bos"])
def test_the_mean_gradient_is_that_of_finite_differences(double, positions):
    gradient = mean_gradient(double, double.encode(TEXTS), [0, 1], positions=positions)
    for layer in (0, 1):
        for coordinate in (0, 7, 31):
            step = torch.zeros(32, dtype=torch.float64)
            step[coordinate] = 1e-2
            up, down = (mean_nats(double, TEXTS, layer, sign * step, positions) for sign in (1, -1))
            assert float(gradient[layer][coordinate]) == pytest.approx((down - up) / 2e-2, rel=2e-2, abs=2e-4)


def test_weights_count_in_the_mean_gradient(llama_model):
    rows, weights = llama_model.encode(TEXTS), torch.tensor([3.0, 1.0, 1.0]).double()
    weighted = mean_gradient(llama_model, rows, [1], positions="all", weights=weights)[1]
    first, second, third = (mean_gradient(llama_model, [row], [1], positions="all")[1] for row in rows)
    assert torch.allclose(weighted, (3 * first + second + third) / 5, atol=1e-6)


def test_padding_changes_no_gradient(llama_model):
    (together,) = text_gradients(llama_model, llama_model.encode(TEXTS), [1])
    for row, text in enumerate(TEXTS):
        (alone,) = text_gradients(llama_model, llama_model.encode([text]), [1])
        width = alone.gradient[1].shape[1]
        assert torch.allclose(together.gradient[1][row, :width], alone.gradient[1][0], atol=1e-6)
        assert not bool(together.gradient[1][row, width:].any())


def test_positions_are_weighted_by_the_norms_of_their_gradients(llama_model):
    (batch,) = text_gradients(llama_model, llama_model.encode(TEXTS[:1]), [1])
    text = slice(1, len(batch.rows[0]) - 1)  # neither the start token nor the end token
    norms = batch.gradient[1][0, text].norm(dim=1)
    expected = (norms[:, None] * batch.hidden[1][0, text]).sum(dim=0) / norms.sum()
    assert torch.allclose(
        weighted_means(llama_model, llama_model.encode(TEXTS[:1]), [1])[1].float(), expected, atol=1e-5
    )


def test_parameters_of_the_model_get_no_gradient(make_hf, make_tokenizer):
    hf = make_hf("llama").requires_grad_(True)
    model = ResidualModel(hf, make_tokenizer())
    mean_gradient(model, model.encode(TEXTS), [0], positions="all")
    assert all(weight.grad is None for weight in hf.parameters())
