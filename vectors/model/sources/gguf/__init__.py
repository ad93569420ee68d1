"""A model in a GGUF file: read its header, rebuild its config, tokenizer and weights, and keep the result."""
