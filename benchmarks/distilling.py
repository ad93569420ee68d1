"""Concepts on a real base model: prompts, mean differences, and shifts distilled from prompts, at their pressures.

`python benchmarks/distilling.py FOLDER --kinds tale slovene` writes a line a cell to a file, and goes on where it
ended.
"""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
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
from vectors.decoding.decode import decode
from vectors.decoding.prompt_free_samples import sample_prompt_free, sample_shifted
from vectors.decoding.token_sampling import Settings
from vectors.extraction.shifts.distilled_shift import distance_to_prompted, distil, few_shot_pairs
from vectors.model.positions import Site
from vectors.model.residual_model import ResidualModel

TOKENS, SEED, SHOTS, PROMPTS = 40, 0, 3, 4
BETWEEN = "\n\n"
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
    return {"success": float(hits), "pressure": float(done.kl.mean()), "p95": done.p95, "texts": done.texts[:8]}


def prompted(model: ResidualModel, judge: WordJudge, examples: Sequence[str], n: int, shots: int) -> Cell:
    """Success of texts behind a few examples, and the KL of the prompted model from the plain one on what it wrote."""
    texts, distances, counts = [], [], []
    random = np.random.default_rng(SEED)
    for number in range(PROMPTS):
        chosen = random.choice(len(examples), size=shots, replace=False)
        prompt = "".join(examples[index] + BETWEEN for index in chosen)
        prefix = model.encode([prompt])[0]
        for each in decode(
            model, None, prefix=prefix, settings=Settings(max_tokens=TOKENS), seed=number, indices=range(n // PROMPTS)
        ):
            text = model.decode(each.tokens)
            texts.append(text.split(BETWEEN)[0])
            with torch.no_grad():
                distances.append(float(distance_to_prompted(model, [(prefix, each.tokens)], {})) * len(each.tokens))
            counts.append(len(each.tokens))
    hits = np.mean([judge.accepts(text) for text in texts])
    return {"success": float(hits), "pressure": sum(distances) / sum(counts), "texts": texts[:8]}


def learned(
    model: ResidualModel, rows: Sequence[Sequence[int]], start: Mapping[Site, torch.Tensor], steps: int
) -> dict[Site, torch.Tensor]:
    """Shifts distilled from prompts of a few texts; prints the loss as it falls."""
    skip = len(model.start_ids())
    between = model.encode([BETWEEN])[0][skip:]
    pairs = few_shot_pairs(model, [ids[skip:] for ids in rows], shots=SHOTS, between=between, seed=SEED)
    losses: list[float] = []
    found = distil(model, pairs, start, steps=steps, progress=losses.append)
    part = max(1, steps // 8)
    print("loss", [round(float(np.mean(losses[first : first + part])), 3) for first in range(0, steps, part)])
    return found


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
    moments = contrast_moments(model, every, has, options.layers)[0]
    for layer in options.layers:
        difference = mean_difference(moments[layer]).float()
        for size in (0.5, 1.0, 1.5, 2.0):
            name = f"mean difference, layer {layer}, {size}"
            cells.get(kind, name, partial(steered, {(layer, "all"): size * difference}))
        start = {(layer, "all"): 0.5 * difference, (layer, "bos"): 0 * difference}
        distilled = cache(partial(learned, model, rows, start, options.steps))
        for size in (0.7, 1.0, 1.4):
            name = f"distilled, layer {layer}, {options.steps} steps, {size}"
            cells.get(kind, name, partial(scaled, steered, distilled, size))


def scaled(steered: Callable[..., Cell], distilled: Callable[[], dict[Site, torch.Tensor]], size: float) -> Cell:
    """The cell of shifts at some multiple of their length."""
    return steered({site: size * shift for site, shift in distilled().items()})


def main() -> None:
    """Run the cells."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--kinds", nargs="+", default=list(KINDS))
    parser.add_argument("--layers", type=int, nargs="+", default=[6])
    parser.add_argument("-n", type=int, default=48)
    parser.add_argument("--steps", type=int, default=80)
    parser.add_argument("--cells", type=Path, default=Path("distilling.jsonl"))
    options = parser.parse_args()
    cells, model = Cells(options.cells), vectors.load_model(options.model)
    for kind in options.kinds:
        run_kind(kind, model, cells, options)


if __name__ == "__main__":
    main()
