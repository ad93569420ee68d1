"""Tiny random families of models; `PYTHONPATH=.:tests python -m helpers.families` lists them in docs/models.md."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoModelForSeq2SeqLM,
    PreTrainedModel,
)
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from vectors.common.errors import SteerError
from vectors.decoding.kv_cache.choose_kv_cache import make_kv_cache
from vectors.model.loading import silence_transformers
from vectors.model.residual_model import ResidualModel
from vectors.model.steering_check import check_steering

MODELS_PAGE = Path(__file__).parents[2] / "docs" / "models.md"
PART = re.compile(r"<!-- families -->\n.*?<!-- /families -->", re.DOTALL)
WINDOW = 12
"""Attention window of families with sliding-window attention, shorter than the texts of the tests."""

SMALL: Mapping[str, Any] = {
    "vocab_size": 64, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1, "initializer_range": 0.2,
    "init_std": 0.2, "max_position_embeddings": 64, "n_positions": 64, "max_seq_len": 64,
    **dict.fromkeys(("hidden_size", "n_embd", "d_model", "word_embed_proj_dim", "lru_width"), 32),
    **dict.fromkeys(("num_hidden_layers", "num_layers", "n_layer", "n_layers"), 3),
    **dict.fromkeys(("num_attention_heads", "num_heads", "n_head", "n_heads", "attention_heads"), 4),
    **dict.fromkeys(("intermediate_size", "ffn_dim", "n_inner"), 48),
    **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size", "shared_intermediate_size"), 16),
    **dict.fromkeys(("num_local_experts", "num_experts", "n_routed_experts"), 4),
    **dict.fromkeys(("sliding_window", "window_size", "attention_window_size", "attention_chunk_size"), WINDOW),
    **dict.fromkeys(("mamba_chunk_size", "chunk_size"), 4),
    "num_key_value_heads": 2, "num_kv_heads": 2, "head_dim": 8, "rotary_dim": 4, "local_attention": 2 * WINDOW,
    "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1, "hidden_size_per_layer_input": 8, "global_head_dim": 8,
    "vocab_size_per_layer_input": 64, "q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8, "v_head_dim": 8, "index_n_heads": 2, "index_head_dim": 16, "index_topk": 64,
    "mamba_n_heads": 8, "n_mamba_heads": 8, "mamba_d_head": 8, "mamba_d_state": 8, "mamba_d_ssm": 64,
    "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 8, "linear_value_head_dim": 8,
}  # fmt: skip
_MIXED = ["linear_attention", "full_attention", "linear_attention"]
_HEADS = {"num_key_value_heads": 4}
_DECODER = {"decoder_layers": 3, "encoder_layers": 3, "decoder_attention_heads": 4, "encoder_attention_heads": 4}
_SIGHT = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 4, "image_size": 32,
    "patch_size": 16,
}  # fmt: skip
_TOKENIZER = SimpleNamespace(bos_token_id=0, eos_token_id=1, all_special_ids=[0, 1], added_tokens_decoder={})


@dataclass(frozen=True)
class Family:
    """A model type and the special settings of its tiny config (`text` and `vision`: its nested configs)."""

    kind: str
    own: Mapping[str, Any] = field(default_factory=dict)
    text: Mapping[str, Any] | None = None
    vision: Mapping[str, Any] | None = None
    auto: type = AutoModelForCausalLM
    blocks_path: str | None = None

    def build(self) -> PreTrainedModel:
        """Return a random model of the family in eval mode, with weights large enough for logits that differ."""
        given = _small(self.kind) | dict(self.own)
        if self.text is not None:
            text = dict(self.text)
            given["text_config"] = _small(text.get("model_type", f"{self.kind}_text")) | text
        if self.vision is not None:
            given["vision_config"] = dict(self.vision)
        with silence_transformers(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            config = AutoConfig.for_model(self.kind, **given)
            return self.auto.from_config(config, dtype=torch.float32).eval()  # type: ignore[attr-defined]


def _small(kind: str) -> dict[str, Any]:
    known = {each.name for each in fields(CONFIG_MAPPING[kind])}
    return {name: value for name, value in SMALL.items() if name in known}


def _seeing(kind: str, text: str, vision: Mapping[str, Any]) -> Family:
    return Family(kind, {}, {"model_type": text}, vision, AutoModelForImageTextToText)


def _named(kind: str, path: str = "model.layers", **own: Any) -> Family:
    return Family(kind, own, blocks_path=path)


_GROUPS: Mapping[str, Mapping[str, str | Family]] = {
    "One block after another": {
        "GPT-2": "gpt2", "GPT-Neo": Family("gpt_neo", {"attention_types": [[["global", "local", "global"], 1]]}),
        "GPT-J": "gptj", "GPT-NeoX": "gpt_neox", "CodeGen": "codegen", "GPT-BigCode": "gpt_bigcode", "OPT": "opt",
        "BLOOM": "bloom", "MPT": "mpt", "XGLM": "xglm", "Falcon": "falcon",
        "Falcon with ALiBi": Family("falcon", {"alibi": True}),
        "Falcon, new decoder": Family("falcon", {"new_decoder_architecture": True}),
        "Phi": "phi", "Phi-3": "phi3", "Llama": "llama", "Mistral": "mistral", "Ministral 3": "ministral3",
        "Qwen2": "qwen2", "Qwen3": "qwen3", "SmolLM3": "smollm3", "Gemma": "gemma", "Gemma 2": "gemma2",
        "Gemma 3": "gemma3_text", "VaultGemma": "vaultgemma",
        "Gemma 4": Family("gemma4_text", {"layer_types": ["sliding_attention", "sliding_attention", "full_attention"]}),
        "OLMo": "olmo", "OLMo 2": "olmo2",
        "OLMo 3": "olmo3", "StableLM": "stablelm", "StarCoder2": "starcoder2",
        "Cohere": Family("cohere", {"logit_scale": 1.0}), "Cohere 2": Family("cohere2", {"logit_scale": 1.0}),
        "Granite": "granite", "Apertus": "apertus", "Arcee": "arcee", "GLM": "glm", "GLM-4": "glm4",
        "EXAONE 4": "exaone4", "ERNIE 4.5": "ernie4_5", "Seed-OSS": "seed_oss", "Nemotron": "nemotron",
        "BitNet": "bitnet", "Hunyuan": "hunyuan_v1_dense", "Jais 2": "jais2", "nanochat": "nanochat",
        "ModernBERT decoder": "modernbert-decoder", "Youtu": Family("youtu", _HEADS),
    },
    "Mixtures of experts": {
        "Mixtral": "mixtral", "Qwen2-MoE": "qwen2_moe", "Qwen3-MoE": "qwen3_moe", "OLMoE": "olmoe",
        "FlexOLMo": "flex_olmo", "GraniteMoE": "granitemoe", "GPT-OSS": "gpt_oss", "ERNIE 4.5 MoE": "ernie4_5_moe",
        "GLM-4 MoE": "glm4_moe", "GLM-4 MoE Lite": Family("glm4_moe_lite", _HEADS),
        "GLM MoE DSA": Family("glm_moe_dsa", _HEADS), "DeepSeek V2": Family("deepseek_v2", _HEADS),
        "DeepSeek V3": Family("deepseek_v3", _HEADS), "JetMoE": "jetmoe", "Llama 4": "llama4_text",
        "MiniMax M2": "minimax_m2", "AFMoE": "afmoe", "Laguna": "laguna",
    },
    "Attention beside recurrence or convolution": {
        "Falcon-H1": "falcon_h1", "Jamba": Family("jamba", {"attn_layer_period": 2, "attn_layer_offset": 1}),
        "Zamba2": Family("zamba2", _HEADS | {"layers_block_type": ["linear_attention", "hybrid", "linear_attention"]}),
        "Granite hybrid": Family("granitemoehybrid", {"layer_types": _MIXED}),
        "Qwen3-Next": Family("qwen3_next", {"layer_types": _MIXED}),
        "Qwen3.5": Family("qwen3_5_text", {"layer_types": _MIXED}),
        "Qwen3.5 MoE": Family("qwen3_5_moe_text", {"layer_types": _MIXED}),
        "LFM2": Family("lfm2", {"full_attn_idxs": [1]}),
        "LFM2 MoE": Family("lfm2_moe", {"layer_types": ["conv", "full_attention", "conv"], "num_dense_layers": 1}),
    },
    "Vision-language models, given text alone": {
        "LLaVA": _seeing("llava", "llama", _SIGHT | {"model_type": "clip_vision_model"}),
        "LLaVA-NeXT": _seeing("llava_next", "llama", _SIGHT | {"model_type": "clip_vision_model"}),
        "LLaVA-OneVision": _seeing("llava_onevision", "qwen2", _SIGHT | {"model_type": "siglip_vision_model"}),
        "Mistral 3": _seeing("mistral3", "mistral", _SIGHT | {"model_type": "pixtral", "head_dim": 8}),
        "Idefics3": _seeing("idefics3", "llama", _SIGHT),
        "Gemma 3 with images": Family("gemma3", {"mm_tokens_per_image": 4}, {}, _SIGHT),
    },
    "Blocks named by hand": {
        "BioGPT": _named("biogpt", "biogpt.layers"), "CTRL": _named("ctrl", "transformer.h"),
        "Persimmon": _named("persimmon"), "GPT-NeoX Japanese": _named("gpt_neox_japanese", "gpt_neox_japanese.layers"),
        "Helium": _named("helium"), "Ministral": _named("ministral"), "CWM": _named("cwm"),
        "DiffLlama": _named("diffllama"), "Doge": _named("doge"), "HyperCLOVA X": _named("hyperclovax"),
        "Phi-3.5-MoE": _named("phimoe"), "GraniteMoE shared": _named("granitemoeshared"),
        "Hunyuan MoE": _named("hunyuan_v1_moe"), "EXAONE MoE": _named("exaone_moe"),
        "Cohere 2 MoE": _named("cohere2_moe", logit_scale=1.0),
        "dots.llm1": _named("dots1", n_shared_experts=1, **_HEADS),
        "Solar Open": _named("solar_open"), "MiMo V2 Flash": _named("mimo_v2_flash"), "Mellum": _named("mellum"),
    },
}  # fmt: skip
GROUPS = {
    group: {name: Family(of) if isinstance(of, str) else of for name, of in members.items()}
    for group, members in _GROUPS.items()
}
FAMILIES = {name: family for members in GROUPS.values() for name, family in members.items()}

REFUSED: Mapping[str, Mapping[str, Family]] = {
    "Encoder-decoder models": {
        name: Family(kind, _DECODER, auto=AutoModelForSeq2SeqLM)
        for name, kind in {"T5": "t5", "BART": "bart", "Marian": "marian", "mBART": "mbart"}.items()
    },
    "Encoders": {"BERT": Family("bert")},
    "State spaces and recurrence": {
        "Mamba": Family("mamba"), "Mamba-2": Family("mamba2", {"num_heads": 8, "n_groups": 1}),
        "Falcon-Mamba": Family("falcon_mamba"), "RWKV": Family("rwkv"),
        "Bamba": Family("bamba", {"attn_layer_indices": [1]}), "OLMo Hybrid": Family("olmo_hybrid"),
        "Nemotron-H": Family("nemotron_h"),
    },
    "State outside of the cache": {"RecurrentGemma": Family("recurrent_gemma")},
    "Several streams side by side": {"DeepSeek V4": Family("deepseek_v4", _HEADS)},
    "Several stacks of blocks": {"HRM-Text": Family("hrm_text")},
    "No cache to go on from": {"GPT-1": Family("openai-gpt")},
    "No adapter, as of any other": {
        "xLSTM": Family("xlstm"), "MiniMax": Family("minimax"), "XLNet": Family("xlnet"), "RoBERTa": Family("roberta"),
        "Whisper": Family("whisper", _DECODER),
    },
}  # fmt: skip
"""What is refused, by why: the sentence is the same for all of a row but for their names."""


def refusal(name: str, family: Family) -> str | None:
    """Return the sentence that refuses a family before anything is sampled, if there is one."""
    try:
        model = ResidualModel(family.build(), _TOKENIZER, name=name, blocks_path=family.blocks_path)
        for layer in range(model.n_layers):
            check_steering(model, layer)
        make_kv_cache(model, 2, WINDOW)
    except SteerError as error:
        return str(error)
    return None


def part() -> str:
    """Return the tables of docs/models.md, between their markers."""
    lines = ["<!-- families -->", "| Steered | Families (`model_type`) |", "|---|---|"]
    for group, members in GROUPS.items():
        lines.append(f"| {group} | {', '.join(f'{name} `{of.kind}`' for name, of in members.items())} |")
    lines += ["", "| Refused | Families | Sentence, for the first of them |", "|---|---|---|"]
    for why, members in REFUSED.items():
        said = refusal(*next(iter(members.items())))
        lines.append(f"| {why} | {', '.join(f'{name} `{of.kind}`' for name, of in members.items())} | {said} |")
    return "\n".join([*lines, "<!-- /families -->"])


if __name__ == "__main__":
    MODELS_PAGE.write_text(PART.sub(lambda _: part(), MODELS_PAGE.read_text()))
