"""Which method, layer and positions steer best on the Almanac at equal pressure: `python benchmarks/methods.py`."""

import argparse
from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from harness import MAX_TOKENS, Cell, Options, at_pressure, embedded, has, judged, shared_out, texts, unsteered, widest
from report import table, write

import vectors
from vectors.decode import Settings, decode

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


def found_by(concept: str, method: str, layer: int, positions: str, options: Options) -> Cell:
    """Success under one method's direction, or a random one, at one layer, added at some positions."""
    model, found = embedded(), texts(options.seed)
    if method == "random":
        noise = torch.randn(model.d_model, generator=torch.Generator().manual_seed(options.seed + layer))
        direction, start = noise / noise.norm(), 10.0
    else:
        vector = vectors.extract(
            model, concept, positive=found.positive[concept], background=found.background(concept), method=method,
            layer=layer, positions=positions, calibrate=False, seed=options.seed,
        )  # fmt: skip
        direction, start = vector.direction, vector.gap
    return judged(concept, at_pressure(layer, direction, options, start=start, positions=positions))


def cells_of(
    concept: str, options: Options, *, variants: Sequence[tuple[str, str]], layers: Sequence[int]
) -> tuple[str, list[str], dict[tuple[str, str, int], Cell]]:
    """One concept's controls, and its cells by method, positions and layer."""
    controls = [f"{judged(concept, unsteered(options)).success:.2f}", f"{prompted(concept, options):.2f}"]
    cells = {
        (method, where, layer): found_by(concept, method, layer, where, options)
        for method, where in variants
        for layer in layers
    }
    return concept, controls, cells


def compare(
    name: str,
    title: str,
    variants: Sequence[tuple[str, str]],
    concepts: Sequence[str],
    layers: Sequence[int],
    options: Options,
) -> None:
    """Every variant at every layer, at one p95 pressure."""
    made = list(shared_out(partial(cells_of, variants=variants, layers=layers), concepts, options))
    heads = [f"{method}, {where}" for method, where in variants]
    means = [
        [head, *(f"{np.mean([cells[*variant, layer].success for _, _, cells in made]):.3f}" for layer in layers)]
        for head, variant in zip(heads, variants, strict=True)
    ]
    rows = [
        [concept, *controls, layer, *(cells[*variant, layer] for variant in variants)]
        for concept, controls, cells in made
        for layer in layers
    ]
    body = "\n".join(
        [
            f"Success (oracle) over {options.n} prompt-free samples at a p95 pressure of {options.p95} nats a token, "
            "for all alike; in brackets the mean pressure. Behind each method stand the positions it is added at. "
            "`random` is a random direction scaled to the same pressure, `dose 0` the base model by itself, `prompt` "
            "what it writes after the first third of a text that has the concept. 95 % intervals are at most "
            f"{widest(options.n)} wide on either side.",
            "",
            f"Mean over {len(concepts)} concepts:",
            "",
            table(["method, positions", *(f"layer {layer}" for layer in layers)], means),
            "",
            table(["concept", "dose 0", "prompt", "layer", *heads], rows),
        ]
    )
    write(name, title, body, seed=options.seed)


METHODS = (("learned", "bos"), ("mean-difference", "all"), ("pca", "all"), ("random", "bos"), ("random", "all"))
PLACES = (("learned", "all"), ("learned", "not-bos"), ("mean-difference", "bos"), ("mean-difference", "not-bos"))


def main() -> None:
    """Run the parts that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", choices=["methods", "positions"], default=["methods", "positions"])
    parser.add_argument("--concepts", default=",".join(DOZEN))
    parser.add_argument("--layers", default="0,1,2,3")
    Options.add_to(parser)
    given = parser.parse_args()
    options = Options(given.n, given.p95, given.seed)
    concepts = given.concepts.split(",")
    layers = [int(layer) for layer in given.layers.split(",")]
    if "methods" in given.parts:
        compare("methods", "Method and layer at equal pressure", METHODS, concepts, layers, options)
    if "positions" in given.parts:
        compare("positions", "Steered positions at equal pressure", PLACES, concepts, [1], options)


if __name__ == "__main__":
    main()
