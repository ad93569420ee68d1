"""On a CUDA device: the recorded gradient is the one that plain autograd finds, for batches of any width."""

from itertools import islice

import pytest
import torch

from vectors.almanac.training.corpus import batches
from vectors.almanac.training.cuda_graph import WIDTH, RecordedGradient
from vectors.almanac.training.initial_weights import fresh
from vectors.almanac.training.loss import Gradient, Pupil

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def test_the_recorded_gradient_is_that_of_plain_autograd(tokenizer):
    pupil = Pupil(fresh(tokenizer, seed=5, d_model=64, layers=2, heads=2, device="cuda"))
    torch.nn.init.normal_(pupil.reader.weight, std=0.1)
    wanted = {"dtype": "float32", "steps": 10, "calm": 0.5, "asked": 0.3}
    plain, recorded = Gradient(pupil, **wanted), RecordedGradient(pupil, **wanted)
    made = [[part.cuda() for part in batch] for batch in islice(batches(5, 4, tokenizer), 4)]
    made.append([made[0][0][:, : WIDTH - 1], made[0][1]])
    for ids, about in made:
        loss = plain(ids, about)
        expected = [weight.grad.clone() for weight in plain.weights]
        assert recorded(ids, about) == pytest.approx(loss, abs=1e-4)
        for weight, gradient in zip(recorded.weights, expected, strict=True):
            assert (weight.grad - gradient).norm() <= 1e-3 * gradient.norm() + 1e-6
        with torch.no_grad():
            for weight in pupil.parameters():  # the next gradient is that of other weights
                weight -= 0.1 * weight.grad
    recorded.close()
    plain.close()
