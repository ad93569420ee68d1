"""Run by `speed.py` in another library's environment: generates once a line of input."""

import json
import sys


def main() -> None:
    """Load the model, add one direction with the other library, and answer each line with the token count."""
    name, kind, folder, batch, tokens, shape = sys.argv[1:]
    import torch
    from transformers import AutoModelForCausalLM, GenerationConfig, GPT2Config

    torch.manual_seed(0)
    if kind == "embedded":
        model = AutoModelForCausalLM.from_pretrained(folder, torch_dtype=torch.float32).eval()
    else:
        model = AutoModelForCausalLM.from_config(GPT2Config(**json.loads(shape))).eval()
    plain = GenerationConfig(
        do_sample=True, top_k=0, temperature=1.0, max_new_tokens=int(tokens), eos_token_id=None, pad_token_id=0
    )
    model.generation_config = plain
    start = torch.zeros(int(batch), 1, dtype=torch.long)
    width = model.config.hidden_size
    shift = torch.randn(width, generator=torch.Generator().manual_seed(0))

    def generate(with_model: object) -> int:
        with torch.inference_mode():
            made = with_model.generate(start, attention_mask=torch.ones_like(start), generation_config=plain)
        return (made.shape[1] - 1) * made.shape[0]

    if name == "repeng":
        from repeng import ControlModel, ControlVector

        wrapped = ControlModel(model, [1])
        wrapped.set_control(ControlVector(model_type=model.config.model_type, directions={1: shift.numpy()}), 1.0)
        for _ in sys.stdin:
            print(generate(wrapped), flush=True)
    else:
        from steering_vectors import SteeringVector

        vector = SteeringVector({1: shift}, "decoder_block")
        for _ in sys.stdin:
            with vector.apply(model, min_token_index=0):
                made = generate(model)
            print(made, flush=True)


if __name__ == "__main__":
    main()
