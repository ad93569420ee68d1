"""The embedded model's shape, and its weights before training."""

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from vectors.almanac.training.tokenizer import CONTEXT


def fresh(
    tokenizer: PreTrainedTokenizerFast, *, seed: int, d_model: int, layers: int, heads: int, device: str = "cpu"
) -> LlamaForCausalLM:
    """A model of that size with random weights, a function of the seed."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=d_model,
        intermediate_size=d_model
        * 11
        // 4,  # the usual 8/3 gives 682: accelerators and quantizers want multiples of 64
        num_hidden_layers=layers,
        num_attention_heads=heads,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    # at this length faster on CPUs than the fused kernel, whose backward is slow there
    config._attn_implementation = "eager" if torch.device(device).type == "cpu" else "sdpa"
    model = LlamaForCausalLM(config)
    for name, weight in model.named_parameters():
        if weight.ndim == 2:  # by fan-in; what writes into the residual stream starts smaller
            writes = name.endswith(("embed_tokens.weight", "o_proj.weight", "down_proj.weight"))
            torch.nn.init.normal_(weight, std=(0.5 if writes else 1.0) * weight.shape[1] ** -0.5)
    torch.nn.Module.to(model, device)  # in place, as model.to() but with types
    return model
