"""Which method, layer and positions steer best on the Almanac at equal pressure: `python benchmarks/methods.py`."""

import argparse
from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from harness import MAX_TOKENS, Cell, Options, at_pressure, embedded, has, judged, shared_out, texts, unsteered, widest
from report import table, write

import vectors
from vectors.concept import ConceptVector
from vectors.decode import POSITIONS, Settings, decode
from vectors.extraction import METHODS

DOZEN = (
    "quantum", "waterfall", "kitchen", "cat", "sailor", "ghost", "gloomy", "tender", "sonnet", "recipe", "letter",
    "midnight",
)  # fmt: skip
PROMPTS = 20


def prompted(concept: str, options: Options) -> float:
    """Success of what the base model writes after the first third of texts with the concept, which is not counted."""
    model, each = embedded(), max(1, options.n // PROMPTS)
    hits = 0
    for place, text in enumerate(texts(options.seed).positive[concept][:PROMPTS]):
        ids = model.encode([text])[0]
        drawn = decode(
            model, {}, prefix=ids[: 1 + len(ids) // 3], settings=Settings(max_tokens=MAX_TOKENS), seed=options.seed,
            indices=range(place * each, (place + 1) * each),
        )  # fmt: skip
        hits += sum(has(concept, model.decode(done.tokens)) for done in drawn)
    return hits / (PROMPTS * each)


def vector_of(concept: str, method: str, layer: int, options: Options) -> ConceptVector:
    """A concept's vector by one method at one layer, without its pilot."""
    found = texts(options.seed)
    return vectors.extract(
        embedded(), concept, positive=found.positive[concept], background=found.background(concept),
        method=method, layer=layer, calibrate=False, seed=options.seed,
    )  # fmt: skip


def methods_of(
    concept: str, options: Options, *, layers: Sequence[int]
) -> tuple[list[list[object]], dict[tuple[str, int], Cell]]:
    """One concept's rows of the table of methods and layers."""
    rows: list[list[object]] = []
    cells: dict[tuple[str, int], Cell] = {}
    controls = [f"{judged(concept, unsteered(options)).success:.2f}", f"{prompted(concept, options):.2f}"]
    for layer in layers:
        found = {method: vector_of(concept, method, layer, options) for method in METHODS}
        noise = torch.randn(embedded().d_model, generator=torch.Generator().manual_seed(options.seed + layer))
        lines = {method: vector.direction for method, vector in found.items()} | {"random": noise / noise.norm()}
        start = found["mean-difference"].gap
        for method, line in lines.items():
            cells[method, layer] = judged(concept, at_pressure(layer, line, options, start=start))
        rows.append([concept, *controls, layer, *(cells[method, layer] for method in lines)])
    return rows, cells


def methods(concepts: Sequence[str], layers: Sequence[int], options: Options) -> None:
    """Every method at every layer, at one p95 pressure, beside a random direction."""
    rows: list[list[object]] = []
    found: dict[tuple[str, int], list[float]] = {}
    for made, cells in shared_out(partial(methods_of, layers=layers), concepts, options):
        rows += made
        for key, cell in cells.items():
            found.setdefault(key, []).append(cell.success)
    means = [[method, *(f"{np.mean(found[method, layer]):.3f}" for layer in layers)] for method in (*METHODS, "random")]
    body = "\n".join(
        [
            f"Success (oracle) over {options.n} prompt-free samples at a p95 pressure of {options.p95} nats a token, "
            "for all alike; in brackets the mean pressure. `random` is a random direction scaled to the same pressure, "
            "`dose 0` the base model by itself, `prompt` what it writes after the first third of a text that has the "
            f"concept. 95 % intervals are at most {widest(options.n)} wide on either side.",
            "",
            f"Mean over {len(concepts)} concepts:",
            "",
            table(["method", *(f"layer {layer}" for layer in layers)], means),
            "",
            table(["concept", "dose 0", "prompt", "layer", *METHODS, "random"], rows),
        ]
    )
    write("methods", "Method and layer at equal pressure", body, seed=options.seed)


def positions_of(concept: str, options: Options) -> tuple[str, int, list[Cell]]:
    """One concept's row of the table of positions."""
    vector = vectors.load(concept, embedded())
    found = [
        judged(concept, at_pressure(vector.layer, vector.direction, options, start=vector.gap, positions=positions))
        for positions in POSITIONS
    ]
    return concept, vector.layer, found


def positions(concepts: Sequence[str], options: Options) -> None:
    """Which positions to steer, at one p95 pressure."""
    made = list(shared_out(positions_of, concepts, options))
    means = np.mean([[cell.success for cell in cells] for _, _, cells in made], axis=0)
    rows = [[concept, layer, *cells] for concept, layer, cells in made]
    body = (
        f"Shipped vectors; success (oracle) over {options.n} prompt-free samples at a p95 pressure of {options.p95} "
        "nats a token; in brackets the mean pressure. Without a prompt, `generated` and `not-bos` are the same. "
        f"95 % intervals are at most {widest(options.n)} wide on either side.\n\n"
        + table(["concept", "layer", *POSITIONS], [*rows, ["**mean**", "", *(f"{mean:.3f}" for mean in means)]])
    )
    write("positions", "Steered positions at equal pressure", body, seed=options.seed)


def main() -> None:
    """Run the parts that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", choices=["methods", "positions"], default=["methods", "positions"])
    parser.add_argument("--concepts", default=",".join(DOZEN))
    parser.add_argument("--layers", help="comma-separated; default: all but the last")
    Options.add_to(parser)
    given = parser.parse_args()
    options = Options(given.n, given.p95, given.seed)
    concepts = given.concepts.split(",")
    layers = [int(layer) for layer in given.layers.split(",")] if given.layers else range(embedded().n_layers - 1)
    if "methods" in given.parts:
        methods(concepts, layers, options)
    if "positions" in given.parts:
        positions(concepts, options)


if __name__ == "__main__":
    main()
