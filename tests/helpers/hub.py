"""Write tiny random models with the names and the layout of hub models, their weights in several shards.

Beside them go stand-ins for what people have on the disk: a GGUF file, and an adapter of one of the models.
"""

from pathlib import Path

import peft
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    PretrainedConfig,
    PreTrainedTokenizerFast,
    Qwen3Config,
)
from transformers.models.auto.modeling_auto import AutoModelForCausalLM

from helpers.gguf_model import TOKENS, write_model

END = "<|endoftext|>"
_D_MODEL, _LAYERS, _HEADS, _CONTEXT = 32, 4, 4, 256
_RMS = {
    "hidden_size": _D_MODEL, "intermediate_size": 64, "num_hidden_layers": _LAYERS, "num_attention_heads": _HEADS,
    "num_key_value_heads": 2, "max_position_embeddings": _CONTEXT,
}  # fmt: skip
_NEOX = {key: value for key, value in _RMS.items() if key != "num_key_value_heads"}

NAMES: dict[str, tuple[type[PretrainedConfig], dict[str, int], dict[str, str]]] = {
    "gpt2": (
        GPT2Config,
        {"n_embd": _D_MODEL, "n_layer": _LAYERS, "n_head": _HEADS, "n_positions": _CONTEXT},
        {"bos_token": END, "eos_token": END, "unk_token": END},
    ),
    "EleutherAI/pythia-70m": (GPTNeoXConfig, _NEOX, {"bos_token": END, "eos_token": END, "unk_token": END}),
    "SimpleStories/SimpleStories-1.25M": (LlamaConfig, _RMS, {"eos_token": "[EOS]", "unk_token": "[UNK]"}),
    "Qwen/Qwen3-0.6B-Base": (Qwen3Config, {**_RMS, "head_dim": 8}, {"eos_token": END, "pad_token": END}),
}
"""For each name the config class, the sizes, and the special tokens of the tokenizer (two have no start token)."""


def write(parent: Path, texts: list[str]) -> list[Path]:
    """Write a folder `parent/NAME` for every name, with a byte-level tokenizer trained on the texts."""
    folders = []
    for name, (config, size, special) in NAMES.items():
        raw = Tokenizer(models.BPE())
        raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        raw.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=600, special_tokens=sorted({*special.values()}), show_progress=False,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        )  # fmt: skip
        raw.train_from_iterator(texts, trainer)
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, **special)
        ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = AutoModelForCausalLM.from_config(
                config(**size, vocab_size=len(tokenizer), initializer_range=0.2, **ends), dtype=torch.float32
            )
        folder = parent / name
        model.save_pretrained(folder, max_shard_size="100KB")
        tokenizer.save_pretrained(folder)
        folders.append(folder)
    return folders


GGUF_NAME = "gemma-3-270m-q4_k_m.gguf"
ADAPTER_NAME, ADAPTER_BASE = "my-lora", "EleutherAI/pythia-70m"


def write_gguf(parent: Path) -> Path:
    """Write a tiny Gemma 3 with a vocabulary of bytes as `parent/GGUF_NAME`."""
    config = Gemma3TextConfig(
        vocab_size=len(TOKENS), hidden_size=_D_MODEL, intermediate_size=64, num_hidden_layers=_LAYERS, head_dim=8,
        num_attention_heads=_HEADS, num_key_value_heads=2, max_position_embeddings=_CONTEXT, initializer_range=0.2,
        sliding_window=16, bos_token_id=0, eos_token_id=1,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return write_model(parent / GGUF_NAME, Gemma3ForCausalLM(config).eval(), architecture="gemma3")


def write_adapter(parent: Path) -> Path:
    """Write a LoRA of `parent/ADAPTER_BASE`, which it does not name, as the folder `parent/ADAPTER_NAME`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        hf = AutoModelForCausalLM.from_pretrained(parent / ADAPTER_BASE)
        config = peft.LoraConfig(r=2, target_modules=["query_key_value"], task_type="CAUSAL_LM")
        model = peft.get_peft_model(hf, config)
        for weight in model.parameters():
            if weight.requires_grad:
                torch.nn.init.normal_(weight, std=0.2)
    model.peft_config["default"].base_model_name_or_path = None
    model.save_pretrained(parent / ADAPTER_NAME)
    return parent / ADAPTER_NAME
