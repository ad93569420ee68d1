"""What extraction and sampling take: a model of memory and time, checked on models that run here, then applied to others.

`python benchmarks/cost_model.py FOLDER FOLDER` measures on the embedded model and on the two folders. The model of cost
has three constants, measured in the same run: the rate of matrix products with as many rows as a step has, the time
that a block takes apart from its products, and the time of one pass over the logits.
"""

from dataclasses import dataclass
from typing import Any

ROWS, TOKENS = 64, 96  # the texts that are sampled
STEPS, BATCH, LENGTH = 150, 16, 28  # of learning: optimiser steps, texts a step, tokens a text
READ = (256, 28)  # texts and tokens whose means are taken
GIB = 2**30


@dataclass(frozen=True)
class Shape:
    """The numbers of a model that decide its cost."""

    name: str
    blocks: int
    d_model: int
    block_weights: float
    vocabulary: int
    kv_width: int
    tied: bool = True

    @property
    def head_weights(self) -> float:
        """Weights of the output head."""
        return float(self.d_model * self.vocabulary)

    @property
    def weights(self) -> float:
        """All weights."""
        return self.blocks * self.block_weights + self.head_weights * (1 if self.tied else 2)


LARGE = (
    Shape("1 B (Llama 3.2)", 16, 2048, 60.8e6, 128256, 512),
    Shape("8 B (Llama 3.1)", 32, 4096, 218.1e6, 128256, 1024, tied=False),
    Shape("70 B (Llama 3.1)", 80, 8192, 855.7e6, 128256, 1024, tied=False),
)
GPUS = {"A100 80 GB": (2.0e12, 312e12, 80), "H200": (4.8e12, 990e12, 141)}  # bytes/s, bfloat16 operations/s, GB
BANDWIDTH, PEAK = 0.5, 0.4  # shares that are reached: RESULTS.md, "Speed on a GPU", and half of that for products


@dataclass(frozen=True)
class Machine:
    """Measured constants of a machine: operations a second by rows, seconds a block and step, and a logit and pass."""

    rates: dict[int, float]
    block: float
    logit: float

    def rate(self, rows: int) -> float:
        """Operations a second of products with so many rows."""
        return self.rates[min(self.rates, key=lambda known: abs(known - rows))]


def shape_of(model: Any) -> Shape:
    """The shape of a loaded model."""
    config = model.hf.config.get_text_config(decoder=True)
    block = sum(weight.numel() for weight in model.blocks[0].parameters())
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = heads * (getattr(config, "head_dim", None) or model.d_model // config.num_attention_heads)
    return Shape(model.name, model.n_layers, model.d_model, float(block), int(config.vocab_size), int(width))


def sampling(shape: Shape, machine: Machine) -> float:
    """Seconds for the texts with costs, shifted in the middle: half of the blocks have base rows too."""
    trunk = 2 * shape.blocks * shape.block_weights * (ROWS / machine.rate(ROWS) + 0.5 * ROWS / machine.rate(ROWS))
    head = 2 * shape.head_weights * 2 * ROWS / machine.rate(2 * ROWS)
    passes = 2 * ROWS * shape.vocabulary * machine.logit
    return TOKENS * (trunk + head + passes + shape.blocks * machine.block)


def means(shape: Shape, machine: Machine) -> float:
    """Seconds for the means of activations in the middle block."""
    return 2 * shape.blocks / 2 * shape.block_weights * READ[0] * READ[1] / machine.rate(1024)


def learning(shape: Shape, machine: Machine) -> float:
    """Seconds of learning at one layer in the middle: forward, backward through half of the blocks, the head twice."""
    tokens = BATCH * LENGTH
    blocks = 2 * shape.blocks * shape.block_weights * tokens * 1.5
    head = 2 * shape.head_weights * tokens * 2
    return STEPS * ((blocks + head) / machine.rate(1024) + 2 * tokens * shape.vocabulary * machine.logit)


def memory(shape: Shape, itemsize: int, *, sampled: bool) -> float:
    """GiB for sampling the texts with costs, or for learning."""
    chunk = 2**24 * 4 * 5
    if sampled:
        cache = 2 * shape.blocks * shape.kv_width * itemsize * TOKENS * ROWS * 1.5
        logits = 2 * ROWS * shape.vocabulary * 4 * 4
        return float(shape.weights * itemsize + cache + logits) / GIB
    activations = 34 * shape.d_model * itemsize * BATCH * LENGTH * shape.blocks / 2
    return float(shape.weights * itemsize + activations + chunk) / GIB
