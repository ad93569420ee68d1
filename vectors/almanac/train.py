"""Rebuild the embedded model from nothing: `python -m vectors.almanac.train --minutes 100`."""

import argparse
import json
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from vectors.almanac.concepts import build as build_library
from vectors.almanac.concepts import keep_model
from vectors.almanac.generate import Entry, entry
from vectors.almanac.muon import Muon
from vectors.almanac.tokenizer import CONTEXT, ENTRIES, learn_from_stream
from vectors.model import ResidualModel, load_model

HELD_OUT_STREAM = 1 << 40
"""Added to the seed: the stream that no training run reads."""

_CHUNK = 64
"""Batches drawn together, so that each holds entries of like length."""


@dataclass(frozen=True)
class Plan:
    """What decides the weights: same plan, same machine, same weights."""

    seed: int
    steps: int
    batch: int = 64
    d_model: int = 192
    layers: int = 6
    heads: int = 6
    rate: float = 2e-3
    muon_rate: float = 2e-2
    warmup: int = 150
    decay: float = 0.4

    def schedule(self, step: int) -> float:
        """The learning rate's factor: linear warm-up, a plateau, a linear fall to zero over the run's last `decay`."""
        left = (self.steps - step) / self.steps
        return min(1.0, (step + 1) / self.warmup, left / self.decay)


def build(plan: Plan, tokenizer: PreTrainedTokenizerFast, *, device: str = "cpu") -> LlamaForCausalLM:
    """A fresh model of the plan's size."""
    torch.manual_seed(plan.seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=plan.d_model,
        intermediate_size=plan.d_model * 8 // 3,
        num_hidden_layers=plan.layers,
        num_attention_heads=plan.heads,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    model = LlamaForCausalLM(config)
    torch.nn.Module.to(model, device)  # in place, as model.to() but with types
    return model


def batches(plan: Plan, tokenizer: PreTrainedTokenizerFast, start: int) -> Iterator[torch.Tensor]:
    """Padded batches of token ids (BOS … EOS, then -1) from step `start` on; every entry is seen once."""
    chunk = start // _CHUNK
    while True:
        first = chunk * _CHUNK * plan.batch
        entries = [entry(plan.seed, first + i) for i in range(_CHUNK * plan.batch)]
        rows = sorted(encode(tokenizer, entries), key=len)
        order = np.random.Generator(np.random.Philox(key=[plan.seed, chunk])).permutation(_CHUNK)
        for position, i in enumerate(order):
            if chunk * _CHUNK + position >= start:
                yield padded(rows[i * plan.batch : (i + 1) * plan.batch])
        chunk += 1


def encode(tokenizer: PreTrainedTokenizerFast, entries: list[Entry]) -> list[list[int]]:
    """Entries as token ids, BOS first and EOS last."""
    return [[*ids, tokenizer.eos_token_id] for ids in tokenizer([made.text for made in entries])["input_ids"]]


def padded(rows: list[list[int]]) -> torch.Tensor:
    """Rows of unequal length as one tensor, filled up with -1."""
    return torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=-1)


def loss_of(model: Any, ids: torch.Tensor) -> torch.Tensor:
    """Mean negative log-likelihood in nats per predicted token."""
    logits = model(input_ids=ids.clamp(min=0), use_cache=False).logits[:, :-1]
    return cross_entropy(logits.reshape(-1, logits.shape[-1]), ids[:, 1:].reshape(-1), ignore_index=-1)


def held_out(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, seed: int, n: int = 512
) -> tuple[float, float, int]:
    """Nats per token of the model and of the author's derivations on `n` unseen entries, and the number of tokens."""
    entries = [entry(seed + HELD_OUT_STREAM, i) for i in range(n)]
    rows = encode(tokenizer, entries)
    tokens = sum(len(row) - 1 for row in rows)
    device = next(model.parameters()).device
    with torch.no_grad():
        total = sum(
            float(loss_of(model, ids.to(device))) * int((ids[:, 1:] >= 0).sum())
            for ids in (padded(rows[i : i + 64]) for i in range(0, n, 64))
        )
    return total / tokens, -sum(made.log_prob for made in entries) / tokens, tokens


