"""How should concepts be put together? Operators for one to five concepts, at equal pressure.

`python benchmarks/composing.py -n 250 --libraries FOLDER --cells cells.jsonl`: FOLDER holds a library for each layer
that `split` adds concepts at, learned here if it is missing (a GPU helps).
"""

import argparse
import json
from collections.abc import Sequence
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from harness import MAX_TOKENS, Options, embedded, shared_out
from report import machine, table, write

import steer
import vectors
from steer.composition.forecast import forecast
from steer.composition.steering_point import SteeringPoint
from steer.judges.almanac import Almanac, conditions_of_doses
from steer.judges.reference import matches
from vectors.almanac.training.concept_library import collect
from vectors.concepts.library import load
from vectors.concepts.vector_file import save
from vectors.decoding.decode import decode
from vectors.decoding.token_sampling import Settings
from vectors.extraction.extract_jointly import extract_together

BASES = (
    ("letter", "sea", "ghost", "gloomy", "midnight"),
    ("diary", "forest", "child", "joyful", "dawn"),
    ("recipe", "orchard", "grandmother", "tender", "noon"),
    ("notice", "railway", "robot", "calm", "dusk"),
    ("sonnet", "quantum", "cat", "fearful", "midnight"),
    ("riddle", "kitchen", "crow", "gloomy", "dawn"),
    ("letter", "moon", "sailor", "tender", "dusk"),
)
"""No training entry has the last three, from three concepts on."""

EXCLUDED = 3
OPERATORS = ("exact", "sum", "rotate", "split")
SCALES = (0.7, 1.0, 1.3, 1.7)
LAYERS = (0, 1, 2, 3, 4)
"""Layers at which `split` adds the first to the fifth concept."""

Task = tuple[tuple[str, ...], str, float, str]
Cell = dict[str, Any]


def learned(layer: int, folder: Path) -> str:
    """Learn a library at one layer, unless it exists."""
    place = folder / str(layer)
    if layer == vectors.load("cat", embedded()).layer or (place / "cat.safetensors").exists():
        return f"layer {layer} is there"
    labels = collect(7, positives=200, background=500).labels
    found = extract_together(embedded(), list(labels), list(labels.values()), layer=layer, calibrate=False, seed=7)
    place.mkdir(parents=True, exist_ok=True)
    for name, vector in found.items():
        save(vector, place / f"{name}.safetensors", force=True)
    return f"layer {layer} is learned"


@cache
def at(name: str, layer: int, folder: str) -> vectors.ConceptVector:
    """A concept at a layer."""
    shipped = vectors.load(name, embedded())
    return shipped if layer == shipped.layer else load(Path(folder) / str(layer) / f"{name}.safetensors", embedded())


def point_of(names: Sequence[str], operator: str, scale: float, folder: str) -> SteeringPoint:
    """A composed point."""
    if operator == "split":
        doses = {at(name, layer, folder): scale for name, layer in zip(names, LAYERS, strict=False)}
        return steer.compose(doses)
    return steer.compose(dict.fromkeys(names, scale), embedded(), method=operator)


def cell_of(task: Task, options: Options) -> Cell:
    """Samples under one operator at one scale."""
    names, operator, scale, folder = task
    model, point = embedded(), point_of(names, operator, scale, folder)
    given = conditions_of_doses(dict.fromkeys(names, 1.0))[0]
    made = list(
        decode(
            model,
            lambda some: {layer: delta.expand(len(some), -1) for layer, delta in point.deltas.items()},
            prefix=model.start_ids(),
            settings=Settings(max_tokens=MAX_TOKENS, positions=point.positions),
            seed=options.seed,
            indices=range(options.n),
            interventions=point.moves(),
        )
    )
    kl = np.concatenate([each.cost.kl for each in made])
    world_of = Almanac()
    hits = sum(each.finish == "eos" and matches(world_of.read(model.decode(each.tokens)), given) for each in made)
    return {
        "names": list(names), "operator": operator, "scale": scale, "n": len(made), "seed": options.seed,
        "success": hits / len(made), "mean": float(kl.mean()), "p95": float(np.percentile(kl, 95)),
        "machine": machine(),
    }  # fmt: skip


def tasks_of(folder: Path) -> list[Task]:
    """Every operator at every scale for one to five concepts of each base, and each concept alone."""
    groups = [base[:k] for base in BASES for k in range(2, 6)]
    singles = sorted({(name,) for base in BASES for name in base})
    some = [(names, operator, scale, str(folder)) for names in groups for operator in OPERATORS for scale in SCALES]
    alone = [(names, operator, scale, str(folder)) for names in singles for operator in ("exact", "rotate")
             for scale in SCALES]  # fmt: skip
    return alone + some


def cells(options: Options, folder: Path, path: Path | None) -> list[Cell]:
    """All cells; those in the file are not sampled again."""
    found: dict[tuple[tuple[str, ...], str, float], Cell] = {}
    if path is not None and path.exists():
        for cell in map(json.loads, path.read_text().splitlines()):
            found[tuple(cell["names"]), cell["operator"], cell["scale"]] = cell
    left = [task for task in tasks_of(folder) if task[:3] not in found]
    for cell in shared_out(cell_of, left, options, quiet=True):
        found[tuple(cell["names"]), cell["operator"], cell["scale"]] = cell
        if path is not None:
            with path.open("a") as file:
                file.write(json.dumps(cell) + "\n")
    return list(found.values())


