"""The embedded model's architecture, and its weights before training."""

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from vectors.almanac.training.tokenizer import CONTEXT


def initial_model(
    tokenizer: PreTrainedTokenizerFast, *, seed: int, d_model: int, layers: int, heads: int, device: str = "cpu"
) -> LlamaForCausalLM:
    """Return a model of the given size with random weights, a function of the seed."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=d_model,
        # the usual 8/3 gives 682, and accelerators and quantisers need multiples of 64
        intermediate_size=d_model * 11 // 4,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    # on CPUs and at this length faster than the fused kernel, whose backward pass is slow there
    config._attn_implementation = "eager" if torch.device(device).type == "cpu" else "sdpa"
    model = LlamaForCausalLM(config)
    for name, weight in model.named_parameters():
        if weight.ndim == 2:  # scaled by fan-in, and by half for weights that write to the residual stream
            writes = name.endswith(("embed_tokens.weight", "o_proj.weight", "down_proj.weight"))
            torch.nn.init.normal_(weight, std=(0.5 if writes else 1.0) * weight.shape[1] ** -0.5)
    torch.nn.Module.to(model, device)  # in place, as model.to() but with types
    return model
