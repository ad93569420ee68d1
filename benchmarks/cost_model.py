"""Memory and time over the size of a model: `python benchmarks/cost_model.py FOLDER FOLDER`.

A model of cost with four constants of a machine. On this one they are measured on models with random weights; the
predictions are then compared with measurements on the embedded model and on those of the folders. For GPUs the
constants come from data sheets and from RESULTS.md, "Speed on a GPU", and the predictions are for larger models.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from report import machine, table, write
from transformers import LlamaConfig
from transformers.models.auto.modeling_auto import AutoModelForCausalLM

import vectors
from vectors.decoding.decode import decode
from vectors.decoding.packed_weights import PackedWeights
from vectors.decoding.token_sampling import Settings
from vectors.extraction.shifts.learned_shift import ROWS as LEARNED_ROWS
from vectors.extraction.shifts.learned_shift import STEPS
from vectors.model.residual_model import ResidualModel

TEXTS, TOKENS = 64, 96  # that are sampled, with costs
READ, LENGTH = 256, 64  # texts whose means are taken or that are learned from, and the tokens of each
LEARNED_STEPS = 5  # that are measured; a run has `STEPS`
GIB = 2**30
PILOT = 9  # times 64 texts that a pilot samples


@dataclass(frozen=True)
class Shape:
    """The numbers of a model that decide its cost; `block` is the number of weights of a block."""

    name: str
    blocks: int
    d_model: int
    block: float
    vocabulary: int
    kv_width: int
    itemsize: int = 2
    tied: bool = True

    @property
    def head(self) -> float:
        """Weights of the output head."""
        return float(self.d_model * self.vocabulary)

    @property
    def bytes(self) -> float:
        """Bytes of all weights."""
        return self.itemsize * (self.blocks * self.block + self.head * (1 if self.tied else 2))


@dataclass(frozen=True)
class Machine:
    """Constants of a machine.

    Attributes:
        few: operations a second of products with 64 to 128 rows.
        many: operations a second of products with hundreds of rows.
        block: seconds of a block and step apart from its products.
        logit: seconds of all passes over one logit.
        bandwidth: bytes a second at which a product of few rows reads the weights.
        packed: whether packed copies of the weights are kept.
    """

    few: float
    many: float
    block: float
    logit: float
    bandwidth: float
    packed: bool = False


LARGE = (
    Shape("1 B (Llama 3.2)", 16, 2048, 60.8e6, 128256, 512),
    Shape("8 B (Llama 3.1)", 32, 4096, 218.1e6, 128256, 1024, tied=False),
    Shape("70 B (Llama 3.1)", 80, 8192, 855.7e6, 128256, 1024, tied=False),
)
# of the profile of a 1 B model on an H200: a step of 128 rows takes 4.2 ms, products of its 2.5 GB of weights half of
# the 3.4 ms of a step of 64 rows; an A100 has 2.0 of the H200's 4.8 TB/s, and a third of its operations
H200 = Machine(few=200e12, many=400e12, block=0.16e-3, logit=2e-12, bandwidth=1.45e12)
A100 = Machine(few=80e12, many=140e12, block=0.16e-3 * 2.4, logit=5e-12, bandwidth=0.6e12)
GPUS = {"A100 80 GB": (A100, 80e9), "H200 141 GB": (H200, 141e9)}


def shape_of(model: ResidualModel) -> Shape:
    """The shape of a loaded model."""
    config = model.hf.config.get_text_config(decoder=True)
    block = sum(weight.numel() for weight in model.blocks[0].parameters())
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = heads * (getattr(config, "head_dim", None) or model.d_model // config.num_attention_heads)
    vocabulary = int(config.vocab_size)
    return Shape(model.name, model.n_layers, model.d_model, float(block), vocabulary, int(width), model.dtype.itemsize)


def product(weights: float, rows: int, shape: Shape, on: Machine) -> float:
    """Seconds of one product of each of so many weights with so many rows."""
    rate = on.few if rows <= 128 else on.many
    return max(2 * weights * rows / rate, weights * shape.itemsize / on.bandwidth)


def sampling(shape: Shape, on: Machine) -> float:
    """Seconds of the texts with costs, shifted in the middle: half of the blocks have base rows too."""
    half = shape.blocks * shape.block / 2
    step = product(half, TEXTS, shape, on) + product(half, 2 * TEXTS, shape, on)
    step += product(shape.head, 2 * TEXTS, shape, on) + 2 * TEXTS * shape.vocabulary * on.logit
    return TOKENS * (step + shape.blocks * on.block)


def means(shape: Shape, on: Machine) -> float:
    """Seconds of the mean activations in the middle block."""
    return product(shape.blocks * shape.block / 2, READ * LENGTH, shape, on)


def learning(shape: Shape, on: Machine, steps: int = STEPS) -> float:
    """Seconds of learning in the middle: forward, backward through half of the blocks, the head there and back."""
    rows = LEARNED_ROWS * LENGTH
    step = 1.5 * product(shape.blocks * shape.block, rows, shape, on) + 2 * product(shape.head, rows, shape, on)
    return steps * (step + 2 * rows * shape.vocabulary * on.logit)


def memory(shape: Shape, on: Machine, work: str) -> float:
    """Bytes of the weights and of what a work needs beside them."""
    chunk = 5 * 4 * 2**24  # float32 tensors as large as the logits that are computed at once
    if work == "sampling":
        cache = 2 * 1.5 * shape.blocks * shape.kv_width * shape.itemsize * TEXTS * (TOKENS + 1)
        logits = 4 * 4 * 2 * TEXTS * shape.vocabulary
        return shape.bytes * (2 if on.packed else 1) + cache + logits
    stream = 34 * shape.d_model * shape.itemsize * LEARNED_ROWS * LENGTH
    if work == "means":
        return shape.bytes + 4 * stream
    return shape.bytes + stream * shape.blocks / 2 + chunk


WORKS: dict[str, Callable[[Shape, Machine], float]] = {"means": means, "learning": learning, "sampling": sampling}


def seconds(run: Callable[[], object], repeats: int = 1) -> float:
    """Processor seconds of a run, after one to warm up; the rate is that of this process alone."""
    run()
    began = time.process_time()
    for _ in range(repeats):
        run()
    return (time.process_time() - began) / repeats


def sample(model: ResidualModel, tokens: int) -> None:
    """Sample texts with costs, each with a direction of its own in the middle."""
    model.eos_ids = frozenset()  # texts of one length
    shifts = torch.randn(TEXTS, model.d_model, generator=torch.Generator().manual_seed(1))
    layer, settings = model.n_layers // 2, Settings(max_tokens=tokens)
    done = decode(
        model, lambda some: {layer: shifts[list(some)]}, prefix=model.start_ids(), settings=settings, seed=1,
        indices=range(TEXTS), batch_size=TEXTS,
    )  # fmt: skip
    assert len(list(done)) == TEXTS


def random_model(vocabulary: int, blocks: int) -> ResidualModel:
    """A narrow model with random weights, whose products take no time."""
    config = LlamaConfig(
        hidden_size=64, num_hidden_layers=blocks, num_attention_heads=4, intermediate_size=128, vocab_size=vocabulary,
        tie_word_embeddings=True,
    )  # fmt: skip
    hf = AutoModelForCausalLM.from_config(config).eval()  # type: ignore[no-untyped-call]
    return ResidualModel(hf, vectors.load_model(device="cpu").tokenizer, name="random", blocks_path="model.layers")


def measured_machine() -> Machine:
    """The constants of this machine."""
    weights = [torch.nn.Linear(1024, 3072, bias=False) for _ in range(8)]
    stack = torch.nn.ModuleList(weights)
    operations = 2 * 8 * 1024 * 3072

    def products(rows: int) -> Callable[[], object]:
        inputs = torch.randn(rows, 1024)
        return lambda: [layer(inputs) for layer in weights]

    with torch.no_grad():
        many = 512 * operations / seconds(products(512), 5)
        with PackedWeights(stack):
            few = 96 * operations / seconds(products(96), 20)
            bandwidth = 4 * operations / 2 / seconds(products(16), 20)
    short, long = random_model(256, 4), random_model(256, 12)
    block = (seconds(lambda: sample(long, 32)) - seconds(lambda: sample(short, 32))) / 8 / 32
    wide = random_model(65536, 4)
    logits = seconds(lambda: sample(wide, 32)) - seconds(lambda: sample(short, 32))
    head = 32 * 2 * 64 * 65536 * 2 * TEXTS / few
    return Machine(few, many, block, max(0.0, logits - head) / (32 * 2 * TEXTS * 65536), bandwidth)


def peak_memory() -> int:
    """The most resident bytes of this process so far; `getrusage` would count those of its parent before it began."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return 1024 * int(line.split()[1])


