"""Packed weights give the products of the weights themselves, in one rounding for all numbers of rows."""

import copy
import threading
from typing import Any

import pytest
import torch
from torch import nn

from vectors.decoding.packed_weights import PackedWeights
from vectors.model.residual_model import ResidualModel

MULTIPLES = (16, 32, 48, 64, 96, 128)


def batch(rows: int) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(rows)
    return {"input_ids": torch.randint(0, 40, (rows, 1), generator=generator), "use_cache": False}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("rows", [1, 16, 17, 32])
@torch.no_grad()
def test_logits_are_those_of_the_model(llama_model: ResidualModel, dtype: torch.dtype, rows: int) -> None:
    hf = copy.deepcopy(llama_model.hf).to(dtype)
    expected = hf(**batch(rows)).logits
    with PackedWeights(hf):
        for _ in range(2):
            torch.testing.assert_close(hf(**batch(rows)).logits, expected)
    assert not any("forward" in module.__dict__ for module in hf.modules())


@pytest.mark.skipif("USE_MKL=ON" not in torch.__config__.show(), reason="only MKL sums in one order")
@torch.no_grad()
def test_rows_round_alike_for_every_number_of_rows() -> None:
    layer = nn.Linear(1536, 576)
    inputs = torch.randn(max(MULTIPLES), 1536, generator=torch.Generator().manual_seed(0))
    with PackedWeights(layer):
        outputs = [layer(inputs[:rows])[: MULTIPLES[0]] for rows in MULTIPLES]
    assert all(torch.equal(output, outputs[0]) for output in outputs)


@torch.no_grad()
def test_a_changed_weight_is_packed_again() -> None:
    layer, inputs = nn.Linear(8, 4), torch.ones(16, 8)
    weights = PackedWeights(layer)
    with weights:
        layer(inputs)
        layer.weight.mul_(2)
        torch.testing.assert_close(layer(inputs), inputs @ layer.weight.T + layer.bias)
        layer.weight = nn.Parameter(torch.zeros(4, 8))
        torch.testing.assert_close(layer(inputs), layer.bias.expand(16, 4))


def test_gradients_flow_as_ever() -> None:
    layer, inputs = nn.Linear(8, 4), torch.ones(16, 8, requires_grad=True)
    with PackedWeights(layer):
        layer(inputs).sum().backward()
    assert inputs.grad is not None and torch.allclose(inputs.grad[0], layer.weight.sum(0))


@torch.no_grad()
def test_other_threads_and_blocks_one_in_another_are_served() -> None:
    layer, inputs = nn.Linear(8, 4), torch.ones(16, 8)
    expected, outputs = layer(inputs), []

    def run() -> None:
        outputs.append(layer(inputs))
        with PackedWeights(layer):
            outputs.append(layer(inputs))

    with PackedWeights(layer):
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        outputs.append(layer(inputs))
    assert len(outputs) == 3 and all(torch.allclose(output, expected, atol=1e-5) for output in outputs)
    assert "forward" not in layer.__dict__


@torch.no_grad()
def test_a_layer_with_a_forward_of_its_own_keeps_it() -> None:
    layer = nn.Linear(8, 4)
    layer.forward = lambda input: input + 1  # type: ignore[method-assign]
    with PackedWeights(layer):
        assert torch.equal(layer(torch.ones(16, 8)), 2 * torch.ones(16, 8))
    assert "forward" in layer.__dict__
