"""Rebuild the embedded model from scratch: `python -m vectors.almanac.train --minutes 100`."""

import argparse
import json
import math
import os
import platform
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from vectors.almanac.training import corpus
from vectors.almanac.training.concept_library import build as build_library
from vectors.almanac.training.concept_library import save_model
from vectors.almanac.training.cuda_graph import CapturedGradient
from vectors.almanac.training.initial_weights import initial_model
from vectors.almanac.training.loss import Gradient, TrainedModel, nats_per_token
from vectors.almanac.training.tokenizer import ENTRIES, train_on_stream
from vectors.almanac.world.author import Entry, entry
from vectors.common.errors import InputError
from vectors.common.validation import quote
from vectors.model.residual_model import ResidualModel, load_model

CHECKPOINT = "checkpoint.pt"

HELD_OUT_STREAM = 1 << 40
"""Added to the seed: no training run reads this stream."""


@dataclass(frozen=True)
class Plan:
    """The settings of a run; the same plan on the same machine gives the same weights."""

    seed: int
    steps: int
    batch: int = 32
    d_model: int = 256
    layers: int = 6
    heads: int = 4
    dtype: str = "bfloat16"
    rate: float = 3e-3
    start_norm_weight: float = 0.02
    attribute_weight: float = 0.1
    weight_decay: float = 0.05
    warmup: int = 200
    decay: float = 0.8

    def schedule(self, step: int) -> float:
        """Return the factor of the learning rate: linear warm-up, a plateau, linear decay over the last `decay`."""
        left = (self.steps - step) / self.steps
        return min(1.0, (step + 1) / self.warmup, left / self.decay)


def build(plan: Plan, tokenizer: PreTrainedTokenizerFast, *, device: str = "cpu") -> LlamaForCausalLM:
    """Return an untrained model of the plan's size."""
    size = {"d_model": plan.d_model, "layers": plan.layers, "heads": plan.heads}
    return initial_model(tokenizer, seed=plan.seed, device=device, **size)


def held_out(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, seed: int, n: int = 512
) -> tuple[float, float, int]:
    """Return nats per token of the model and of the author on `n` unseen entries, and their number of tokens.

    The author's are those of its derivations: the entropy of the data, up to texts with several derivations.
    """
    entries = _unseen(seed, n)
    rows = corpus.encode(tokenizer, entries)
    tokens = sum(len(row) - 1 for row in rows)
    device = next(model.parameters()).device
    with torch.no_grad():
        total = sum(
            float(nats_per_token(model, ids.to(device))) * int((ids[:, 1:] >= 0).sum())
            for ids in (corpus.pad(rows[i : i + 64]) for i in range(0, n, 64))
        )
    return total / tokens, -sum(entry.log_prob for entry in entries) / tokens, tokens


@cache
def _unseen(seed: int, n: int) -> list[Entry]:
    return [entry(seed + HELD_OUT_STREAM, i) for i in range(n)]


def checkpoint_plan(folder: Path) -> Plan | None:
    """Return the plan of the folder's checkpoint, or None if there is none."""
    if not (folder / CHECKPOINT).exists():
        return None
    return Plan(**torch.load(folder / CHECKPOINT, weights_only=True, mmap=True)["plan"])


