"""Rebuild the embedded model from nothing: `python -m vectors.almanac.train --minutes 100`."""

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
from vectors.almanac.training.concept_library import keep_model
from vectors.almanac.training.cuda_graph import RecordedGradient
from vectors.almanac.training.initial_weights import fresh
from vectors.almanac.training.loss import Gradient, Pupil, nats_per_token
from vectors.almanac.training.tokenizer import ENTRIES, learn_from_stream
from vectors.almanac.world.author import Entry, entry
from vectors.common.errors import InputError
from vectors.common.validation import quote
from vectors.model.residual_model import ResidualModel, load_model

CHECKPOINT = "checkpoint.pt"

HELD_OUT_STREAM = 1 << 40
"""Added to the seed: the stream that no training run reads."""


@dataclass(frozen=True)
class Plan:
    """What decides the weights: same plan, same machine, same weights."""

    seed: int
    steps: int
    batch: int = 32
    d_model: int = 256
    layers: int = 6
    heads: int = 4
    dtype: str = "bfloat16"
    rate: float = 3e-3
    calm: float = 0.02
    asked: float = 0.1
    weight_decay: float = 0.05
    warmup: int = 200
    decay: float = 0.8

    def schedule(self, step: int) -> float:
        """The learning rate's factor: linear warm-up, a plateau, a linear fall to zero over the run's last `decay`."""
        left = (self.steps - step) / self.steps
        return min(1.0, (step + 1) / self.warmup, left / self.decay)


def build(plan: Plan, tokenizer: PreTrainedTokenizerFast, *, device: str = "cpu") -> LlamaForCausalLM:
    """A fresh model of the plan's size."""
    size = {"d_model": plan.d_model, "layers": plan.layers, "heads": plan.heads}
    return fresh(tokenizer, seed=plan.seed, device=device, **size)


def held_out(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, seed: int, n: int = 512
) -> tuple[float, float, int]:
    """Nats per token of the model and of the author's derivations on `n` unseen entries, and the number of tokens."""
    entries = _unseen(seed, n)
    rows = corpus.encode(tokenizer, entries)
    tokens = sum(len(row) - 1 for row in rows)
    device = next(model.parameters()).device
    with torch.no_grad():
        total = sum(
            float(nats_per_token(model, ids.to(device))) * int((ids[:, 1:] >= 0).sum())
            for ids in (corpus.padded(rows[i : i + 64]) for i in range(0, n, 64))
        )
    return total / tokens, -sum(made.log_prob for made in entries) / tokens, tokens


@cache
def _unseen(seed: int, n: int) -> list[Entry]:
    return [entry(seed + HELD_OUT_STREAM, i) for i in range(n)]


