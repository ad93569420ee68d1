"""Write a tiny model as a GGUF file, with llama.cpp's own package, in the layout of llama.cpp's converter."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter, quants
from transformers import PreTrainedModel
from transformers.convert_slow_tokenizer import bytes_to_unicode

LETTERS = list(bytes_to_unicode().values())
TOKENS = ["<s>", "</s>", *LETTERS]
"""A vocabulary of single bytes, after two special tokens."""

_BLOCK = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm",
}  # fmt: skip
_LLAMA = _BLOCK | {"post_attention_layernorm": "ffn_norm"}
_GEMMA3 = _BLOCK | {
    "post_attention_layernorm": "post_attention_norm", "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm", "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
}  # fmt: skip
_TOP = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}


def write_model(
    path: Path,
    hf: PreTrainedModel,
    *,
    kind: GGMLQuantizationType = GGMLQuantizationType.F32,
    architecture: str = "llama",
    more: Mapping[str, Any] | None = None,
    tensors: Mapping[str, np.ndarray] | None = None,
    without: tuple[str, ...] = (),
    tokens: list[str] = TOKENS,
    tokenizer: str = "gpt2",
) -> Path:
    """Write `hf` (a Llama or Gemma 3) to `path`; `more` and `tensors` are written beside, `without` is left out."""
    config = hf.config
    writer = GGUFWriter(path, architecture)
    values: dict[str, Any] = {
        "block_count": config.num_hidden_layers, "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size, "feed_forward_length": config.intermediate_size,
        "attention.head_count": config.num_attention_heads, "attention.head_count_kv": config.num_key_value_heads,
        "attention.layer_norm_rms_epsilon": float(config.rms_norm_eps), "attention.key_length": config.head_dim,
        "attention.value_length": config.head_dim, "rope.freq_base": 10000.0,
    }  # fmt: skip
    if architecture == "gemma3":
        values |= {"attention.sliding_window": config.sliding_window, "rope.freq_base": 1e6}
    for key, value in (values | dict(more or {})).items():
        name = key if key.startswith(("general.", "split.", "tokenizer.")) else f"{architecture}.{key}"
        if key in without:
            continue
        if isinstance(value, str):
            writer.add_string(name, value)
        elif isinstance(value, float):
            writer.add_float32(name, value)
        else:
            writer.add_uint32(name, value)
    if "tokenizer" not in without:
        writer.add_tokenizer_model(tokenizer)
        if "tokenizer.ggml.pre" not in (more or {}):
            writer.add_tokenizer_pre("gpt-2")
        writer.add_token_list(tokens)
        writer.add_token_types([3, 3] + [1] * (len(tokens) - 2))
        writer.add_token_merges([])
        writer.add_bos_token_id(0)
        writer.add_eos_token_id(1)
    names = _LLAMA if architecture == "llama" else _GEMMA3
    for name, weight in hf.state_dict().items():
        base, _, suffix = name.rpartition(".")
        if base in _TOP:
            target = _TOP[base]
        else:
            _, _, block, rest = base.split(".", 3)
            target = f"blk.{block}.{names[rest]}"
        target = f"{target}.{suffix}"
        if target in without or (target == "output.weight" and config.tie_word_embeddings):
            continue
        values_of = weight.float().numpy()
        if architecture == "llama" and (".attn_q." in target or ".attn_k." in target):
            heads = config.num_attention_heads if ".attn_q." in target else config.num_key_value_heads
            halves = values_of.reshape(heads, 2, len(values_of) // heads // 2, -1)
            values_of = halves.swapaxes(1, 2).reshape(weight.shape)
        if architecture == "gemma3" and target.endswith("norm.weight"):
            values_of = values_of + 1
        if values_of.ndim == 2 and kind != GGMLQuantizationType.F32:
            writer.add_tensor(target, quants.quantize(values_of, kind), raw_dtype=kind)
        else:
            writer.add_tensor(target, values_of)
    for name, values_of in (tensors or {}).items():
        writer.add_tensor(name, values_of)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
