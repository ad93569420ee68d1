"""Which method, layer and positions steer best on the Almanac at equal pressure: `python benchmarks/methods.py`."""

import argparse
import json
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness import MAX_TOKENS, Cell, Options, at_pressure, embedded, has, judged, shared_out, texts, unsteered, widest
from report import table, write

import vectors
from vectors.activations.text_activations import encode_by_text
from vectors.almanac.world import distribution
from vectors.calibration.layer_effect import best_layer, measure_effects
from vectors.calibration.word_judge import WordJudge
from vectors.decoding.decode import decode
from vectors.decoding.prompt_free_samples import sample_prompt_free, sample_shifted
from vectors.decoding.token_sampling import Settings
from vectors.extraction.extraction_input import ExtractionInput
from vectors.extraction.layer_selection import find_directions
from vectors.extraction.shifts.learned_shift import Learning

DOZEN = (
    "quantum", "cat", "gloomy", "sonnet", "midnight", "waterfall", "ghost", "letter", "tender", "sailor", "recipe",
    "kitchen",
)  # fmt: skip
PROMPTS = 20

Variant = tuple[str, str, int | None]
"""A method, its positions, and the only layer to try (None: all layers)."""

FORMS = frozenset(map(str, distribution.VALUES["form"]))


def prompted(concept: str, options: Options) -> float:
    """Success of the base model's continuations of the first third of texts with the concept.

    Only the continuation is judged; for forms, the whole text, because its end alone has no form.
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
"""For each layer, a direction and its initial shift."""


@cache
def sides(concept: str, options: Options) -> tuple[vectors.ContrastSet, vectors.ContrastSet]:
    """The texts to find directions in, and the held-out texts."""
    known = texts(options.seed)
    return vectors.ContrastSet(known.positive[concept], known.background(concept)).split(seed=options.seed)


@cache
def material(concept: str, positions: str, variant: str, layer: int, options: Options) -> ExtractionInput:
    """The extraction input, read once for all methods that only read it."""
    fit = sides(concept, options)[0]
    if variant == OWN:
        fit = vectors.ContrastSet(fit.positive, sample_prompt_free(embedded(), len(fit.positive), seed=options.seed))
    return ExtractionInput(
        model=embedded(), fit=fit, tokens=encode_by_text(embedded(), [*fit.positive, *fit.background]), layers=(layer,),
        positions=positions, seed=options.seed, words=tuple(WORDS.get(concept, [concept])),
        objective=LEARNING.get(variant, PLAIN),
    )  # fmt: skip


def direction_of(concept: str, method: str, layer: int, positions: str, options: Options) -> tuple[torch.Tensor, float]:
    """The direction of a method and its initial shift."""
    if method == "random":
        return noise(concept, layer, options), 10.0
    if method == "shipped":
        vector = vectors.load(concept, embedded())
        return vector.direction, vector.scale
    plain, _, variant = method.partition(" ")
    found = find_directions(material(concept, positions, OWN if plain == OWN else variant, layer, options), plain)
    return found.directions[layer].float(), found.gaps[layer]


@dataclass(frozen=True)
class Line:
    """One concept at one layer: a cell for each variant, and the directions for the pilot to choose from."""

    concept: str
    layer: int
    cells: dict[str, Cell]
    kept: dict[str, tuple[list[float], float]]


@dataclass(frozen=True)
class Row:
    """One concept: its controls, its cells by layer and variant, and the layer that a pilot picks for each method."""

    concept: str
    controls: list[str]
    picked: dict[str, int]
    cells: dict[int, dict[str, Cell]] = field(default_factory=dict)


def line_of(
    task: tuple[str, int], options: Options, *, variants: Sequence[Variant], chosen: Sequence[str], path: Path | None
) -> Line:
    """Success with each method's direction at one layer and pressure; `EQUAL_NORM` has the first one's length."""
    concept, layer = task
    line = Line(concept, layer, {}, {})
    first = 0.0
    for method, positions, only in variants:
        if only not in (None, layer):
            continue
        if method == EQUAL_NORM:
            shift = noise(concept, layer, options) * first
            settings = Settings(max_tokens=MAX_TOKENS, positions=positions)
            made = sample_shifted(embedded(), {layer: shift}, n=options.n, settings=settings, seed=options.seed + 1)
        else:
            direction, start = direction_of(concept, method, layer, positions, options)
            made, length = at_pressure(layer, direction, options, start=start, positions=positions)
            first = first or length
            if method in chosen:
                line.kept[head(method, positions)] = (direction.tolist(), start)
        line.cells[head(method, positions)] = judged(concept, made, pressure=options.pressure)
    add_to(path, asdict(line))
    return line


def row_of(task: tuple[str, list[Line]], options: Options, *, path: Path | None) -> Row:
    """The controls of a concept, and the layers that pilots pick."""
    concept, lines = task
    picked = {}
    for name in lines[0].kept:
        found = {line.layer: (torch.tensor(line.kept[name][0]), line.kept[name][1]) for line in lines}
        picked[name] = picked_layer(concept, found, name.rpartition(", ")[2], options)
    controls = [f"{judged(concept, unsteered(options)).success:.2f}", f"{prompted(concept, options):.2f}"]
    row = Row(concept, controls, picked)
    add_to(path, asdict(row))
    return row


def add_to(path: Path | None, found: dict[str, Any]) -> None:
    """Append a line to the file at once."""
    if path is not None:
        with path.open("a") as file:
            file.write(json.dumps(found) + "\n")


def picked_layer(concept: str, found: Directions, positions: str, options: Options) -> int:
    """The layer that the pilot of `--layer auto` would choose among these directions."""
    held = sides(concept, options)[1]
    effects = measure_effects(
        embedded(), {layer: direction.double() for layer, (direction, _) in found.items()},
        WordJudge(held.positive, held.background), starts={layer: start for layer, (_, start) in found.items()},
        positions=positions, seed=options.seed,
    )  # fmt: skip
    return best_layer(effects)


def rows_of(
    concepts: Sequence[str], layers: Sequence[int], options: Options, *, variants: Sequence[Variant],
    chosen: Sequence[str], path: Path | None,
) -> list[Row]:  # fmt: skip
    """A row for every concept; rows in the file are not computed again."""
    lines, rows = read_in(path)
    left = [(concept, layer) for concept in concepts for layer in layers if (concept, layer) not in lines]
    for line in shared_out(partial(line_of, variants=variants, chosen=chosen, path=path), left, options, quiet=True):
        lines[line.concept, line.layer] = line
    missing = [(one, [lines[one, layer] for layer in layers]) for one in concepts if one not in rows]
    rows |= {row.concept: row for row in shared_out(partial(row_of, path=path), missing, options, quiet=True)}
    return [replace(rows[one], cells={layer: lines[one, layer].cells for layer in layers}) for one in concepts]


def read_in(path: Path | None) -> tuple[dict[tuple[str, int], Line], dict[str, Row]]:
    """The lines and rows of a file."""
    lines: dict[tuple[str, int], Line] = {}
    rows: dict[str, Row] = {}
    for found in map(json.loads, path.read_text().splitlines() if path is not None and path.exists() else []):
        if "layer" in found:
            cells = {name: Cell(**cell) for name, cell in found.pop("cells").items()}
            lines[found["concept"], found["layer"]] = Line(**found, cells=cells)
        else:
            rows[found["concept"]] = Row(found["concept"], found["controls"], found["picked"])
    return lines, rows


def head(method: str, positions: str) -> str:
    """The name of a variant in the tables."""
    return f"{method}, {positions}"


def mean_of(cells: Sequence[Cell]) -> str:
    """Mean success over the concepts, TV of the other attributes, and the number of cells off the pressure."""
    if not cells:
        return "-"
    off, far = sum(cell.off for cell in cells), [cell.strayed for cell in cells if cell.strayed is not None]
    away = f", TV {np.mean(far):+.2f}" if far else ""
    return f"{np.mean([cell.success for cell in cells]):.3f}{away}{f' ({off} off)' if off else ''}"


def rules(rows: Sequence[Row], heads: Sequence[str], layers: Sequence[int]) -> list[list[str]]:
    """Success for each way to choose the layer, for each method with a pilot."""
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
    made = rows_of(concepts, layers, options, variants=variants, chosen=chosen, path=path)
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
        f"Success (by the oracle) over {options.n} prompt-free samples at a mean pressure of {options.pressure} "
        "nats per token; the pressure is in brackets where it is off by more than 15 % (a shift at the start token "
        "saturates: a larger one need not cost more). The positions at which a shift is added follow the name of "
        "the method. `TV` is the total variation distance of the attributes that were not steered from the truth, "
        "minus that of a perfect sampler at this n, over the texts with the concept. `shipped` are the concepts of "
        "the library, learned together. `random` is a random direction for each concept and layer at the same "
        "pressure; `random, equal norm` is that direction with the length of the first column's shift. `dose 0` is "
        "the base model; `prompt` is the base model after the first third of a text with the concept (for forms, "
        f"the third is judged too). The 95 % intervals are at most {widest(options.n)}.\n\nMean over {len(concepts)} "
        "concepts:\n\n" + table(["method, positions", *(f"layer {at}" for at in layers)], means) + "\n\n"
    )
    if chosen:
        body += (
            "The same for three choices of the layer: one layer for all concepts, the best in hindsight; a layer "
            "for each concept by the pilot of `--layer auto`, which reads only words; the best layer for each "
            "concept in hindsight by the oracle, which no user has.\n\n"
            + table(["method, positions", "one layer for all", "by the pilot", "the best each", "the pilot's layers"],
                    rules(made, list(made[0].picked), layers))
            + "\n\n"
        )  # fmt: skip
    body += table(["concept", "dose 0", "prompt", "layer", *heads], rows)
    write(name, title, body, seed=options.seed)


PLAIN = Learning(patience=None)
LEARNING = {
    "+ KL": replace(PLAIN, kl=0.3),
    "+ background": replace(PLAIN, background=0.5),
    "+ bound": replace(PLAIN, bound=1.0),
    "+ early stop": Learning(patience=3),
}
"""Extra terms of the learning objective; without them, learning runs to the end."""

WORDS = {"quantum": ["photon", "electron"], "tender": ["gently", "softly"], "gloomy": ["mopes", "doleful"],
         "sonnet": ["The", "I"], "recipe": ["stir", "cup"], "letter": ["Dear"], "sailor": ["mate"],
         "kitchen": ["kettle", "teapot"], "midnight": ["midnight", "owl"]}  # fmt: skip
"""Words for `token`, if the concept's name is no word of its texts."""

EQUAL_NORM = "random, equal norm"
OWN = "mean-centred"
"""The method whose background the model writes."""

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
    ("learned", "not-bos", 1),
    ("mean-difference", "bos", None),
    ("mean-difference", "not-bos", 1),
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
        path = given.rows if given.only else None  # a file holds the cells of one part
        compare("positions", "Steered positions at equal pressure", PLACES, concepts, layers, options, path=path)


if __name__ == "__main__":
    main()
