"""Tokens a second of `steer.sample`, Hugging Face `generate` and TransformerLens `generate`, in turns in one run."""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from report import table, write
from transformers import GenerationConfig

import steer
import vectors
from vectors.decode import decode
from vectors.drawing import Settings
from vectors.model import EMBEDDED


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=64)
    options = parser.parse_args()
    model = vectors.load_model(device="cpu")
    # texts of one length for all: the end token is switched off
    model.eos_ids = frozenset()
    from transformer_lens.model_bridge import TransformerBridge

    bridge = TransformerBridge.boot_transformers(str(EMBEDDED), device="cpu")
    point = steer.compose("sonnet + quantum + cat", model)
    start = torch.tensor([model.start_ids()] * options.batch)

    def ours(radius: float | None) -> Callable[[], int]:
        def run() -> int:
            chosen = None if radius is None else point
            runs = steer.sample(
                model,
                chosen,
                n=options.batch,
                radius=radius or 0.0,
                seed=options.seed,
                max_tokens=options.tokens,
                batch_size=options.batch,
            )
            return sum(len(one.tokens) for one in runs)

        return run

    def decoding() -> int:
        done = decode(
            model,
            None,
            prefix=model.start_ids(),
            settings=Settings(max_tokens=options.tokens),
            seed=options.seed,
            indices=range(options.batch),
            batch_size=options.batch,
        )
        return sum(len(one.tokens) for one in done)

    plain = GenerationConfig(
        do_sample=True, top_k=0, temperature=1.0, max_new_tokens=options.tokens, eos_token_id=None, pad_token_id=0
    )
    model.hf.generation_config = plain  # it fills gaps in what is passed, an end token too

    def generate() -> int:
        with torch.inference_mode():
            made = model.hf.generate(start, attention_mask=torch.ones_like(start), generation_config=plain)
        return int((made.shape[1] - 1) * made.shape[0])

    def lens() -> int:
        with torch.inference_mode():
            made = bridge.generate(
                start, max_new_tokens=options.tokens, do_sample=True, temperature=1.0, top_k=None,
                stop_at_eos=False, verbose=False, return_type="tokens", prepend_bos=False,
            )  # fmt: skip
        return int((made.shape[1] - 1) * made.shape[0])

    runs = {
        "steer.sample, radius 0.5 (a direction a row), costs included": ours(0.5),
        "steer.sample, radius 0, costs included": ours(0.0),
        "steer.sample, no steering, costs included": ours(None),
        "its decode loop alone, no steering": decoding,
        "Hugging Face generate, no steering": generate,
        "TransformerLens generate, no steering": lens,
    }
    speeds: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(options.rounds + 1):
        for name, run in runs.items():
            began = time.perf_counter()
            tokens = run()
            if turn:  # the first turn warms up
                speeds[name].append(tokens / (time.perf_counter() - began))
    reference = speeds["Hugging Face generate, no steering"]
    rows = [
        [
            name,
            f"{statistics.median(found):,.0f}",
            f"{statistics.median(mine / other for mine, other in zip(found, reference, strict=True)):.2f}",
        ]
        for name, found in speeds.items()
    ]
    body = (
        f"Batch {options.batch}, {options.tokens} tokens each, {options.rounds} turns of all six one after the other; "
        "median tokens a second, and the median ratio, turn by turn, to Hugging Face `generate`. Costs are the two "
        "teacher-forced passes that give each sample its pressure: the aim, the speed of Hugging Face, is met by the "
        "loop and missed with them.\n\n" + table(["", "tokens/s", "ratio"], rows)
    )
    write("speed", "Speed on the embedded model", body, seed=options.seed)


if __name__ == "__main__":
    main()