def at_pressure(line: Sequence[Cell], mean: float) -> float:
    """Success interpolated at a mean pressure between scales; at the ends, that of the last scale."""
    ranked = sorted(line, key=lambda cell: cell["mean"])
    return float(np.interp(mean, [cell["mean"] for cell in ranked], [cell["success"] for cell in ranked]))


def rows_of(made: Sequence[Cell], bases: Sequence[tuple[str, ...]]) -> list[list[object]]:
    """A row for each number of concepts and operator."""
    by: dict[tuple[tuple[str, ...], str], list[Cell]] = {}
    for cell in made:
        by.setdefault((tuple(cell["names"]), cell["operator"]), []).append(cell)

    def one(names: tuple[str, ...], operator: str) -> Cell:
        return next(cell for cell in by[names, operator] if cell["scale"] == 1.0)

    rows: list[list[object]] = []
    for k in range(1, 6):
        groups = sorted({(name,) for base in bases for name in base}) if k == 1 else [base[:k] for base in bases]
        single = [float(np.prod([one((name,), "exact")["success"] for name in names])) for names in groups]
        for operator in OPERATORS:
            if (groups[0], operator) not in by:
                continue
            equal = [at_pressure(by[names, operator], one(names, "exact")["mean"]) for names in groups]
            plain = [one(names, operator) for names in groups]
            best = [max(cell["success"] for cell in by[names, operator]) for names in groups]
            error = 1.96 * np.std(equal, ddof=1) / len(equal) ** 0.5
            rows.append(
                [
                    k, operator, f"{np.mean(single):.2f}", f"{np.mean([cell['success'] for cell in plain]):.2f}",
                    f"{np.mean([cell['mean'] for cell in plain]):.3f}",
                    f"{np.mean([cell['p95'] for cell in plain]):.2f}",
                    f"{np.mean(equal):.2f} ± {error:.2f}", f"{np.mean(best):.2f}",
                ]
            )  # fmt: skip
    return rows


def foretold(made: Sequence[Cell]) -> list[list[object]]:
    """A row for each number of concepts and dose: the forecast of `compose`, and the measured success."""
    rows: list[list[object]] = []
    for k, scale in product(range(1, 6), SCALES):
        pairs = []
        for cell in made:
            if (len(cell["names"]), cell["operator"], cell["scale"]) == (k, "exact", scale):
                found = forecast(point_of(cell["names"], "exact", scale, "")).joint
                if found is not None:
                    pairs.append((found, float(cell["success"])))
        within = sum(found.low <= success <= found.high for found, success in pairs)
        means = [f"{np.mean(side):.2f}" for side in zip(*((f.value, success) for f, success in pairs), strict=True)]
        rows.append([k, scale, *means, f"{within} of {len(pairs)}"])
    return rows


def main() -> None:
    """Learn missing libraries, sample every cell, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    Options.add_to(parser)
    parser.add_argument("--libraries", type=Path, required=True)
    parser.add_argument("--cells", type=Path)
    given = parser.parse_args()
    options = Options(given.n, given.pressure, given.seed)
    list(shared_out(_learned, [(layer, str(given.libraries)) for layer in LAYERS], options))
    made = cells(options, given.libraries, given.cells)
    heads = (
        "concepts", "operator", "product of single successes", "success at dose 1", "mean pressure", "p95",
        "success at the mean pressure of exact", "best of all doses",
    )  # fmt: skip
    body = (
        f"{options.n} samples a cell at radius 0, with doses {', '.join(f'{scale:g}' for scale in SCALES)} of all "
        "concepts; success is for all concepts at once, by the oracle; means over the combinations. `split` adds "
        "the first concept at layer 0, the second at layer 1, and so on, each learned at that layer together with "
        "all others. `rotate` composes as `exact` does and keeps the length of the residual stream. Success at the "
        "mean pressure of `exact` at dose 1 is interpolated between doses, ± its 95 % interval over the "
        "combinations.\n\nCombinations that occur in the "
        f"world:\n\n{table(heads, rows_of(made, BASES[:-EXCLUDED]))}\n\nCombinations that no training entry has (three "
        f"concepts or more):\n\n{table(heads, rows_of(made, BASES[-EXCLUDED:]))}\n\n"
        "The forecast of `compose`: the product of the success rates in the concepts' own pilots at that dose, "
        "corrected for their judges' errors, with its 95 % interval. For each combination above in which no "
        "concept is dosed beyond its pilot's last dose:\n\n"
        + table(("concepts", "dose", "expected", "measured", "measured within the interval"), foretold(made))
    )
    machines = " and ".join(sorted({cell["machine"] for cell in made}))
    write("composing", "Putting concepts together", body, seed=given.seed, on=machines)


def _learned(task: tuple[int, str], _: Options) -> str:
    return learned(task[0], Path(task[1]))


if __name__ == "__main__":
    main()
