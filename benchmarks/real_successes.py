"""Success by a second judge at dose 1 and behind a prompt, and typicality and diversity of the successes.

`python benchmarks/real_successes.py MODEL DIR` reads the cells that `benchmarks/real_concepts.py` wrote, and prints a
row for each concept. The second judge knows sentence embeddings. Of both sides as many successful texts count, cut to
the same number of words.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from embedding_judge import EmbeddingJudge
from real_concepts import judge_of, texts_with
from report import table

import vectors
from steer.metrics.diversity.diversity import MIN_TEXTS, activations, common_length, diversity
from steer.metrics.typicality import percentiles, real_costs
from vectors.decoding.own_texts import own_texts
from vectors.model.residual_model import ResidualModel

TOKENS = 40


def typical(model: ResidualModel, texts: list[str], real: list[str]) -> float:
    """Share of the texts in the central nine tenths of real texts by likelihood under the plain model."""
    costs, among = (real_costs(model, side, max_tokens=TOKENS).nll for side in (texts, real))
    return float(np.mean(np.abs(percentiles(costs, among) - 0.5) <= 0.45))


def varied(model: ResidualModel, texts: list[str], length: int) -> tuple[float, float]:
    """Vendi scores of order 1, by words and by the activations of the plain model."""
    found = {each.name: each.value for each in diversity(texts, embedders={"model": activations(model)}, length=length)}
    return found["Vendi 1, words"], found["Vendi 1, model"]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    model, rows = vectors.load_model(options.model), list[list[object]]()
    for line in (options.folder / "cells.jsonl").read_text(encoding="utf-8").splitlines():
        cell = json.loads(line)
        held = texts_with(model, cell["kind"])[1]
        judge = judge_of(model, cell["kind"], held)
        every = [row["texts"] for row in cell["rows"][1:]]
        second = EmbeddingJudge(held, own_texts(model, 256, seed=12345))
        embedded = [float(second.accepted(texts).mean()) for texts in every]
        sides = [[text for text in texts if judge.accepts(text) and text.strip()] for texts in every]
        count = min(map(len, sides))
        if count < max(MIN_TEXTS, 20):
            continue
        sides = [side[:count] for side in sides]
        length = common_length([text for side in sides for text in side])
        figures = [(success, typical(model, side, held), *varied(model, side, length))
                   for success, side in zip(embedded, sides, strict=True)]  # fmt: skip
        rows.append([cell["kind"], count, *(f"{one:.2f} / {two:.2f}" for one, two in zip(*figures, strict=True))])
    head = [
        "kind",
        "successes",
        "success by embeddings, dose 1 / prompt",
        "typical",
        "Vendi of words",
        "Vendi of activations",
    ]
    print(table(head, rows))


if __name__ == "__main__":
    main()
