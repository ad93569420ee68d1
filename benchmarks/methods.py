"""Which method, layer and positions steer best on the Almanac at equal pressure: `python benchmarks/methods.py`."""

import argparse
import json
import zlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from harness import MAX_TOKENS, Cell, Options, at_pressure, embedded, has, judged, shared_out, texts, unsteered, widest
from report import table, write

import vectors
from vectors.almanac import world
from vectors.choosing import find
from vectors.decode import decode
from vectors.drawing import Settings
from vectors.effect import best_of, effects
from vectors.judge import WordJudge
from vectors.material import Material
from vectors.objective import Learning
from vectors.own import own_texts
from vectors.pilot import pilot

DOZEN = (
    "quantum", "cat", "gloomy", "sonnet", "midnight", "waterfall", "ghost", "letter", "tender", "sailor", "recipe",
    "kitchen",
)  # fmt: skip
PROMPTS = 20

Variant = tuple[str, str, int | None]
"""A method, the positions it is added at, and the one layer it is tried at, or none for all."""

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
            model, None, prefix=given, settings=Settings(max_tokens=MAX_TOKENS), seed=options.seed,
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


Directions = dict[int, tuple[torch.Tensor, float]]
"""By layer a direction and the shift to begin with."""


@cache
def sides(concept: str, options: Options) -> tuple[vectors.ContrastSet, vectors.ContrastSet]:
    """The texts that directions are found in, and those held out."""
    known = texts(options.seed)
    return vectors.ContrastSet(known.positive[concept], known.background(concept)).split(seed=options.seed)


@cache
def material(concept: str, positions: str, variant: str, layers: tuple[int, ...], options: Options) -> Material:
    """What directions are found in, read once for all methods that only read it."""
    fit = sides(concept, options)[0]
    if variant == OWN:
        fit = vectors.ContrastSet(fit.positive, own_texts(embedded(), len(fit.positive), seed=options.seed))
    return Material(
        model=embedded(), fit=fit, layers=layers, positions=positions, seed=options.seed,
        words=tuple(WORDS.get(concept, [concept])), how=LEARNING.get(variant, Learning()),
    )  # fmt: skip


def directions_of(concept: str, method: str, layers: Sequence[int], positions: str, options: Options) -> Directions:
    """A method's direction at each layer."""
    if method == "random":
        return {layer: (noise(concept, layer, options), 10.0) for layer in layers}
    if method == "shipped":
        vector = vectors.load(concept, embedded())
        return {vector.layer: (vector.direction, vector.scale)}
    plain, _, variant = method.partition(" ")
    given = material(concept, positions, OWN if plain == OWN else variant, tuple(layers), options)
    found = find(given, plain)
    return {layer: (found.directions[layer].float(), found.gaps[layer]) for layer in layers}


@dataclass(frozen=True)
class Row:
    """One concept: its controls, its cells by layer and variant, and the layer that a pilot picks for each method."""

    concept: str
    controls: list[str]
    cells: dict[int, dict[str, Cell]]
    picked: dict[str, int]


def row_of(
    concept: str, options: Options, *, variants: Sequence[Variant], layers: Sequence[int], chosen: Sequence[str] = ()
) -> Row:
    """Success under each method's direction at each layer, at one pressure; `EQUAL_NORM` as long as the first was."""
    cells: dict[int, dict[str, Cell]] = {layer: {} for layer in layers}
    first: dict[int, float] = {}
    kept: dict[str, Directions] = {}
    for method, positions, only in variants:
        at_layers = [layer for layer in layers if only in (None, layer)]
        settings = Settings(max_tokens=MAX_TOKENS, positions=positions)
        found = {} if method == EQUAL_NORM else directions_of(concept, method, at_layers, positions, options)
        if method in chosen:
            kept[method] = found
        for layer in at_layers:
            if method == EQUAL_NORM:
                shift = noise(concept, layer, options) * first[layer]
                made = pilot(embedded(), {layer: shift}, n=options.n, settings=settings, seed=options.seed + 1)
            else:
                direction, start = found[layer]
                made, length = at_pressure(layer, direction, options, start=start, positions=positions)
                first.setdefault(layer, length)
            cells[layer][head(method, positions)] = judged(concept, made, pressure=options.pressure)
    controls = [f"{judged(concept, unsteered(options)).success:.2f}", f"{prompted(concept, options):.2f}"]
    places = {method: positions for method, positions, _ in variants}
    picked = {head(one, places[one]): picked_layer(concept, kept[one], places[one], options) for one in chosen}
    return Row(concept, controls, cells, picked)


def picked_layer(concept: str, found: Directions, positions: str, options: Options) -> int:
    """The layer that the pilot of `--layer auto` would choose among these directions."""
    held = sides(concept, options)[1]
    made = effects(
        embedded(), {layer: direction.double() for layer, (direction, _) in found.items()},
        WordJudge(held.positive, held.background), starts={layer: start for layer, (_, start) in found.items()},
        positions=positions, seed=options.seed,
    )  # fmt: skip
    return best_of(made)


def rows_of(
    work: Callable[[str, Options], Row], concepts: Sequence[str], options: Options, path: Path | None
) -> list[Row]:
    """A row for every concept; those that the file holds are not made again."""
    found = rows_in(path) if path is not None and path.exists() else {}
    left = [concept for concept in concepts if concept not in found]
    for row in shared_out(work, left, options, quiet=True):
        found[row.concept] = row
        if path is not None:
            with path.open("a") as file:
                file.write(json.dumps(asdict(row)) + "\n")
    return [found[concept] for concept in concepts]


