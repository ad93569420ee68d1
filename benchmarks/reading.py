"""How fast texts are read, and whether memory stays flat: `python benchmarks/reading.py`."""

import argparse
import copy
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import islice

import torch
from report import table, write

import vectors
from vectors.activations import text_activations
from vectors.activations.moments import moments
from vectors.activations.text_activations import encode_texts
from vectors.almanac.world.author import stream
from vectors.model.residual_model import ResidualModel

_CHILD = """
import json, re, sys
from itertools import islice
from pathlib import Path
import torch, vectors
from vectors.activations.moments import moments
from vectors.activations.text_activations import encode_texts
from vectors.almanac.world.author import stream
torch.set_num_threads(1)
model = vectors.load_model(dtype="float32")
texts = [made.text for made in islice(stream(99), int(sys.argv[1]))]
moments(model, encode_texts(model, texts[:200]), [1], second=True)
Path("/proc/self/clear_refs").write_text("5")  # resets the peak
told = lambda what: int(re.search(what + r":\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
before = told("VmRSS")
moments(model, encode_texts(model, texts), [1], second=True)
print(json.dumps([before, told("VmHWM")]))
"""


def batches_of(model: ResidualModel, texts: list[str], layers: list[int]) -> list[dict[str, torch.Tensor]]:
    """The same batches as `steer` reads."""
    kept: list[dict[str, torch.Tensor]] = []
    original = text_activations.read

    def watched(same: ResidualModel, batch: dict[str, torch.Tensor], wanted: list[int]) -> object:
        kept.append(dict(batch))
        return original(same, batch, wanted)

    text_activations.read = watched  # type: ignore[assignment]
    try:
        moments(model, encode_texts(model, texts), layers)
    finally:
        text_activations.read = original
    return kept


def plain(model: ResidualModel, layer: int, batches: list[dict[str, torch.Tensor]]) -> Callable[[], None]:
    """The plain forward pass of a model that is cut after one layer, without a head."""
    short = copy.deepcopy(model.hf.base_model)
    short.layers = short.layers[: layer + 1]
    short.config.num_hidden_layers = layer + 1

    def run() -> None:
        with torch.inference_mode():
            for batch in batches:
                short(**batch, use_cache=False)

    return run


def main() -> None:
    """Measure both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 10_000, 100_000])
    options = parser.parse_args()
    model = vectors.load_model(dtype="float32")
    texts = [made.text for made in islice(stream(98), options.n)]
    tokens = sum(map(len, model.encode(texts)))
    rows = []
    for layer in range(model.n_layers):
        batches = batches_of(model, texts, [layer])
        runs = {
            "plain": plain(model, layer, batches),
            "ours": lambda layer=layer: moments(model, encode_texts(model, texts), [layer]),
        }
        times: dict[str, list[float]] = {name: [] for name in runs}
        for turn in range(options.rounds + 1):
            for name, run in runs.items():
                began = time.perf_counter()
                run()
                if turn:
                    times[name].append(time.perf_counter() - began)
        ratio = statistics.median(one / other for one, other in zip(times["plain"], times["ours"], strict=True))
        rows.append([layer, f"{ratio:.2f}"])
        print(rows[-1], flush=True)
    sizes = []
    for size in options.sizes:
        done = subprocess.run([sys.executable, "-c", _CHILD, str(size)], capture_output=True, text=True, check=True)
        before, after = json.loads(done.stdout)
        sizes.append([f"{size:,}", f"{before / 1024:,.0f}", f"{after / 1024:,.0f}", f"{(after - before) / 1024:,.0f}"])
        print(sizes[-1], flush=True)
    body = (
        f"{options.n} entries with {tokens:,} tokens; both sides read the same batches in {options.rounds} "
        "alternating runs; medians. `plain` is the Hugging Face forward pass of a model that is cut after the "
        "layer and has no head; `ours` tokenises, sorts by length, reads, and averages.\n\n"
        + table(["layer", "ours/plain, tokens/s"], rows)
        + "\n\nMemory of the process in MiB: with the texts loaded and a few of them read, and the peak while all are "
        "read, second moments included:\n\n" + table(["texts", "before", "peak", "more"], sizes)
    )
    write("reading", "Reading texts", body, seed=98)


if __name__ == "__main__":
    main()
