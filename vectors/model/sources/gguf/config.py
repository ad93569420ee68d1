"""The transformers config of a GGUF file: each value of its header is set, checked, or the file is refused."""

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np

from vectors.common.errors import ModelError
from vectors.common.validation import quote
from vectors.model.loading import short_message, silence_transformers
from vectors.model.sources.gguf.header import GgufFile
from vectors.model.sources.gguf.tensors import LLAMA3_ROPE, read_tensor

ARCHITECTURES: Final = ("llama", "qwen2", "qwen3", "gemma2", "gemma3", "gpt2", "starcoder2", "stablelm")
"""Architectures whose converted models give the logits of the originals, from files of llama.cpp's own converter."""

_MEND: Final = "give the model's folder in Hugging Face format"
_NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "context_length": ("max_position_embeddings", "n_positions"),
    "embedding_length": ("hidden_size",),
    "block_count": ("num_hidden_layers",),
    "feed_forward_length": ("intermediate_size", "n_inner"),
    "attention.head_count": ("num_attention_heads",),
    "attention.head_count_kv": ("num_key_value_heads",),
    "attention.key_length": ("head_dim",),
    "attention.value_length": ("head_dim",),
    "attention.layer_norm_rms_epsilon": ("rms_norm_eps", "norm_eps"),
    "attention.layer_norm_epsilon": ("layer_norm_eps", "layer_norm_epsilon", "norm_epsilon"),
    "attention.sliding_window": ("sliding_window",),
    "attn_logit_softcapping": ("attn_logit_softcapping",),
    "final_logit_softcapping": ("final_logit_softcapping",),
    "use_parallel_residual": ("use_parallel_residual",),
}
"""Values of the header, without the architecture's prefix, and the attributes of configs that hold them."""

_HARMLESS: Final = frozenset(
    ("vocab_size", "rope.scaling.finetuned", "tensor_data_layout", "rope.scaling.original_context_length")
)
"""Values that change nothing: the number of tokens is that of the embeddings."""

_NEUTRAL: Final[Mapping[str, Any]] = {
    "attention.causal": True, "expert_count": 0, "expert_used_count": 0, "pooling_type": 0,
    "attention.max_alibi_bias": 0.0, "attention.clamp_kqv": 0.0, "logit_scale": 1.0, "residual_scale": 1.0,
    "embedding_scale": 1.0, "rope.scaling.attn_factor": 1.0, "rope.scaling.yarn_log_multiplier": 0.0,
}  # fmt: skip
"""Values that are only understood if they say that something is not used."""


def config_of(file: GgufFile) -> Any:
    """Return the config of the model in a file.

    Raises:
        ModelError: an architecture that is not converted here, or a value that the config cannot express.
    """
    if file.architecture not in ARCHITECTURES:
        raise ModelError(
            f"{quote(file.path)} has the architecture {quote(file.architecture)}, and GGUF files are read of "
            f"{', '.join(ARCHITECTURES)}: {_MEND}"
        )
    missing = [key for key in ("block_count", "embedding_length", "attention.head_count") if key not in file.own]
    if missing or "token_embd.weight" not in file.tensors:
        lacking = f"{file.architecture}.{missing[0]}" if missing else "the tensor token_embd.weight"
        raise ModelError(f"{quote(file.path)} lacks {lacking}: convert the model again, or {_MEND}")
    depth = file.own["block_count"]
    if not isinstance(depth, int) or not 0 < depth <= len(file.tensors):
        raise ModelError(
            f"{quote(file.path)} says that it has {quote(depth)} blocks, and holds {len(file.tensors)} tensors: {_MEND}"
        )
    try:
        with silence_transformers():
            from transformers import AutoConfig

            config: Any = AutoConfig.from_pretrained(file.path.parent, gguf_file=file.path.name, local_files_only=True)
    except Exception as error:
        raise ModelError(f"{quote(file.path)} has no config that fits ({short_message(error)}): {_MEND}") from error
    config.vocab_size = file.tensors["token_embd.weight"].shape[0]
    config.tie_word_embeddings = "output.weight" not in file.tensors
    _set_biases(config, file)
    for key, value in file.own.items():
        _set(config, key, value, file)
    _set_rope(config, file)
    if file.architecture in ("gemma2", "gemma3"):
        # llama.cpp scales the queries of the 27B models otherwise, and knows them by their number of blocks
        large = config.num_hidden_layers == {"gemma2": 46, "gemma3": 62}[file.architecture]
        config.query_pre_attn_scalar = config.hidden_size // config.num_attention_heads if large else config.head_dim
    return config


def _set(config: Any, key: str, value: Any, file: GgufFile) -> None:
    if key.startswith("rope."):
        if key.removeprefix("rope.") not in _ROPE and key not in _HARMLESS and _NEUTRAL.get(key) != value:
            raise _not_understood(file, key, value)
        return
    if key in _HARMLESS or (key in _NEUTRAL and value == _NEUTRAL[key]):
        return
    if isinstance(value, list) and len(set(value)) == 1:
        value = value[0]  # one number for each block, all equal
    if key == "attention.sliding_window_pattern" and _is_pattern(config, value):
        return
    names = [name for name in _NAMES.get(key, ()) if hasattr(config, name)]
    if isinstance(value, list) or (not names and not _is_implied(config, key, value)):
        raise _not_understood(file, key, value)
    for name in names:
        setattr(config, name, value)