def measure(name: str, work: str) -> tuple[dict[str, Any], float, float]:
    """Run one work in this process: the shape of the model, processor seconds, and peak bytes above those of torch."""
    model = vectors.load_model(device="cpu", dtype="float32")  # loads the libraries
    empty = peak_memory() - shape_of(model).bytes
    if name != "embedded":
        model = vectors.load_model(name, "cpu", "float32")
    start = int(model.hf.config.get_text_config(decoder=True).vocab_size) // 2
    words = model.tokenizer.decode(list(range(start, start + 4 * LENGTH)))
    texts = [f"{index} {words}" for index in range(READ)]
    if work == "sampling":
        spent = seconds(lambda: sample(model, TOKENS))
    elif work == "means":
        from vectors.activations.text_activations import text_means

        rows = [ids[:LENGTH] for ids in model.encode(texts)]
        spent = seconds(lambda: list(text_means(model, rows, [model.n_layers // 2])))
    else:
        from vectors.extraction.shifts.learned_shift import learn

        labels = torch.tensor([[index % 2 == 0] for index in range(READ)]).numpy()
        spent = seconds(lambda: learn(model, texts, labels, model.n_layers // 2, steps=LEARNED_STEPS))
        spent *= STEPS / LEARNED_STEPS
    return vars(shape_of(model)), spent, peak_memory() - empty


def checks(names: list[str], on: Machine) -> list[list[object]]:
    """Predictions beside measurements, each in a process of its own."""
    rows: list[list[object]] = []
    for name in ["embedded", *names]:
        for work, predict in WORKS.items():
            command = [sys.executable, __file__, "--measure", work, name]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            shape, spent, peak = json.loads(done.stdout.splitlines()[-1])
            known = Shape(**shape)
            here = Machine(**(vars(on) | {"packed": known.bytes > 4 * 50e6}))
            guess, size = predict(known, here), memory(known, here, work)
            rows.append(
                [
                    Path(name).name, work, f"{guess:.1f}", f"{spent:.1f}", f"{guess / spent:.2f}",
                    f"{size / GIB:.2f}", f"{peak / GIB:.2f}", f"{size / peak:.2f}",
                ]
            )  # fmt: skip
            print(rows[-1], flush=True)
    return rows


def duration(value: float) -> str:
    """Seconds or minutes, as one reads them."""
    return f"{value:.0f} s" if value < 90 else f"{value / 60:.0f} min"


def large() -> list[list[object]]:
    """What large models take."""
    rows: list[list[object]] = []
    for shape in LARGE:
        for gpu, (on, size) in GPUS.items():
            need = max(memory(shape, on, work) for work in WORKS)
            times = [predict(shape, on) for predict in WORKS.values()]
            rows.append(
                [
                    shape.name, f"{shape.bytes / 1e9:.0f} GB",
                    *(f"{memory(shape, on, work) / 1e9:.0f} GB" for work in WORKS),
                    gpu, int(-(-need // (0.9 * size))), *map(duration, times), duration(PILOT * times[2]),
                ]
            )  # fmt: skip
    return rows


def main() -> None:
    """Measure, compare, predict and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*")
    parser.add_argument("--measure", choices=list(WORKS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.measure:
        print(json.dumps(measure(options.models[0], options.measure)))
        return
    on = measured_machine()
    print(on, flush=True)
    heads = ["model", "work", "predicted s", "measured s", "ratio", "predicted GiB", "measured GiB", "ratio"]
    body = (
        f"Means: mean activations of {READ} texts of {LENGTH} tokens in the middle block. Learning: {STEPS} steps of "
        f"{LEARNED_ROWS} texts of {LENGTH} tokens ({LEARNED_STEPS} are measured). Sampling: {TEXTS} texts of {TOKENS} "
        "tokens with costs, shifted in the middle. float32, one thread, processor time, resident memory above that of "
        "torch. The constants of the machine are measured on models with random weights: "
        f"{on.few / 1e9:.0f} and {on.many / 1e9:.0f} GF/s for products of few and of many rows, "
        f"{1e6 * on.block:.0f} µs a block and step, {1e9 * on.logit:.1f} ns a logit.\n\n"
        + table(heads, checks(options.models, on))
        + "\n\n"
        "Predicted for GPUs in bfloat16, from the same model of cost, with the constants of the H200 section above and "
        "for the A100 scaled by its bandwidth. Not measured; a factor of two either way would not surprise.\n\n"
    )
    heads = ["model", "weights", "means", "learning", "sampling", "GPU", "GPUs", *WORKS, "pilot"]
    write("cost-model", "What a model takes", body + table(heads, large()), seed=1, on=machine())


if __name__ == "__main__":
    main()
