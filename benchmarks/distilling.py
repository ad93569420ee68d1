"""Concepts on a real base model: prompts, mean differences, and shifts distilled from prompts, at their pressures.

`python benchmarks/distilling.py FOLDER --kinds tale slovene` writes a line a cell to a file, and goes on where it
ended.
"""

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from real_texts import KINDS, texts_of

import vectors
from vectors.activations.contrast_moments import contrast_moments, mean_difference
from vectors.activations.text_activations import encode_texts
from vectors.calibration.word_judge import WordJudge
from vectors.decoding.prompt_free_samples import sample_prompt_free, sample_shifted
from vectors.decoding.prompted_samples import BETWEEN, example_prompts, sample_prompted
from vectors.decoding.token_sampling import Settings
from vectors.extraction.shifts.distilled_shift import (
    Lessons,
    distil,
    few_shot_pairs,
    read_lessons,
)
from vectors.model.positions import Site
from vectors.model.residual_model import ResidualModel

TOKENS, SEED, SHOTS = 40, 0, 3
Cell = dict[str, Any]


class Cells:
    """Finished cells in a file of lines."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.known: dict[tuple[str, str], Cell] = {}
        if path.exists():
            for line in path.read_text().splitlines():
                cell = json.loads(line)
                self.known[cell["kind"], cell["what"]] = cell

    def get(self, kind: str, what: str, run: Callable[[], Cell]) -> Cell:
        """The cell, run if it is not there."""
        if (kind, what) not in self.known:
            cell = {"kind": kind, "what": what} | run()
            with self.path.open("a") as out:
                out.write(json.dumps(cell, ensure_ascii=False) + "\n")
            self.known[kind, what] = cell
            print(kind, what, {key: value for key, value in cell.items() if key in ("success", "pressure")}, flush=True)
        return self.known[kind, what]


def shifted(model: ResidualModel, judge: WordJudge, shifts: Mapping[Site, torch.Tensor], n: int) -> Cell:
    """Success and pressure of prompt-free texts under shifts."""
    settings = Settings(max_tokens=TOKENS)
    done = sample_shifted(
        model, {site: shift.float() for site, shift in shifts.items()}, n=n, settings=settings, seed=1
    )
    hits = np.mean([judge.accepts(text) for text in done.texts])
    return {"success": float(hits), "pressure": float(done.kl.mean()), "p95": done.p95, "texts": done.texts[:12]}


def prompted(model: ResidualModel, judge: WordJudge, examples: Sequence[str], n: int, shots: int) -> Cell:
    """Success of texts behind a few examples, and the KL of the prompted model from the plain one on what it wrote."""
    prompts = example_prompts(model, examples, shots, seed=SEED)
    found = sample_prompted(model, prompts, n, max_tokens=TOKENS, stop=BETWEEN)
    hits = np.mean([judge.accepts(text) for text in found.texts])
    return {"success": float(hits), "pressure": found.pressure, "texts": found.texts[:8]}


@dataclass(frozen=True)
class Variant:
    """What is learned, and how; `start` is the share of the mean difference that shifts everywhere begin with."""

    sites: tuple[Site, ...]
    start: float = 0.5
    options: dict[str, float] = field(default_factory=dict)


def _at(layer: int, *positions: str) -> tuple[Site, ...]:
    return tuple((layer, where) for where in positions)


VARIANTS = {
    "all + bos": Variant(_at(6, "all", "bos")),
    "all + bos, all tokens alike": Variant(_at(6, "all", "bos"), options={"early": 0.0}),
    "all + bos, rate 0.1": Variant(_at(6, "all", "bos"), options={"rate": 0.1}),
    "bos": Variant(_at(6, "bos")),
    "all": Variant(_at(6, "all")),
    "decay:4 + bos": Variant(_at(6, "decay:4", "bos")),
    "all + decay:4 + bos": Variant(_at(6, "all", "decay:4", "bos")),
    "all + decay:4 + bos, layer 3": Variant(_at(3, "all", "decay:4", "bos")),
    "all + decay:4 + bos, layer 10": Variant(_at(10, "all", "decay:4", "bos")),
    "all + decay:4 + bos, from zero": Variant(_at(6, "all", "decay:4", "bos"), start=0.0),
    "late 0.5": Variant(_at(9, "all", "decay:4", "bos"), options={"kl": 0.5}),
    "late 1": Variant(_at(9, "all", "decay:4", "bos"), options={"kl": 1.0}),
    "late 1, 120 steps": Variant(_at(9, "all", "decay:4", "bos"), options={"kl": 1.0, "steps": 120}),
    "likelihood": Variant(_at(6, "all", "decay:4", "bos"), options={"likelihood": 1.0}),
    "likelihood, late 1": Variant(_at(6, "all", "decay:4", "bos"), options={"likelihood": 1.0, "kl": 1.0}),
    "all + decay:4 + bos, 160 steps": Variant(_at(6, "all", "decay:4", "bos"), options={"steps": 160}),
    "all + bos, layers 3, 7, 11": Variant(
        (*_at(3, "all", "bos"), *_at(7, "all", "bos"), *_at(11, "all", "bos")), options={"rate": 0.007}
    ),
    "all + decay:4 + bos, layers 4, 8": Variant(
        (*_at(4, "all", "decay:4", "bos"), *_at(8, "all", "decay:4", "bos")), options={"rate": 0.01}
    ),
}
"""By name; the layers are those of Gemma 3 270M, which has 18."""

SCALES = ((0.7, 1.0), (1.0, 1.0), (0.7, 1.4), (1.0, 1.4))
"""Factors of the shifts after the start token, and of those at the start token."""


def scaled(shifts: Mapping[Site, torch.Tensor], scale: tuple[float, float]) -> dict[Site, torch.Tensor]:
    """Shifts times their factors."""
    return {site: shift * scale[site[1] == "bos"] for site, shift in shifts.items()}


def run_kind(kind: str, model: ResidualModel, cells: Cells, options: argparse.Namespace) -> None:
    """The cells of one kind of text."""
    background = cells.get(
        "-", "background", lambda: {"texts": sample_prompt_free(model, 320, seed=99, max_tokens=TOKENS)}
    )
    texts = texts_of(kind, 400)
    train, held = texts[::2], texts[1::2]
    judge = WordJudge(held, background["texts"][1::2])
    steered = partial(shifted, model, judge, n=options.n)
    cells.get(kind, "plain", partial(steered, {}))
    for shots in (1, 3):
        cells.get(kind, f"prompt of {shots}", partial(prompted, model, judge, train, options.n, shots))
    rows = encode_texts(model, train)
    every = [*rows, *encode_texts(model, background["texts"][::2])]
    has = np.array([[index < len(rows)] for index in range(len(every))])

    @cache
    def differences() -> dict[int, torch.Tensor]:
        layers = sorted({layer for variant in VARIANTS.values() for layer, _ in variant.sites})
        moments = contrast_moments(model, every, has, layers)[0]
        return {layer: mean_difference(moments[layer]).float() for layer in layers}

    @cache
    def lessons() -> Lessons:
        skip = len(model.start_ids())
        between = model.encode([BETWEEN])[0][skip:]
        pairs = few_shot_pairs(model, [ids[skip:] for ids in rows], shots=SHOTS, between=between, seed=SEED)
        return read_lessons(model, pairs)

    @cache
    def learned(name: str) -> dict[Site, torch.Tensor]:
        variant = VARIANTS[name]
        n_layers = len({layer for layer, _ in variant.sites})
        start = {
            (layer, where): differences()[layer] * (variant.start / n_layers if where == "all" else 0.0)
            for layer, where in variant.sites
        }
        losses: list[float] = []
        began = time.process_time()
        terms = {"steps": 80, "kl": 0.0} | variant.options  # without the penalty late in a text, unless it is named
        found = distil(model, lessons(), start, progress=losses.append, **terms)  # type: ignore[arg-type]
        part = max(1, len(losses) // 6)
        means = [round(float(np.mean(losses[first : first + part])), 3) for first in range(0, len(losses), part)]
        print(kind, name, f"{time.process_time() - began:.0f} s, loss", means, flush=True)
        return found

    for size in (0.5, 1.0, 1.5, 2.0) if options.means else ():
        name = f"mean difference, layer 6, {size}"
        cells.get(kind, name, lambda size=size: steered({(6, "all"): size * differences()[6]}))  # type: ignore[misc]
    for name in options.variants:
        for scale in SCALES:
            what = f"{name}, x{scale[0]:g} and x{scale[1]:g}"
            cells.get(kind, what, lambda name=name, scale=scale: steered(scaled(learned(name), scale)))  # type: ignore[misc]


def main() -> None:
    """Run the cells."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--kinds", nargs="+", default=list(KINDS))
    parser.add_argument("--variants", nargs="*", default=list(VARIANTS))
    parser.add_argument("--means", action="store_true", help="mean differences too")
    parser.add_argument("-n", type=int, default=64)
    parser.add_argument("--cells", type=Path, default=Path("distilling.jsonl"))
    options = parser.parse_args()
    cells, model = Cells(options.cells), vectors.load_model(options.model)
    for kind in options.kinds:
        run_kind(kind, model, cells, options)


if __name__ == "__main__":
    main()
