"""How to choose the layer of a learned concept: `python benchmarks/layers.py --rows FILE`, the file of `methods.py`."""

import argparse
import time
from pathlib import Path

import numpy as np
from harness import Options, embedded, shared_out
from methods import DOZEN, head, picked_layer, read_in, sides
from report import table, write

from vectors.learned import STEPS, learn

LAYERS = (0, 1, 3)
PARTS = (1, 3, 6)
"""Shares of the steps after which a pilot looks."""


def picks_of(concept: str, options: Options) -> list[tuple[int, float]]:
    """The layer that a pilot picks after each part of the steps, and the seconds that learning took at all layers."""
    fit = sides(concept, options)[0]
    texts = [*fit.positive, *fit.background]
    has = np.array([[True]] * len(fit.positive) + [[False]] * len(fit.background))
    made = []
    for part in PARTS:
        began = time.perf_counter()
        shifts = {
            layer: learn(embedded(), texts, has, layer, positions="bos", seed=options.seed, steps=STEPS // part)[0]
            for layer in LAYERS
        }
        took = time.perf_counter() - began
        found = {layer: ((row / row.norm()).float(), float(row.norm())) for layer, row in shifts.items()}
        made.append((picked_layer(concept, found, "bos", options), took))
    return made


def main() -> None:
    """Pick, and look up what the picked layers came to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=Path, required=True)
    parser.add_argument("--concepts", default=",".join(DOZEN))
    Options.add_to(parser)
    given = parser.parse_args()
    options, concepts = Options(given.n, given.pressure, given.seed), given.concepts.split(",")
    cells, _ = read_in(given.rows)
    name = head("learned", "bos")
    success = np.array([[cells[concept, layer].cells[name].success for layer in LAYERS] for concept in concepts])
    picks = list(shared_out(picks_of, concepts, options))
    whole = np.mean([picked[0][1] for picked in picks]) / len(LAYERS)
    lines = [
        [f"always layer {layer}", f"{success[:, place].mean():.3f}", "1.0", "-"] for place, layer in enumerate(LAYERS)
    ]
    for place, part in enumerate(PARTS):
        layers = [LAYERS.index(picked[place][0]) for picked in picks]
        mean = np.mean([success[at, layer] for at, layer in enumerate(layers)])
        cost = np.mean([picked[place][1] for picked in picks]) / whole + (part > 1)
        lines.append(
            [f"pilot after {STEPS // part} of {STEPS} steps", f"{mean:.3f}", f"{cost:.1f}",
             ", ".join(str(LAYERS[layer]) for layer in layers)]
        )  # fmt: skip
    lines.append(["the best each, by the oracle", f"{success.max(axis=1).mean():.3f}", "-", "-"])
    body = (
        f"Success of `learned` at a mean pressure of {options.pressure} nats a token, mean over {len(concepts)} "
        f"concepts ({', '.join(concepts)}), of the cells of the table of methods, by how the layer is chosen among "
        f"{', '.join(map(str, LAYERS))}; time as a multiple of learning at one layer, pilots apart.\n\n"
        + table(["rule", "success", "time", "layers"], lines)
    )
    write("layers", "Choosing the layer of a learned concept", body, seed=options.seed)


if __name__ == "__main__":
    main()