def train(
    plan: Plan,
    tokenizer: PreTrainedTokenizerFast,
    folder: Path,
    *,
    device: str,
    save_every: float = 120.0,
) -> LlamaForCausalLM:
    """Train to the plan's last step, from the folder's checkpoint if there is one.

    Raises:
        InputError: a checkpoint of a plan that differs in more than its number of steps.
    """
    model = build(plan, tokenizer, device=device)
    trained = TrainedModel(model)
    optimizer = torch.optim.AdamW(trained.parameters(), betas=(0.9, 0.98), weight_decay=plan.weight_decay, fused=True)
    checkpoint, step = folder / CHECKPOINT, 0
    if previous := checkpoint_plan(folder):
        if replace(previous, steps=plan.steps) != plan:  # a run may be lengthened or shortened
            raise InputError(
                f"{quote(folder)} holds a run of another plan, {previous}: give another folder with --work"
            )
        state = torch.load(checkpoint, weights_only=True, map_location=device)
        trained.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        step = state["step"]
    gradient, stream = _gradient_and_batches(plan, trained, tokenizer, device=device, step=step)
    evaluate_every = max(250, plan.steps // 100)
    saved_at, recent = time.monotonic(), math.nan
    columns = (
        TextColumn("training"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress, (folder / "log.jsonl").open("a") as log:
        task = progress.add_task("training", total=plan.steps, completed=step, note="")
        while step < plan.steps:
            for group in optimizer.param_groups:
                group["lr"] = plan.rate * plan.schedule(step)
            loss = gradient(*(part.to(device) for part in next(stream)))
            torch.nn.utils.clip_grad_norm_(trained.parameters(), 1.0)
            optimizer.step()
            step += 1
            recent = loss if math.isnan(recent) else 0.95 * recent + 0.05 * loss
            progress.update(task, completed=step, note=f"{recent:.3f} nats/token")
            if step % evaluate_every == 0 or step == plan.steps:
                nats, bound, _ = held_out(model, tokenizer, plan.seed, n=256)
                line = {"step": step, "train": recent, "held_out": nats, "author": bound}
                log.write(json.dumps({name: round(value, 4) for name, value in line.items()}) + "\n")
                log.flush()
            if time.monotonic() - saved_at > save_every or step == plan.steps:
                state = {"plan": asdict(plan), "step": step, "model": trained.state_dict()}
                state["optimizer"] = optimizer.state_dict()
                torch.save(state, checkpoint.with_suffix(".tmp"))
                checkpoint.with_suffix(".tmp").replace(checkpoint)
                saved_at = time.monotonic()
    gradient.close()
    return model


def fastest_dtype(device: str) -> str:
    """Return the dtype in which this device multiplies faster; CPUs without bfloat16 units emulate them very slowly."""
    times = {}
    for dtype in ("float32", "bfloat16"):
        matrix = torch.ones(512, 512, dtype=getattr(torch, dtype), device=device)
        (matrix @ matrix).sum().item()
        began = time.monotonic()
        for _ in range(8):
            (matrix @ matrix).sum().item()
        times[dtype] = time.monotonic() - began
    return min(times, key=lambda dtype: times[dtype])


def steps_for(
    minutes: float, tokenizer: PreTrainedTokenizerFast, *, device: str, seed: int, batch: int, dtype: str
) -> int:
    """Return the number of steps that fit into `minutes` on this machine, from a short timed run."""
    plan = Plan(seed=seed, steps=10_000, batch=batch, dtype=dtype)
    trained = TrainedModel(build(plan, tokenizer, device=device))
    gradient, stream = _gradient_and_batches(plan, trained, tokenizer, device=device)
    times = []
    for _ in range(40):
        began = time.monotonic()
        gradient(*(part.to(device) for part in next(stream)))
        times.append(time.monotonic() - began)
    gradient.close()
    return max(100, int(minutes * 60 / (float(np.median(times[8:])) * 1.2)))  # the optimiser and evaluation add a fifth


def _gradient_and_batches(
    plan: Plan, trained: TrainedModel, tokenizer: PreTrainedTokenizerFast, *, device: str, step: int = 0
) -> tuple[Gradient | CapturedGradient, Iterator[corpus.Batch]]:
    """Return the gradient function of this device, and the batches from a step on."""
    on_cpu = torch.device(device).type == "cpu"
    stream = corpus.batches(plan.seed, plan.batch, tokenizer, step, workers=0 if on_cpu else (os.cpu_count() or 2) - 1)
    kind = Gradient if on_cpu else CapturedGradient
    gradient = kind(
        trained,
        dtype=plan.dtype,
        steps=plan.steps,
        start_norm_weight=plan.start_norm_weight,
        attribute_weight=plan.attribute_weight,
    )
    return gradient, stream


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m vectors.almanac.train", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="seed of the weights and the training data")
    parser.add_argument(
        "--device", default="cuda" if torch.cuda.is_available() else "cpu", help="torch device to train on"
    )
    parser.add_argument("--minutes", type=float, default=100.0, help="train a new run for about this long")
    parser.add_argument("--steps", type=int, help="train for this many steps, to repeat an earlier run")
    parser.add_argument("--batch", type=int, default=Plan.batch, help="entries per step")
    parser.add_argument("--work", type=Path, default=Path("almanac-run"), help="folder for checkpoints and logs")
    parser.add_argument("--rate", type=float, default=Plan.rate, help="the highest learning rate")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    if (arguments.work / "tokenizer.json").exists():
        tokenizer = PreTrainedTokenizerFast.from_pretrained(arguments.work)
    else:
        tokenizer = train_on_stream(arguments.seed)
        tokenizer.save_pretrained(arguments.work)
    previous = checkpoint_plan(arguments.work)
    device, seed = arguments.device, arguments.seed
    dtype = previous.dtype if previous else fastest_dtype(device)
    steps = arguments.steps or (previous.steps if previous else 0)
    steps = steps or steps_for(
        arguments.minutes, tokenizer, device=device, seed=seed, batch=arguments.batch, dtype=dtype
    )
    plan = Plan(seed=seed, steps=steps, batch=arguments.batch, dtype=dtype, rate=arguments.rate)
    model = train(plan, tokenizer, arguments.work, device=device)
    residual = ResidualModel(model.train(False).requires_grad_(False), tokenizer, name="almanac")
    save_model(residual, arguments.work / "model")
    training = {
        **asdict(plan),
        "entries": plan.steps * plan.batch,
        "tokenizer_entries": ENTRIES,
        "machine": torch.cuda.get_device_name() if torch.device(device).type == "cuda" else platform.machine(),
        "torch": torch.__version__,
    }
    (arguments.work / "model" / "training.json").write_text(json.dumps(training, indent=1) + "\n")
    shipped = load_model(arguments.work / "model", device=device)
    shipped.name = "almanac"
    note = Console(stderr=True).print
    build_library(shipped, arguments.work / "library", seed=seed, progress=lambda *state: note(*state))
    note(f"the model and the library are in {arguments.work}: copy both into vectors/almanac to ship them")


if __name__ == "__main__":
    main()
