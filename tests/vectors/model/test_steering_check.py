"""A shift is checked to reach the logits, and models in which it does not are refused."""

from collections.abc import Callable
from contextlib import nullcontext

import pytest
import torch
from torch import nn

from vectors.common.errors import InputError, UnsteeredError
from vectors.model.residual_model import ResidualModel
from vectors.model.steering_check import check_steering

LAYERS = (0, 1, 2)


def test_a_layer_is_checked_once(tiny_model: ResidualModel) -> None:
    for layer in LAYERS:
        check_steering(tiny_model, layer)
    forwards: list[None] = []
    handle = tiny_model.hf.register_forward_hook(lambda *_: forwards.append(None))
    check_steering(tiny_model, 2)
    handle.remove()
    assert not forwards


def test_a_block_that_is_never_called_is_refused(llama_model: ResidualModel) -> None:
    llama_model.blocks[1] = nn.Identity()  # never called
    with pytest.raises(UnsteeredError, match="ran 0 times"):
        check_steering(llama_model, 1)


def test_a_block_that_runs_twice_is_refused(llama_model: ResidualModel) -> None:
    llama_model.hf.model.layers[2] = llama_model.hf.model.layers[1]
    with pytest.raises(UnsteeredError, match="ran 2 times"):
        check_steering(llama_model, 1)


def test_a_shift_without_effect_is_refused(llama_model: ResidualModel) -> None:
    llama_model.hf.get_output_embeddings().weight.zero_()
    with pytest.raises(UnsteeredError, match="unchanged"):
        check_steering(llama_model, 1)


def test_logits_that_are_not_finite_are_refused(llama_model: ResidualModel) -> None:
    llama_model.hf.get_output_embeddings().weight.fill_(float("nan"))
    with pytest.raises(UnsteeredError, match="not finite"):
        check_steering(llama_model, 1)


@pytest.mark.parametrize(
    ("layer", "positions", "prefix", "new", "reaches"),
    [
        (2, "bos", [0, 5, 6], 8, False),  # after the last block no other position reads it
        (2, "bos", [0], 8, True),  # but the first token is sampled from it
        (1, "bos", [0, 5, 6], 8, True),
        (2, "all", [0, 5, 6], 1, True),
        (0, "generated", [0, 5], 1, False),  # one token is sampled, and none after it
        (0, "generated", [0, 5], 2, True),
        (2, "not-bos", [0], 1, False),
    ],
)
def test_a_shift_must_reach_the_logits_that_tokens_are_sampled_from(
    tiny_model, layer, positions, prefix, new, reaches
) -> None:
    expected = nullcontext() if reaches else pytest.raises(UnsteeredError, match=f"positions {positions}: choose")
    with expected:
        # not constant, because a LayerNorm removes a constant
        check_steering(tiny_model, layer, {positions: torch.linspace(-1, 2, 32)}, prefix=prefix, new=new)


@pytest.mark.parametrize("layer", [-1, 3, True, 1.0])
def test_unknown_layers_are_refused(llama_model: ResidualModel, layer: int) -> None:
    with pytest.raises(InputError, match="layers 0 to 2"):
        check_steering(llama_model, layer)


def test_a_model_that_reads_from_both_sides_is_refused(make_tokenizer: Callable) -> None:
    from transformers import BertConfig, BertLMHeadModel

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=64, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=64, bos_token_id=0, initializer_range=0.2,
    )  # fmt: skip
    model = ResidualModel(BertLMHeadModel(config).eval(), make_tokenizer(), blocks_path="bert.encoder.layer")
    with pytest.raises(UnsteeredError, match="both sides"):
        check_steering(model, 0)
