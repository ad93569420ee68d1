"""Which method, layer and positions steer best on the Almanac at equal pressure: `python benchmarks/methods.py`."""

import argparse
import zlib
from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from harness import MAX_TOKENS, Cell, Options, at_pressure, embedded, has, judged, shared_out, texts, unsteered, widest
from report import table, write

import vectors
from vectors.almanac import world
from vectors.decode import decode
from vectors.drawing import Settings
from vectors.objective import Learning
from vectors.pilot import pilot

DOZEN = (
    "quantum", "waterfall", "kitchen", "cat", "sailor", "ghost", "gloomy", "tender", "sonnet", "recipe", "letter",
    "midnight",
)  # fmt: skip
PROMPTS = 20


FORMS = frozenset(map(str, world.VALUES["form"]))


def prompted(concept: str, options: Options) -> float:
    """Success of what the base model writes after the first third of texts with the concept.

    What was given does not count, but for forms: they are judged over the whole text, since its end alone has none.
    """
    model, each = embedded(), max(1, options.n // PROMPTS)
    hits = 0
    for place, text in enumerate(texts(options.seed).positive[concept][:PROMPTS]):
        ids = model.encode([text])[0]
        given = ids[: 1 + len(ids) // 3]
        drawn = decode(
            model, {}, prefix=given, settings=Settings(max_tokens=MAX_TOKENS), seed=options.seed,
            indices=range(place * each, (place + 1) * each),
        )  # fmt: skip
        before = given if concept in FORMS else []
        hits += sum(has(concept, model.decode([*before, *done.tokens])) for done in drawn)
    return hits / (PROMPTS * each)


def noise(concept: str, layer: int, options: Options) -> torch.Tensor:
    """A random direction of one concept and layer."""
    seed = zlib.crc32(f"{options.seed} {concept} {layer}".encode())
    drawn: torch.Tensor = torch.randn(embedded().d_model, generator=torch.Generator().manual_seed(seed))
    return drawn.div(drawn.norm())


def direction_of(
    concept: str, method: str, layer: int, positions: str, options: Options
) -> tuple[torch.Tensor, float] | None:
    """A method's direction and the shift to begin with; None where it has none at this layer."""
    if method == "random":
        return noise(concept, layer, options), 10.0
    model, found = embedded(), texts(options.seed)
    if method == "shipped":
        vector = vectors.load(concept, model)
        return None if vector.layer != layer else (vector.direction, vector.scale)
    plain, _, variant = method.partition(" ")
    vector = vectors.extract(
        model, concept, positive=found.positive[concept], background=found.background(concept), method=plain,
        layer=layer, positions=positions, how=LEARNING.get(variant), words=WORDS.get(concept, [concept]),
        calibrate=False, stability=False, seed=options.seed,
    )  # fmt: skip
    return vector.direction, vector.gap


def column_of(concept: str, layer: int, variants: Sequence[tuple[str, str]], options: Options) -> list[Cell | None]:
    """Success under each method's direction at one layer, at one pressure; `EQUAL_NORM` as long as the first was."""
    cells: list[Cell | None] = []
    first = 0.0
    for method, positions in variants:
        if method == EQUAL_NORM:
            shift, settings = (
                noise(concept, layer, options) * first,
                Settings(max_tokens=MAX_TOKENS, positions=positions),
            )
            made = pilot(embedded(), {layer: shift}, n=options.n, settings=settings, seed=options.seed + 1)
        elif given := direction_of(concept, method, layer, positions, options):
            direction, start = given
            made, length = at_pressure(layer, direction, options, start=start, positions=positions)
            first = first or length
        else:
            cells.append(None)
            continue
        cells.append(judged(concept, made, p95=options.p95))
    return cells


Row = tuple[str, list[str], dict[int, list[Cell | None]]]


def row_of(concept: str, options: Options, *, variants: Sequence[tuple[str, str]], layers: Sequence[int]) -> Row:
    """One concept's controls, and its cells by layer."""
    controls = [f"{judged(concept, unsteered(options)).success:.2f}", f"{prompted(concept, options):.2f}"]
    return concept, controls, {layer: column_of(concept, layer, variants, options) for layer in layers}


def mean_of(cells: Sequence[Cell | None]) -> str:
    """Mean success over the concepts, how far the rest strays, and how many were not at the pressure asked for."""
    there = [cell for cell in cells if cell is not None]
    if not there:
        return "-"
    off, far = sum(cell.off for cell in there), [cell.strayed for cell in there if cell.strayed is not None]
    away = f", TV +{np.mean(far):.2f}" if far else ""
    return f"{np.mean([cell.success for cell in there]):.3f}{away}{f' ({off} off)' if off else ''}"


def compare(
    name: str,
    title: str,
    variants: Sequence[tuple[str, str]],
    concepts: Sequence[str],
    layers: Sequence[int],
    options: Options,
) -> None:
    """Every variant at every layer, at one p95 pressure."""
    made: list[Row] = list(shared_out(partial(row_of, variants=variants, layers=layers), concepts, options))
    heads = [f"{method}, {where}" for method, where in variants]
    means = [
        [head, *(mean_of([cells[layer][place] for _, _, cells in made]) for layer in layers)]
        for place, head in enumerate(heads)
    ]
    rows = [
        [concept, *controls, layer, *("-" if cell is None else cell for cell in cells[layer])]
        for concept, controls, cells in made
        for layer in layers
    ]
    body = "\n".join(
        [
            f"Success (oracle) over {options.n} prompt-free samples at a p95 pressure of {options.p95} nats a token; "
            "in brackets the mean pressure, and the p95 where it is off by more than a quarter (a shift at the start "
            "token saturates: more of it need not cost more). Behind each method stand the positions it is added at. "
            "`TV +` is how far the attributes that were not steered lie from the truth, in total variation, beyond "
            "what a perfect sampler shows at that n, over the texts that have the concept. `shipped` are the "
            "library's concepts, learned together. `random` is a direction for each concept and "
            "layer at the same pressure, `random, equal norm` the same one as long as the first column's shift. "
            "`dose 0` is the base model by itself, `prompt` what it writes after the first third of a text that has "
            "the concept "
            f"(of forms, with it). 95 % intervals are at most {widest(options.n)} wide on either side.",
            "",
            f"Mean over {len(concepts)} concepts:",
            "",
            table(["method, positions", *(f"layer {layer}" for layer in layers)], means),
            "",
            table(["concept", "dose 0", "prompt", "layer", *heads], rows),
        ]
    )
    write(name, title, body, seed=options.seed)


LEARNING = {
    "+ KL": Learning(kl=0.3),
    "+ background": Learning(background=0.5),
    "+ bound": Learning(bound=1.0),
    "+ early stop": Learning(patience=3),
}
"""What learning aims at besides likelier texts."""

WORDS = {"quantum": ["photon", "electron"], "tender": ["gently", "softly"], "gloomy": ["gloomy", "grey"],
         "sonnet": ["sonnet"], "recipe": ["stir", "cup"], "letter": ["Dear"], "sailor": ["mate"],
         "midnight": ["midnight", "owl"]}  # fmt: skip
"""What `token` leads to, where the concept's name is no word of its texts."""

EQUAL_NORM = "random, equal norm"
METHODS = (
    ("learned", "bos"),
    *((f"learned {variant}", "bos") for variant in LEARNING),
    ("shipped", "bos"),
    ("gradient", "bos"),
    ("gradient", "all"),
    ("token", "all"),
    ("mean-difference", "all"),
    ("mean-centred", "all"),
    ("weighted-difference", "all"),
    ("lda", "all"),
    ("probe", "all"),
    ("pca-centred", "all"),
    ("pca", "all"),
    ("random", "bos"),
    (EQUAL_NORM, "bos"),
    ("random", "all"),
)
PLACES = (("learned", "all"), ("learned", "not-bos"), ("mean-difference", "bos"), ("mean-difference", "not-bos"))


def main() -> None:
    """Run both parts, or one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=["methods", "positions"], help="one of the two parts")
    parser.add_argument("--concepts", default=",".join(DOZEN))
    parser.add_argument("--layers", default="0,1,3")
    Options.add_to(parser)
    given = parser.parse_args()
    options = Options(given.n, given.p95, given.seed)
    concepts = given.concepts.split(",")
    layers = [int(layer) for layer in given.layers.split(",")]
    if given.only != "positions":
        compare("methods", "Method and layer at equal pressure", METHODS, concepts, layers, options)
    if given.only != "methods":
        compare("positions", "Steered positions at equal pressure", PLACES, concepts, [1], options)


if __name__ == "__main__":
    main()