def _is_implied(config: Any, key: str, value: Any) -> bool:
    """Return whether a value without an attribute of its own follows from others."""
    implied: dict[str, Callable[[], Any]] = {
        "attention.key_length": lambda: config.hidden_size // config.num_attention_heads,
        "attention.value_length": lambda: config.hidden_size // config.num_attention_heads,
        "attention.head_count_kv": lambda: config.num_attention_heads,
        "feed_forward_length": lambda: 4 * config.hidden_size,
        "attention.sliding_window": lambda: value if value >= config.max_position_embeddings else None,
    }
    return key in implied and implied[key]() == value


def _is_pattern(config: Any, value: Any) -> bool:
    """Return whether the blocks with a sliding window are those of the config: every n-th without, or a flag each."""
    kinds = getattr(config, "layer_types", None) or []
    flags = [kind == "sliding_attention" for kind in kinds]
    if isinstance(value, int) and value > 0:
        value = [bool((block + 1) % value) for block in range(len(kinds))]
    return isinstance(value, list) and [bool(flag) for flag in value] == flags


_ROPE: Final = frozenset(("freq_base", "freq_base_swa", "dimension_count", "scaling.type", "scaling.factor"))


def _set_rope(config: Any, file: GgufFile) -> None:
    """Set the rotary positions: their base, how many dimensions turn, and how they are stretched."""
    if config.model_type == "gpt2":
        return  # learned positions
    own, parameters = file.own, config.rope_parameters
    by_kind = "full_attention" in parameters
    main = parameters["full_attention"] if by_kind else parameters
    if "rope.freq_base" in own:
        main["rope_theta"] = own["rope.freq_base"]
    if by_kind and "rope.freq_base_swa" in own:
        parameters["sliding_attention"]["rope_theta"] = own["rope.freq_base_swa"]
    elif "rope.freq_base_swa" in own and own["rope.freq_base_swa"] != main["rope_theta"]:
        raise _not_understood(file, "rope.freq_base_swa", own["rope.freq_base_swa"])
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    if (turned := own.get("rope.dimension_count", width)) != width:
        if not hasattr(config, "partial_rotary_factor") and "partial_rotary_factor" not in main:
            raise _not_understood(file, "rope.dimension_count", turned)
        main["partial_rotary_factor"] = config.partial_rotary_factor = turned / width
    elif "partial_rotary_factor" in main:
        main["partial_rotary_factor"] = config.partial_rotary_factor = 1.0
    kind, factor = own.get("rope.scaling.type", "none"), own.get("rope.scaling.factor", 1.0)
    if kind == "linear":
        main |= {"rope_type": "linear", "factor": factor}
    elif kind == "yarn":
        original = own.get("rope.scaling.original_context_length")
        if by_kind or original is None:
            raise _not_understood(file, "rope.scaling.type", kind)
        main |= {"rope_type": "yarn", "factor": factor, "original_max_position_embeddings": original}
    elif kind != "none" or factor != 1.0:
        raise _not_understood(file, "rope.scaling.type", kind)
    if LLAMA3_ROPE in file.tensors:
        main |= _llama3_rope(main["rope_theta"], width, file)


def _llama3_rope(theta: float, width: int, file: GgufFile) -> dict[str, Any]:
    """Return the parameters of Llama 3's stretched positions, which the file holds as a factor for each frequency.

    Llama 3.1 to 3.3 have the same parameters but for the factor, which is that of the slowest frequency.
    """
    factors = read_tensor(file, file.tensors[LLAMA3_ROPE])
    low, high, original = 1.0, 4.0, 8192
    factor = float(factors.max())
    wavelengths = 2 * math.pi * theta ** (np.arange(0, width, 2, dtype=np.float64) / width)
    smooth = np.clip((original / wavelengths - low) / (high - low), 0.0, 1.0)
    expected = 1 / ((1 - smooth) / factor + smooth)
    if factors.shape != expected.shape or not np.allclose(factors, expected, rtol=1e-3):
        raise ModelError(
            f"{quote(file.path)} stretches its positions by factors of its own ({LLAMA3_ROPE}), which transformers has "
            f"no name for: {_MEND}"
        )
    return {
        "rope_type": "llama3", "factor": round(factor, 3), "low_freq_factor": low, "high_freq_factor": high,
        "original_max_position_embeddings": original,
    }  # fmt: skip


def _set_biases(config: Any, file: GgufFile) -> None:
    """Switch biases on where the file has them; one without the other is then missing, and refused."""
    for name, tensor in (("attention_bias", "attn_q"), ("mlp_bias", "ffn_up"), ("use_qkv_bias", "attn_q")):
        if hasattr(config, name):
            setattr(config, name, f"blk.0.{tensor}.bias" in file.tensors)


def _not_understood(file: GgufFile, key: str, value: Any) -> ModelError:
    return ModelError(
        f"{quote(file.path)} says {file.architecture}.{key} = {quote(value)}, which transformers' "
        f"{file.architecture} has no setting for here: {_MEND}"
    )