def train(
    plan: Plan, tokenizer: PreTrainedTokenizerFast, folder: Path, *, device: str, save_every: float = 120.0
) -> LlamaForCausalLM:
    """Train to the plan's last step, resuming from the folder's checkpoint if it is of the same plan."""
    model = build(plan, tokenizer, device=device)
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    others = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
    optimizers: list[torch.optim.Optimizer] = [
        Muon(matrices, lr=plan.muon_rate),
        torch.optim.AdamW(others, lr=plan.rate, betas=(0.9, 0.98), weight_decay=0.0),
    ]
    checkpoint, step = folder / "checkpoint.pt", 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True, map_location=device)
        if {**state["plan"], "steps": plan.steps} == asdict(plan):  # a run may be lengthened or cut short
            model.load_state_dict(state["model"])
            for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
                optimizer.load_state_dict(saved)
            step = state["step"]
    compiled = torch.compile(model, dynamic=True) if plan.steps > 2000 else model  # compiling costs a minute or two
    stream = batches(plan, tokenizer, step)
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
            for optimizer, rate in zip(optimizers, (plan.muon_rate, plan.rate), strict=True):
                for group in optimizer.param_groups:
                    group["lr"] = rate * plan.schedule(step)
            loss = loss_of(compiled, next(stream).to(device))
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(others, 1.0)
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad()
            step += 1
            recent = loss.item() if math.isnan(recent) else 0.95 * recent + 0.05 * loss.item()
            progress.update(task, completed=step, note=f"{recent:.3f} nats/token")
            if step % 250 == 0 or step == plan.steps:
                mine, bound, _ = held_out(model, tokenizer, plan.seed, n=256)
                note = {"step": step, "train": recent, "held_out": mine, "author": bound}
                log.write(json.dumps({name: round(value, 4) for name, value in note.items()}) + "\n")
                log.flush()
            if time.monotonic() - saved_at > save_every or step == plan.steps:
                state = {"plan": asdict(plan), "step": step, "model": model.state_dict()}
                state["optimizers"] = [optimizer.state_dict() for optimizer in optimizers]
                torch.save(state, checkpoint.with_suffix(".tmp"))
                checkpoint.with_suffix(".tmp").replace(checkpoint)
                saved_at = time.monotonic()
    return model


def steps_for(minutes: float, tokenizer: PreTrainedTokenizerFast, *, device: str, seed: int) -> int:
    """How many steps fit in `minutes` on this machine, from a short timed run."""
    plan = Plan(seed=seed, steps=10_000)
    model = torch.compile(build(plan, tokenizer, device=device), dynamic=True)
    stream = batches(plan, tokenizer, 0)
    times = []
    for _ in range(16):
        ids = next(stream).to(device)
        began = time.monotonic()
        torch.autograd.backward(loss_of(model, ids))
        times.append(time.monotonic() - began)
    return max(100, int(minutes * 60 / (float(np.median(times[4:])) * 1.15)))


def main() -> None:
    """Command line of the rebuild."""
    parser = argparse.ArgumentParser(prog="python -m vectors.almanac.train", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--minutes", type=float, default=100.0, help="size the run for this long on this machine")
    parser.add_argument("--steps", type=int, help="size the run exactly, to repeat an earlier one")
    parser.add_argument("--work", type=Path, default=Path("almanac-run"), help="folder for checkpoints and logs")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    if (arguments.work / "tokenizer.json").exists():
        tokenizer = PreTrainedTokenizerFast.from_pretrained(arguments.work)
    else:
        tokenizer = learn_from_stream(arguments.seed)
        tokenizer.save_pretrained(arguments.work)
    sized = arguments.work / "steps.txt"
    steps = arguments.steps or (int(sized.read_text()) if sized.exists() else 0)
    steps = steps or steps_for(arguments.minutes, tokenizer, device=arguments.device, seed=arguments.seed)
    sized.write_text(str(steps))
    plan = Plan(seed=arguments.seed, steps=steps)
    model = train(plan, tokenizer, arguments.work, device=arguments.device)
    residual = ResidualModel(model.train(False).requires_grad_(False), tokenizer, name="almanac")
    keep_model(residual, arguments.work / "model")
    training = {**asdict(plan), "entries": plan.steps * plan.batch, "tokenizer_entries": ENTRIES}
    (arguments.work / "model" / "training.json").write_text(json.dumps(training, indent=1) + "\n")
    shipped = load_model(arguments.work / "model", device=arguments.device)
    shipped.name = "almanac"
    note = Console(stderr=True).print
    build_library(shipped, arguments.work / "library", seed=arguments.seed, progress=lambda *told: note(*told))
    note(f"model and library are in {arguments.work}: copy both into vectors/almanac to ship them")


if __name__ == "__main__":
    main()
