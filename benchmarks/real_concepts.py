"""Concepts of real texts and of prompts, extracted with the defaults, at dose 1 and against the prompt.

`python benchmarks/real_concepts.py FOLDER --out DIR` extracts a concept for each kind of text into DIR, and writes a
line for each to `DIR/cells.jsonl`: success and pressure without a shift, at dose 1 and behind a prompt of three
examples, judged by words of texts that neither the concept nor the prompts saw. A kind of `PROMPTS` has no texts: the
concept is made from the prompts, and held against them. It goes on where it ended.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

from real_texts import KINDS, texts_of

import vectors
from steer.judges.judge import FunctionJudge, Judge
from steer.sweeps.prompt_frontier import prompt_frontier
from vectors.calibration.checkpoint import Checkpoint
from vectors.calibration.word_judge import WordJudge
from vectors.decoding.own_texts import own_texts
from vectors.extraction.extract import extract
from vectors.extraction.prompts import write_texts
from vectors.model.residual_model import ResidualModel

EIGHT = ("tale", "verse", "sitcom", "news", "slovene", "delight", "speech", "space")
"""Genres, a language, a mood, a voice and a subject."""

PROMPTS = {
    "recipe": ["Recipe: Apple pie\n\nIngredients:\n", "How to cook vegetable soup\n\nIngredients:\n"],
    "letter": ["My dearest Mother,\n\n", "Dear Sir,\n\nI received your letter of the 4th and "],
    "diary": ["Dear diary,\n\nToday ", "Diary, Monday\n\nThis morning I "],
    "gloomy": [
        "It was the saddest day of my life. I was alone and ",
        "Everything was grey. She wept and ",
    ],
    "love": ["A love letter\n\nMy darling, ", "I love you more than words can say. "],
    "sea": ["The ship sailed out onto the stormy sea. ", "A story of the ocean, the waves and a sailor\n\n"],
    "french": ["Il était une fois ", "Dans la ville de Paris, les gens ", "Aujourd'hui, nous allons "],
    "spanish": ["Había una vez ", "En la ciudad de Madrid, la gente ", "Hoy vamos a "],
    "italian": ["C'era una volta ", "Nella città di Roma, la gente ", "Oggi vogliamo "],
    "code": ["import numpy as np\n\ndef ", "#!/usr/bin/env python\n\nimport os\n\n"],
}
"""Prompts of concepts without texts at hand."""


def texts_with(model: ResidualModel, kind: str) -> tuple[list[str], list[str]]:
    """Return the texts that a concept may be made from, none for prompts, and others with it for a judge."""
    if kind in PROMPTS:
        nothing = Checkpoint(None, {})
        prompts = PROMPTS[kind]
        held = write_texts(model, prompts, examples=False, seed=777, checkpoint=nothing, progress=lambda *_: None)
        return [], held.texts
    texts = texts_of(kind, 400)
    return texts[::2], texts[1::2]


def measured(model: ResidualModel, kind: str, out: Path, n: int) -> tuple[list[dict[str, Any]], int]:
    """Return the rows of a concept, and the seconds that its extraction took."""
    train, held = texts_with(model, kind)
    prompts = PROMPTS.get(kind, ())
    seconds = extracted(model, kind, out, **({"prompts": prompts} if prompts else {"positive": train}))
    frontier = prompt_frontier(
        model, vectors.load_file(out / f"{kind}.safetensors"), [judge_of(model, kind, held)], train, doses=(0.0, 1.0),
        shots=() if prompts else (3,), both=False, prompts=prompts, n=n,
    )  # fmt: skip
    return [row.to_dict() | {"label": row.label} for row in frontier.rows], seconds


def extracted(model: ResidualModel, kind: str, out: Path, **given: Any) -> int:
    """Extract a concept with the defaults unless its file is there, and return the seconds."""
    path, began = out / f"{kind}.safetensors", time.monotonic()
    if not path.exists():
        vectors.save(extract(model, kind, checkpoint=out / "unfinished" / kind, **given), path)
    return round(time.monotonic() - began)


def judge_of(model: ResidualModel, kind: str, held: list[str]) -> Judge:
    """A judge by words of texts of the kind against those that the model writes by itself."""
    return FunctionJudge(kind, WordJudge(held, own_texts(model, 256, seed=12345)).accepts)


def main() -> None:
    """Extract and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--kinds", nargs="+", default=list(EIGHT), choices=[*KINDS, *PROMPTS])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("-n", type=int, default=100)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    cells = options.out / "cells.jsonl"
    model = vectors.load_model(options.model)
    for kind in options.kinds:
        if cells.exists() and kind in [json.loads(line)["kind"] for line in cells.read_text().splitlines()]:
            continue
        rows, seconds = measured(model, kind, options.out, options.n)
        for row in rows:
            print(kind, row["label"], row["success"], row["pressure"], flush=True)
        summary = vectors.load_file(options.out / f"{kind}.safetensors").summary()
        record = {"kind": kind, "seconds": seconds, "vector": summary, "rows": rows}
        with cells.open("a", encoding="utf-8") as out:
            out.write(json.dumps(record, ensure_ascii=False, default=str) + "\n")


if __name__ == "__main__":
    main()
