"""Concepts of real texts, extracted with the defaults, at dose 1 and against prompts of a few examples.

`python benchmarks/real_concepts.py FOLDER --out DIR` extracts a concept for each kind of text into DIR, and writes a
line for each to `DIR/cells.jsonl`: doses 0, -1 and 1 and prompts of 1, 3 and 6 examples, judged by words of texts that
neither the concept nor the prompts saw. It goes on where it ended.
"""

import argparse
import json
import time
from pathlib import Path

from real_texts import KINDS, texts_of

import vectors
from steer.judges.judge import FunctionJudge
from steer.sweeps.prompt_frontier import prompt_frontier
from vectors.calibration.word_judge import WordJudge
from vectors.decoding.own_texts import own_texts
from vectors.extraction.extract import extract

EIGHT = ("tale", "verse", "sitcom", "news", "slovene", "delight", "speech", "space")
"""Genres, a language, a mood, a voice and a subject."""


def main() -> None:
    """Extract and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--kinds", nargs="+", default=list(EIGHT), choices=list(KINDS))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("-n", type=int, default=128)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    cells = options.out / "cells.jsonl"
    done = [json.loads(line)["kind"] for line in cells.read_text().splitlines()] if cells.exists() else []
    model = vectors.load_model(options.model)
    for kind in options.kinds:
        if kind in done:
            continue
        texts = texts_of(kind, 400)
        train, held = texts[::2], texts[1::2]
        path, began = options.out / f"{kind}.safetensors", time.monotonic()
        if not path.exists():
            vector = extract(model, kind, positive=train, checkpoint=options.out / "unfinished" / kind)
            vectors.save(vector, path)
        seconds, vector = round(time.monotonic() - began), vectors.load_file(path)
        judge = FunctionJudge(kind, WordJudge(held, own_texts(model, 256, seed=12345)).accepts)
        frontier = prompt_frontier(
            model, vector, [judge], train, doses=(0.0, -1.0, 1.0), shots=(1, 3, 6), both=False, n=options.n
        )
        for row in frontier.rows:
            print(kind, row.label, str(row.success), str(row.pressure), flush=True)
        record = {"kind": kind, "seconds": seconds, "vector": vector.summary()} | frontier.to_dict()
        with cells.open("a", encoding="utf-8") as out:
            out.write(json.dumps(record, ensure_ascii=False, default=str) + "\n")


if __name__ == "__main__":
    main()
