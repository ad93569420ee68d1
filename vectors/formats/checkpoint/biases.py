"""Write a shift at every position as the bias of the last linear layer of a block's feed-forward part."""

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final

import torch
from torch import Tensor, nn

from vectors.common.errors import ModelError

BIAS_SETTINGS: Final = ("mlp_bias", "use_bias", "bias")
"""Settings of transformers' configs that give linear layers a bias."""

LLAMA_LIKE: Final[Mapping[str, bool]] = {"mistral": False, "qwen2": True}
"""Families that can be written as Llama, whose config has `mlp_bias`, and whether their attention has biases."""

_LLAMA_SETTINGS = (  # settings that these families' configs share with Llama's
    *("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"),
    *("num_key_value_heads", "head_dim", "hidden_act", "max_position_embeddings", "initializer_range", "rms_norm_eps"),
    *("rope_parameters", "tie_word_embeddings", "attention_dropout", "bos_token_id", "eos_token_id", "pad_token_id"),
)


@dataclass(frozen=True)
class Feedforward:
    """The linear layers of a block's feed-forward part: `into` its neurons, the gate first, and `out` of them."""

    into: tuple[Any, ...]
    out: Any


def copy_sharing_weights(hf: Any) -> Any:
    """Return a copy of a transformers model that shares its tensors; replacing one in the copy keeps the model's."""
    return copy.deepcopy(hf, {id(tensor): tensor for tensor in chain(hf.parameters(), hf.buffers())})


def feedforward(block: nn.Module, width: int) -> Feedforward | None:
    """Return the feed-forward layers of a block, or None if its last linear layer does not have `width` outputs.

    The last linear layer of the block is `out`; its siblings with as many outputs as it has inputs are `into`.

    >>> from vectors.model.residual_model import load_model
    >>> model = load_model()
    >>> [out_features(module) for module in feedforward(model.blocks[0], 256).into]
    [704, 704]
    """
    linear = [(name, module) for name, module in block.named_modules() if _is_linear(module)]
    if not linear or out_features(linear[-1][1]) != width:
        return None
    last_name, last = linear[-1]
    siblings = block.get_submodule(last_name.rpartition(".")[0]).named_children()
    neurons = in_features(last)
    into = [
        (name, module)
        for name, module in siblings
        if module is not last and _is_linear(module) and out_features(module) == neurons
    ]
    into.sort(key=lambda pair: "gate" not in pair[0])
    return Feedforward(tuple(module for _, module in into), last)


def out_features(module: Any) -> int:
    """Return the number of outputs of a linear layer; GPT-2's `Conv1D` has the transposed weight."""
    return int(module.weight.shape[1 if hasattr(module, "nf") else 0])


def in_features(module: Any) -> int:
    """Return the number of inputs of a linear layer."""
    return int(module.weight.shape[0 if hasattr(module, "nf") else 1])


def with_biases(hf: Any, blocks_path: str, layers: Iterable[int], width: int) -> Any:
    """Return the model with feed-forward biases in the given layers: itself, or a Llama with its weights.

    Args:
        hf: a copy of the model, as `copy_sharing_weights` returns it.
        blocks_path: dotted name of the list of blocks.
        layers: 0-based blocks.
        width: d_model.

    Raises:
        ModelError: a family that has no such biases and no setting for them.
    """
    for layer in layers:
        if not _has_biases(hf.get_submodule(blocks_path)[layer], width):
            hf = _enable_biases(hf)
            if not _has_biases(hf.get_submodule(blocks_path)[layer], width):
                raise _no_biases(hf.config)
    return hf


def add_biases(hf: Any, blocks_path: str, deltas: Mapping[int, Tensor]) -> None:
    """Add each shift to the output of its block at every position.

    Args:
        hf: a model with biases, as `with_biases` returns it.
        blocks_path: dotted name of the list of blocks.
        deltas: the shift of each block's output, by 0-based block, "d_model" each.
    """
    for layer, delta in deltas.items():
        layers = feedforward(hf.get_submodule(blocks_path)[layer], len(delta))
        assert layers is not None  # checked by with_biases
        bias = layers.out.bias
        shifted = bias.detach().double() + delta.to(bias.device).double() / residual_multiplier(hf.config)
        layers.out.bias = nn.Parameter(shifted.to(bias.dtype), requires_grad=False)


def residual_multiplier(config: Any) -> float:
    """Return the factor by which a family multiplies a block's output before it is added to the stream (Granite)."""
    return float(getattr(config, "residual_multiplier", 1.0))


def _is_linear(module: Any) -> bool:
    return getattr(getattr(module, "weight", None), "ndim", 0) == 2 and not isinstance(module, nn.Embedding)


def _has_biases(block: nn.Module, width: int) -> bool:
    layers = feedforward(block, width)
    return layers is not None and all(
        getattr(module, "bias", None) is not None for module in (*layers.into, layers.out)
    )


def _enable_biases(hf: Any) -> Any:
    """Return the model with biases of zero wherever its family can have them."""
    config = hf.config
    setting = next((name for name in BIAS_SETTINGS if getattr(config, name, None) is False), None)
    if setting is not None:
        setattr(config, setting, True)
        with torch.device("meta"):
            state = type(hf)(copy.deepcopy(config)).state_dict()
        _fill(hf, {name: weight for name, weight in state.items() if name not in hf.state_dict()})
        return hf
    if config.model_type not in LLAMA_LIKE or _has_local_attention(config):
        raise _no_biases(config)
    return _as_llama(hf)


def _as_llama(hf: Any) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = hf.config
    settings = {key: getattr(config, key) for key in _LLAMA_SETTINGS if hasattr(config, key)}
    settings |= {"mlp_bias": True, "attention_bias": LLAMA_LIKE[config.model_type], "dtype": hf.dtype}
    with torch.device("meta"):
        llama: Any = LlamaForCausalLM(LlamaConfig(**settings))
    missing = llama.load_state_dict(hf.state_dict(), strict=False, assign=True)
    if missing.unexpected_keys:
        raise _no_biases(config)
    _fill(llama, {name: llama.state_dict()[name] for name in missing.missing_keys})
    llama.tie_weights()
    llama.model.rotary_emb = type(llama.model.rotary_emb)(llama.config).to(hf.device)  # it has no weights to assign
    llama.generation_config = hf.generation_config
    return llama.eval()


def _fill(hf: Any, missing: Mapping[str, Tensor]) -> None:
    """Add the missing biases to a model, all zero."""
    weight = next(weight for weight in hf.parameters() if weight.device.type != "meta")
    for name, bias in missing.items():
        owner, _, attribute = name.rpartition(".")
        if attribute != "bias" or bias.ndim != 1:
            raise _no_biases(hf.config)
        zeros = torch.zeros(bias.shape, dtype=weight.dtype, device=weight.device)
        setattr(hf.get_submodule(owner), attribute, nn.Parameter(zeros, requires_grad=False))


def _has_local_attention(config: Any) -> bool:
    """Whether some layers attend to a window only; Llama has no such layers."""
    kinds = getattr(config, "layer_types", None) or []
    window = getattr(config, "sliding_window", None) is not None and getattr(config, "use_sliding_window", True)
    return window or any(kind != "full_attention" for kind in kinds)


def _no_biases(config: Any) -> ModelError:
    return ModelError(
        f"blocks of family {config.model_type!r} have no biases in their feed-forward part, and no setting for them, "
        "so that a checkpoint cannot hold a shift: write a .gguf for llama.cpp (of concepts made for positions all), "
        "or steer live"
    )