def rows_in(path: Path) -> dict[str, Row]:
    """The rows that a file holds, by concept."""
    found = {}
    for line in map(json.loads, path.read_text().splitlines()):
        cells = {int(at): {one: Cell(**cell) for one, cell in of.items()} for at, of in line.pop("cells").items()}
        found[line["concept"]] = Row(**line, cells=cells)
    return found


def head(method: str, positions: str) -> str:
    """What a variant is called in the tables."""
    return f"{method}, {positions}"


def mean_of(cells: Sequence[Cell]) -> str:
    """Mean success over the concepts, how far the rest strays, and how many were not at the pressure asked for."""
    if not cells:
        return "-"
    off, far = sum(cell.off for cell in cells), [cell.strayed for cell in cells if cell.strayed is not None]
    away = f", TV +{np.mean(far):.2f}" if far else ""
    return f"{np.mean([cell.success for cell in cells]):.3f}{away}{f' ({off} off)' if off else ''}"


def rules(rows: Sequence[Row], heads: Sequence[str], layers: Sequence[int]) -> list[list[str]]:
    """What each way to choose the layer comes to, for each method that a pilot chose for."""
    made = []
    for name in heads:
        by = np.array([[row.cells[layer][name].success for layer in layers] for row in rows])
        pilots = [row.cells[row.picked[name]][name].success for row in rows]
        fixed = int(by.mean(axis=0).argmax())
        made.append([name, f"{layers[fixed]}: {by[:, fixed].mean():.3f}", f"{np.mean(pilots):.3f}",
                     f"{by.max(axis=1).mean():.3f}", ", ".join(str(row.picked[name]) for row in rows)])  # fmt: skip
    return made


def compare(
    name: str,
    title: str,
    variants: Sequence[Variant],
    concepts: Sequence[str],
    layers: Sequence[int],
    options: Options,
    *,
    chosen: Sequence[str] = (),
    path: Path | None = None,
) -> None:
    """Every variant at every layer, at one mean pressure."""
    work = partial(row_of, variants=variants, layers=layers, chosen=chosen)
    made = rows_of(work, concepts, options, path)
    heads = [head(method, where) for method, where, _ in variants]
    means = [
        [one, *(mean_of([row.cells[at][one] for row in made if one in row.cells[at]]) for at in layers)]
        for one in heads
    ]
    rows = [
        [row.concept, *row.controls, at, *(row.cells[at].get(one, "-") for one in heads)]
        for row in made
        for at in layers
    ]
    body = (
        f"Success (oracle) over {options.n} prompt-free samples at a mean pressure of {options.pressure} nats a token; "
        "in brackets the pressure where it is off by more than 15 % (a shift at the start token saturates: more of "
        "it need not cost more). Behind each method stand the positions it is added at. `TV +` is how far the "
        "attributes that were not steered lie from the truth, in total variation, beyond what a perfect sampler shows "
        "at that n, over the texts that have the concept. `shipped` are the library's concepts, learned together. "
        "`random` is a direction for each concept and layer at the same pressure, `random, equal norm` the same one as "
        "long as the first column's shift. `dose 0` is the base model by itself, `prompt` what it writes after the "
        "first third of a text that has the concept (of forms, with it). 95 % intervals are at most "
        f"{widest(options.n)} wide on either side.\n\nMean over {len(concepts)} concepts:\n\n"
        + table(["method, positions", *(f"layer {at}" for at in layers)], means)
        + "\n\n"
    )
    if chosen:
        body += (
            "The same by how the layer is chosen: one for all concepts, the best afterwards; for each concept by the "
            "pilot of `--layer auto`, which reads words; for each concept the best afterwards, by the oracle, which "
            "nobody has.\n\n"
            + table(["method, positions", "one layer for all", "by the pilot", "the best each", "the pilot's layers"],
                    rules(made, list(made[0].picked), layers))
            + "\n\n"
        )  # fmt: skip
    body += table(["concept", "dose 0", "prompt", "layer", *heads], rows)
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
OWN = "mean-centred"
"""The method whose background is what the model writes."""

METHODS: tuple[Variant, ...] = (
    ("learned", "bos", None),
    *((f"learned {variant}", "bos", 1) for variant in LEARNING),
    ("shipped", "bos", 1),
    ("gradient", "bos", None),
    ("gradient", "all", 1),
    ("token", "all", None),
    ("mean-difference", "all", None),
    ("mean-centred", "all", None),
    ("weighted-difference", "all", None),
    ("lda", "all", None),
    ("probe", "all", None),
    ("pca-centred", "all", None),
    ("pca", "all", None),
    ("random", "bos", None),
    (EQUAL_NORM, "bos", None),
    ("random", "all", None),
)
PLACES: tuple[Variant, ...] = (
    ("learned", "all", None),
    ("learned", "not-bos", None),
    ("mean-difference", "bos", None),
    ("mean-difference", "not-bos", None),
)


def main() -> None:
    """Run both parts, or one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=["methods", "positions"], help="one of the two parts")
    parser.add_argument("--concepts", default=",".join(DOZEN))
    parser.add_argument("--layers", default="0,1,3")
    parser.add_argument("--rows", type=Path, help="file that keeps the concepts that are done")
    Options.add_to(parser)
    given = parser.parse_args()
    options = Options(given.n, given.pressure, given.seed)
    concepts = given.concepts.split(",")
    layers = [int(layer) for layer in given.layers.split(",")]
    if given.only != "positions":
        compare("methods", "Method and layer at equal pressure", METHODS, concepts, layers, options,
                chosen=("learned", "mean-difference"), path=given.rows)  # fmt: skip
    if given.only != "methods":
        compare("positions", "Steered positions at equal pressure", PLACES, concepts, [1], options)


if __name__ == "__main__":
    main()
