"""Tokens per second, this library and others, in one run: `python benchmarks/speed.py` (`--device cuda` on a GPU).

repeng and steering-vectors pin other libraries or patch the model, so each runs in a virtual environment that this
script makes under `--peers FOLDER`, in a process of its own that takes its turn with the others.
"""

import argparse
import json
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peers import python_of
from report import machine, table, write
from transformers import GenerationConfig, GPT2Config, LlamaConfig
from transformers.models.auto.modeling_auto import AutoModelForCausalLM

import vectors
from vectors.decoding.decode import decode
from vectors.decoding.token_sampling import Settings
from vectors.model.residual_model import EMBEDDED_MODEL, ResidualModel

GPT2 = {"n_embd": 768, "n_layer": 12, "n_head": 12, "n_positions": 1024, "vocab_size": 50257}
LLAMA = {
    "hidden_size": 2048, "num_hidden_layers": 16, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 64,
    "intermediate_size": 8192, "vocab_size": 128256, "tie_word_embeddings": True, "max_position_embeddings": 2048,
}  # fmt: skip
PEERS = {
    "repeng": ["repeng==0.4.0", "transformers<5", "numpy<2", "torch==2.13.0"],
    "steering-vectors": ["steering-vectors", "torch==2.13.0"],
}
"""Packages of each peer's environment."""

_REPEATS = 10  # copies of a gigabyte that measure the memory bandwidth
Run = Callable[[], int]


def shaped(kind: str, device: str) -> ResidualModel:
    """The embedded model, that of a folder, or one of a known shape with random weights."""
    if kind == "embedded":
        model = vectors.load_model(device=device, dtype="float32")
    elif Path(kind).exists():
        model = vectors.load_model(kind, device)
    else:
        tokenizer = vectors.load_model(device="cpu").tokenizer
        dtype = torch.bfloat16 if kind == "1 B Llama" else torch.float32
        config = LlamaConfig(**LLAMA) if kind == "1 B Llama" else GPT2Config(**GPT2)
        torch.manual_seed(0)
        with torch.device(device):
            hf = AutoModelForCausalLM.from_config(config, dtype=dtype).eval()
        path = "model.layers" if kind == "1 B Llama" else "transformer.h"
        model = ResidualModel(hf, tokenizer, name=kind, blocks_path=path)
    model.eos_ids = frozenset()  # texts of one length for all
    return model


