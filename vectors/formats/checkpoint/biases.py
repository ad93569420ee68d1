"""A shift at every position as a bias: that of the last linear map by which a block writes to the residual stream."""

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final

import torch
from torch import Tensor, nn

from vectors.common.errors import ModelError

SWITCHES: Final = ("mlp_bias", "use_bias", "bias")
"""Settings of transformers' configs that give a family's linear maps biases."""

LIKE_LLAMA: Final[Mapping[str, bool]] = {"mistral": False, "qwen2": True}
"""Families that are Llama by other names, whose maps may have biases, and whether their attention has some."""

_LLAMA = (  # what Llama's config calls as those families' do
    *("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"),
    *("num_key_value_heads", "head_dim", "hidden_act", "max_position_embeddings", "initializer_range", "rms_norm_eps"),
    *("rope_parameters", "tie_word_embeddings", "attention_dropout", "bos_token_id", "eos_token_id", "pad_token_id"),
)


@dataclass(frozen=True)
class Feedforward:
    """The linear maps of a block's feed-forward part: those into its neurons, the gate first, and the one out."""

    into: tuple[Any, ...]
    out: Any


def twin_of(hf: Any) -> Any:
    """Return a copy of a transformers model that shares every weight, so that replacing one changes the copy alone."""
    return copy.deepcopy(hf, {id(held): held for held in chain(hf.parameters(), hf.buffers())})


def feedforward(block: nn.Module, width: int) -> Feedforward | None:
    """Return a block's feed-forward maps: its last matrix, and what its neighbours of as many neurons are.

    >>> from vectors.model.residual_model import load_model
    >>> model = load_model()
    >>> [size_out(each) for each in feedforward(model.blocks[0], 256).into]
    [704, 704]
    """
    matrices = [(name, module) for name, module in block.named_modules() if _is_matrix(module)]
    if not matrices or size_out(matrices[-1][1]) != width:
        return None
    name, last = matrices[-1]
    near = block.get_submodule(name.rpartition(".")[0]).named_children()
    into = {each: module for each, module in near if module is not last and _is_matrix(module)}
    neurons = size_in(last)
    found = sorted(
        (("gate" not in each, module) for each, module in into.items() if size_out(module) == neurons),
        key=lambda pair: pair[0],
    )
    return Feedforward(tuple(module for _, module in found), last)


def size_out(module: Any) -> int:
    """Return the width of what a linear map gives; GPT-2's keep their weights the other way round."""
    return int(module.weight.shape[1 if hasattr(module, "nf") else 0])


def size_in(module: Any) -> int:
    """Return the width of what a linear map takes."""
    return int(module.weight.shape[0 if hasattr(module, "nf") else 1])


def with_biases(twin: Any, blocks_path: str, layers: Iterable[int], width: int) -> Any:
    """Return a twin whose feed-forward maps have biases in some layers: itself, or a Llama of its weights.

    Raises:
        ModelError: a family without them, and without a setting for them.
    """
    for layer in layers:
        if not _has_biases(twin.get_submodule(blocks_path)[layer], width):
            twin = _switched(twin)
            if not _has_biases(twin.get_submodule(blocks_path)[layer], width):
                raise _none(twin.config)
    return twin


def add_biases(twin: Any, blocks_path: str, deltas: Mapping[int, Tensor]) -> None:
    """Add each shift to what its block writes at every position.

    Args:
        twin: as `with_biases` gives it.
        blocks_path: where its blocks lie.
        deltas: by 0-based block, what is added to its output, "d_model" each.
    """
    for layer, delta in deltas.items():
        maps = feedforward(twin.get_submodule(blocks_path)[layer], len(delta))
        assert maps is not None  # as with_biases has seen
        moved = maps.out.bias.detach().double() + delta.to(maps.out.bias.device).double() / share(twin.config)
        maps.out.bias = nn.Parameter(moved.to(maps.out.bias.dtype), requires_grad=False)


def share(config: Any) -> float:
    """Return what a family multiplies by what its blocks write before it is added (Granite)."""
    return float(getattr(config, "residual_multiplier", 1.0))


def _is_matrix(module: Any) -> bool:
    return getattr(getattr(module, "weight", None), "ndim", 0) == 2 and not isinstance(module, nn.Embedding)


def _has_biases(block: nn.Module, width: int) -> bool:
    maps = feedforward(block, width)
    return maps is not None and all(getattr(each, "bias", None) is not None for each in (*maps.into, maps.out))


def _switched(twin: Any) -> Any:
    """Return the twin with biases of zero wherever its family can have them."""
    config = twin.config
    switch = next((each for each in SWITCHES if getattr(config, each, None) is False), None)
    if switch is not None:
        setattr(config, switch, True)
        with torch.device("meta"):
            wanted = type(twin)(copy.deepcopy(config)).state_dict()
        _fill(twin, {name: row for name, row in wanted.items() if name not in twin.state_dict()})
        return twin
    if config.model_type not in LIKE_LLAMA or _slides(config):
        raise _none(config)
    return _llama(twin)


def _llama(twin: Any) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = twin.config
    told = {key: getattr(config, key) for key in _LLAMA if hasattr(config, key)}
    told |= {"mlp_bias": True, "attention_bias": LIKE_LLAMA[config.model_type], "dtype": twin.dtype}
    with torch.device("meta"):
        llama: Any = LlamaForCausalLM(LlamaConfig(**told))
    missing = llama.load_state_dict(twin.state_dict(), strict=False, assign=True)
    if missing.unexpected_keys:
        raise _none(config)
    _fill(llama, {name: llama.state_dict()[name] for name in missing.missing_keys})
    llama.tie_weights()
    llama.model.rotary_emb = type(llama.model.rotary_emb)(llama.config).to(twin.device)  # it has no weights to assign
    llama.generation_config = twin.generation_config
    return llama.eval()


def _fill(twin: Any, missing: Mapping[str, Tensor]) -> None:
    """Give a model the biases that it lacks, all of them zero."""
    known = next(each for each in twin.parameters() if each.device.type != "meta")
    for name, row in missing.items():
        owner, _, what = name.rpartition(".")
        if what != "bias" or row.ndim != 1:
            raise _none(twin.config)
        zeros = torch.zeros(row.shape, dtype=known.dtype, device=known.device)
        setattr(twin.get_submodule(owner), what, nn.Parameter(zeros, requires_grad=False))


def _slides(config: Any) -> bool:
    """Whether attention looks back a part of the way only, which Llama's does not."""
    kinds = getattr(config, "layer_types", None) or []
    window = getattr(config, "sliding_window", None) is not None and getattr(config, "use_sliding_window", True)
    return window or any(kind != "full_attention" for kind in kinds)


def _none(config: Any) -> ModelError:
    return ModelError(
        f"blocks of family {config.model_type!r} have no biases in their feed-forward part, and no setting that gives "
        "them some, so that a checkpoint cannot hold a shift: write a .gguf for llama.cpp (of concepts made for "
        "positions all), or steer live"
    )