def begun_plan(folder: Path) -> Plan | None:
    """The plan of the run that the folder holds a checkpoint of."""
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
    """Train to the plan's last step, going on from the folder's checkpoint if there is one.

    Raises:
        InputError: a checkpoint of a plan that differs in more than its steps.
    """
    model = build(plan, tokenizer, device=device)
    pupil = Pupil(model)
    optimizer = torch.optim.AdamW(pupil.parameters(), betas=(0.9, 0.98), weight_decay=plan.weight_decay, fused=True)
    checkpoint, step = folder / CHECKPOINT, 0
    if begun := begun_plan(folder):
        if replace(begun, steps=plan.steps) != plan:  # a run may be lengthened or cut short
            raise InputError(f"{quote(folder)} holds a run of another plan, {begun}: give another folder with --work")
        state = torch.load(checkpoint, weights_only=True, map_location=device)
        pupil.load_state_dict(state["pupil"])
        optimizer.load_state_dict(state["optimizer"])
        step = state["step"]
    gradient, stream = _prepared(plan, pupil, tokenizer, device=device, step=step)
    look = max(250, plan.steps // 100)
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
            torch.nn.utils.clip_grad_norm_(pupil.parameters(), 1.0)
            optimizer.step()
            step += 1
            recent = loss if math.isnan(recent) else 0.95 * recent + 0.05 * loss
            progress.update(task, completed=step, note=f"{recent:.3f} nats/token")
            if step % look == 0 or step == plan.steps:
                mine, bound, _ = held_out(model, tokenizer, plan.seed, n=256)
                note = {"step": step, "train": recent, "held_out": mine, "author": bound}
                log.write(json.dumps({name: round(value, 4) for name, value in note.items()}) + "\n")
                log.flush()
            if time.monotonic() - saved_at > save_every or step == plan.steps:
                state = {"plan": asdict(plan), "step": step, "pupil": pupil.state_dict()}
                state["optimizer"] = optimizer.state_dict()
                torch.save(state, checkpoint.with_suffix(".tmp"))
                checkpoint.with_suffix(".tmp").replace(checkpoint)
                saved_at = time.monotonic()
    gradient.close()
    return model


def quickest(device: str) -> str:
    """The dtype that this device multiplies faster in: processors without bfloat16 units emulate them, very slowly."""
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
    """How many steps fit in `minutes` on this machine, from a short timed run."""
    plan = Plan(seed=seed, steps=10_000, batch=batch, dtype=dtype)
    pupil = Pupil(build(plan, tokenizer, device=device))
    gradient, stream = _prepared(plan, pupil, tokenizer, device=device)
    times = []
    for _ in range(40):
        began = time.monotonic()
        gradient(*(part.to(device) for part in next(stream)))
        times.append(time.monotonic() - began)
    gradient.close()
    return max(100, int(minutes * 60 / (float(np.median(times[8:])) * 1.2)))  # the optimizer and looking back too


def _prepared(
    plan: Plan, pupil: Pupil, tokenizer: PreTrainedTokenizerFast, *, device: str, step: int = 0
) -> tuple[Gradient | RecordedGradient, Iterator[corpus.Batch]]:
    """What gives the gradient on this device, and the batches from a step on."""
    on_cpu = torch.device(device).type == "cpu"
    stream = corpus.batches(plan.seed, plan.batch, tokenizer, step, workers=0 if on_cpu else (os.cpu_count() or 2) - 1)
    kind = Gradient if on_cpu else RecordedGradient
    return kind(pupil, dtype=plan.dtype, steps=plan.steps, calm=plan.calm, asked=plan.asked), stream


def main() -> None:
    """Command line of the rebuild."""
    parser = argparse.ArgumentParser(prog="python -m vectors.almanac.train", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--minutes", type=float, default=100.0, help="size a new run's training for this long")
    parser.add_argument("--steps", type=int, help="size the run exactly, to repeat an earlier one")
    parser.add_argument("--batch", type=int, default=Plan.batch, help="entries of a step")
    parser.add_argument("--work", type=Path, default=Path("almanac-run"), help="folder for checkpoints and logs")
    parser.add_argument("--rate", type=float, default=Plan.rate, help="the learning rate at its highest")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    if (arguments.work / "tokenizer.json").exists():
        tokenizer = PreTrainedTokenizerFast.from_pretrained(arguments.work)
    else:
        tokenizer = learn_from_stream(arguments.seed)
        tokenizer.save_pretrained(arguments.work)
    begun = begun_plan(arguments.work)
    device, seed, dtype = arguments.device, arguments.seed, begun.dtype if begun else quickest(arguments.device)
    steps = arguments.steps or (begun.steps if begun else 0)
    steps = steps or steps_for(
        arguments.minutes, tokenizer, device=device, seed=seed, batch=arguments.batch, dtype=dtype
    )
    plan = Plan(seed=seed, steps=steps, batch=arguments.batch, dtype=dtype, rate=arguments.rate)
    model = train(plan, tokenizer, arguments.work, device=device)
    residual = ResidualModel(model.train(False).requires_grad_(False), tokenizer, name="almanac")
    keep_model(residual, arguments.work / "model")
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
    build_library(shipped, arguments.work / "library", seed=seed, progress=lambda *told: note(*told))
    note(f"model and library are in {arguments.work}: copy both into vectors/almanac to ship them")


if __name__ == "__main__":
    main()