def ours(model: ResidualModel, batch: int, tokens: int, *, steered: str | None, costs: bool = True) -> Run:
    """The decode loop with or without costs: unsteered, one direction, or one direction a row."""
    one = torch.randn(1, model.d_model, generator=torch.Generator().manual_seed(0))
    rows = torch.randn(batch, model.d_model, generator=torch.Generator().manual_seed(1))

    def shifts(some: Any) -> dict[int, torch.Tensor]:
        return {model.n_layers // 2: rows[list(some)] if steered == "rows" else one.expand(len(some), -1)}

    def run() -> int:
        done = decode(
            model, shifts if steered else None, prefix=model.start_ids(), settings=Settings(max_tokens=tokens),
            seed=1, indices=range(batch), batch_size=batch, costs=costs,
        )  # fmt: skip
        return sum(len(each.tokens) for each in done)

    return run


def hugging_face(model: ResidualModel, batch: int, tokens: int) -> Run:
    """Plain `generate`."""
    plain = GenerationConfig(
        do_sample=True, top_k=0, temperature=1.0, max_new_tokens=tokens, eos_token_id=None, pad_token_id=0
    )
    model.hf.generation_config = plain  # it would fill in defaults, such as an end token
    start = torch.tensor([model.start_ids()] * batch, device=model.device)

    def run() -> int:
        with torch.inference_mode():
            made = model.hf.generate(start, attention_mask=torch.ones_like(start), generation_config=plain)
        return int((made.shape[1] - 1) * made.shape[0])

    return run


def lens(model: ResidualModel, batch: int, tokens: int) -> Run:
    """TransformerLens' `generate` with a hook that adds one direction."""
    from transformer_lens.model_bridge import TransformerBridge

    bridge = TransformerBridge.boot_transformers(str(EMBEDDED_MODEL), device="cpu")
    start = torch.tensor([model.start_ids()] * batch)
    shift = torch.randn(model.d_model, generator=torch.Generator().manual_seed(0))

    def added(value: torch.Tensor, hook: object) -> torch.Tensor:
        return value + shift

    def run() -> int:
        with torch.inference_mode(), bridge.hooks(fwd_hooks=[("blocks.1.hook_resid_post", added)]):
            made = bridge.generate(
                start, max_new_tokens=tokens, do_sample=True, temperature=1.0, top_k=None, stop_at_eos=False,
                verbose=False, return_type="tokens", prepend_bos=False,
            )  # fmt: skip
        return int((made.shape[1] - 1) * made.shape[0])

    return run


@contextmanager
def peer(name: str, kind: str, folder: Path, batch: int, tokens: int) -> Iterator[Run | None]:
    """A peer in its own process, which generates once a line of its input; None if it cannot be installed."""
    python = python_of(folder, name, PEERS[name])
    if python is None:
        yield None
        return
    script = Path(__file__).with_name("peer.py")
    arguments = [str(python), str(script), name, kind, str(EMBEDDED_MODEL), str(batch), str(tokens), json.dumps(GPT2)]
    process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None and process.stdout is not None
    put, get = process.stdin, process.stdout

    def run() -> int:
        put.write("\n")
        put.flush()
        line = get.readline()
        if not line:
            raise RuntimeError(f"{name} ended")
        return int(line)

    try:
        yield run
    finally:
        process.terminate()
        process.wait()


def turns(runs: dict[str, Run], rounds: int) -> dict[str, list[float]]:
    """Tokens per second of each; they alternate, so that drift affects all; the first round warms up."""
    speeds: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(rounds + 1):
        for name, run in runs.items():
            began = time.perf_counter()
            tokens = run()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if turn:
                speeds[name].append(tokens / (time.perf_counter() - began))
    return speeds


def bandwidth() -> float:
    """Bytes per second that a memory copy reads and writes."""
    one = torch.empty(2**30, dtype=torch.uint8, device="cuda")
    other = torch.empty_like(one)

    def run() -> int:
        for _ in range(_REPEATS):
            other.copy_(one)
        return 2 * _REPEATS * 2**30

    return max(turns({"copy": run}, 3)["copy"])


def rows_of(kind: str, batch: int, options: argparse.Namespace) -> list[list[object]]:
    """One model at one batch size: the speed of each, and the ratio to `generate` within a round."""
    model = shaped(kind, options.device)
    tokens = options.tokens
    runs: dict[str, Run] = {
        "Hugging Face generate, no steering": hugging_face(model, batch, tokens),
        "steer, no steering": ours(model, batch, tokens, steered=None),
        "steer, one direction": ours(model, batch, tokens, steered="one", costs=False),
        "steer, a direction a row": ours(model, batch, tokens, steered="rows", costs=False),
        "steer, a direction a row, with costs": ours(model, batch, tokens, steered="rows"),
    }
    if kind == "embedded" and options.device == "cpu":
        runs["TransformerLens generate, one direction"] = lens(model, batch, tokens)
    if options.peers is None or options.device != "cpu":
        speeds = turns(runs, options.rounds)
    else:
        with (
            peer("repeng", kind, options.peers, batch, tokens) as repeng,
            peer("steering-vectors", kind, options.peers, batch, tokens) as steering,
        ):
            for name, run in (("repeng, one direction", repeng), ("steering-vectors, one direction", steering)):
                if run is not None:
                    runs[name] = run
            speeds = turns(runs, options.rounds)
    reference = speeds["Hugging Face generate, no steering"]
    found: list[list[object]] = []
    for name, mine in speeds.items():
        ratio = statistics.median(one / other for one, other in zip(mine, reference, strict=True))
        row: list[object] = [kind, batch, name, f"{statistics.median(mine):,.0f}", f"{ratio:.2f}"]
        if options.device != "cpu":
            weights = sum(each.numel() * each.itemsize for each in model.hf.parameters())
            steps = statistics.median(mine) / batch
            row.append(f"{100 * steps * weights / options.bandwidth:.0f} %")
        found.append(row)
        print(row, flush=True)
    return found


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 16, 64, 256])
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--models", nargs="+", default=["embedded", "124 M GPT-2"])
    parser.add_argument("--peers", type=Path)
    options = parser.parse_args()
    options.bandwidth = bandwidth() if options.device != "cpu" else 0.0
    rows = [row for kind in options.models for batch in options.batches for row in rows_of(kind, batch, options)]
    heads = ["model", "batch", "", "tokens/s", "ratio"]
    body = (
        f"{options.tokens} tokens a text, {options.rounds} runs of all, one after the other; median tokens per "
        "second, and the median ratio within a run to Hugging Face `generate` of the unsteered model. All models "
        "but the embedded one have random weights. With costs, a second, unsteered row is added to the batch for "
        "each steered row, so that the cost of a text is known when it is finished; no other library measures it.\n\n"
    )
    name = "speed"
    if options.device != "cpu":
        heads.append("of the bandwidth")
        name = "speed-gpu"
        body += (
            f"A memory copy reaches {options.bandwidth / 1e12:.2f} TB/s, counting reads and writes; the last column "
            "is the fraction of that bandwidth that reading the weights once a step takes.\n\n"
        )
    title = "Speed" if options.device == "cpu" else "Speed on a GPU"
    write(name, title, body + table(heads, rows), seed=0, on=machine())


if __name__ == "__main__":
    main()
