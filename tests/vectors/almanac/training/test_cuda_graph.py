"""On a CUDA device the captured gradient equals that of plain autograd, for batches of any width."""

from itertools import islice

import pytest
import torch

from vectors.almanac.training.corpus import batches
from vectors.almanac.training.cuda_graph import WIDTH, CapturedGradient
from vectors.almanac.training.initial_weights import initial_model
from vectors.almanac.training.loss import Gradient, TrainedModel

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def test_the_captured_gradient_is_that_of_plain_autograd(tokenizer):
    trained = TrainedModel(initial_model(tokenizer, seed=5, d_model=64, layers=2, heads=2, device="cuda"))
    torch.nn.init.normal_(trained.reader.weight, std=0.1)
    settings = {"dtype": "float32", "steps": 10, "start_norm_weight": 0.5, "attribute_weight": 0.3}
    plain, captured = Gradient(trained, **settings), CapturedGradient(trained, **settings)
    inputs = [[part.cuda() for part in batch] for batch in islice(batches(5, 4, tokenizer), 4)]
    inputs.append([inputs[0][0][:, : WIDTH - 1], inputs[0][1]])
    for ids, attributes in inputs:
        loss = plain(ids, attributes)
        expected = [weight.grad.clone() for weight in plain.weights]
        assert captured(ids, attributes) == pytest.approx(loss, abs=1e-4)
        for weight, gradient in zip(captured.weights, expected, strict=True):
            assert (weight.grad - gradient).norm() <= 1e-3 * gradient.norm() + 1e-6
        with torch.no_grad():
            for weight in trained.parameters():  # the next gradient must be that of the changed weights
                weight -= 0.1 * weight.grad
    captured.close()
    plain.close()
