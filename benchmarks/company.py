"""Dose 1 of an extracted concept in combination with others: units found alone or in company."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from harness import Options, embedded, has, shared_out, texts, widest
from report import table, write

import steer
import vectors
from steer.composition.forecast import forecast
from steer.composition.steering_point import SteeringPoint
from vectors.almanac.concepts import CONCEPTS
from vectors.calibration.companions import find_companions
from vectors.concepts.vector import ConceptVector

OWN = ("quantum", "cat", "gloomy", "sonnet", "midnight", "letter", "waterfall", "tender")
BESIDE = ("robot", "haiku", "sea", "joyful", "dawn", "recipe")
MAX_TOKENS = 128


@dataclass(frozen=True)
class Cell:
    """One unit of one concept: how often it shows alone and in combination, and how often the others show."""

    concept: str
    way: str
    unit: float
    alone: float
    own: float
    other: float
    both: float
    promised: float
    pressure: float


def cells_of(concept: str, options: Options) -> list[Cell]:
    """Learn one concept, find its unit both ways, and compose it with ready-made concepts of other attributes."""
    model, known = embedded(), texts(options.seed)
    made = vectors.extract(
        model, f"own {concept}", positive=known.positive[concept], background=known.background(concept), layer=1,
        seed=options.seed, calibrate=False,
    )  # fmt: skip
    held = vectors.ContrastSet(known.positive[concept], known.background(concept)).split(seed=options.seed)[1]
    company = find_companions(model, made, seed=options.seed)
    ways = {
        "alone": vectors.calibrate(model, made, held, seed=options.seed),
        "in company": vectors.calibrate(model, made, held, seed=options.seed, company=company),
    }
    others = [other for other in BESIDE if CONCEPTS[other][0] != CONCEPTS[concept][0]]
    return [cell_of(concept, way, vector, others, options) for way, vector in ways.items()]


def cell_of(concept: str, way: str, vector: ConceptVector, others: Sequence[str], options: Options) -> Cell:
    """Sample one vector at dose 1 alone and together with each of some others at dose 1."""
    model = embedded()
    alone = _texts(steer.compose({vector: 1.0}), options)
    own, other, both, promised, paid = [], [], [], [], []
    for name in others:
        point = steer.compose({vector: 1.0, vectors.load(name, model): 1.0})
        joint = forecast(point).joint
        runs = steer.sample(model, point, n=options.n, seed=options.seed, max_tokens=MAX_TOKENS)
        found = np.array([[has(concept, text), has(name, text)] for text in runs.texts])
        own.append(found[:, 0].mean())
        other.append(found[:, 1].mean())
        both.append(found.all(axis=1).mean())
        promised.append(joint.value if joint else float("nan"))
        paid.append(sum(run.pressure["total"] for run in runs) / sum(len(run.tokens) for run in runs))
    means = [float(np.nanmean(each)) for each in (own, other, both, promised, paid)]
    shown = float(np.mean([has(concept, text) for text in alone]))
    return Cell(concept, way, vector.scale, shown, *means)


def _texts(point: SteeringPoint, options: Options) -> list[str]:
    found = steer.sample(embedded(), point, n=options.n, seed=options.seed, max_tokens=MAX_TOKENS, costs=False)
    return found.texts


def row(cell: Cell) -> list[object]:
    return [cell.concept, cell.way, f"{cell.unit:.2f}", *(f"{each:.2f}" for each in (
        cell.alone, cell.own, cell.other, cell.both, cell.promised, cell.pressure))]  # fmt: skip


def main() -> None:
    """Print and keep the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    Options.add_to(parser)
    parser.set_defaults(n=48)
    given = parser.parse_args()
    options = Options(given.n, given.pressure, given.seed)
    made = [cell for some in shared_out(cells_of, OWN, options) for cell in some]
    means = []
    for way in ("alone", "in company"):
        mine = [cell for cell in made if cell.way == way]
        mean = {name: float(np.mean([getattr(cell, name) for cell in mine])) for name in Cell.__annotations__
                if name not in ("concept", "way")}  # fmt: skip
        means.append(row(replace(mine[0], concept="mean", **mean)))
    pairs = options.n * (len(BESIDE) - 1)
    named = ", ".join(BESIDE)
    body = (
        "Concepts learned one by one at layer 1, as `steer extract` does, at dose 1. Their unit comes from a pilot "
        "whose samples carry nothing else, or from one in which two thirds of the samples also carry a ready-made "
        f"concept. Success is by the oracle over {options.n} samples alone, and together with each of {named} at "
        f"dose 1 (without those of the same attribute), at least {pairs} samples a row. `both` is the share of "
        "texts with both concepts, `expected` is the forecast of `steer compose`, pressure is that of the pairs in "
        f"nats per token. The 95 % intervals of single rows are about {widest(pairs)} in company.\n\n"
        + table(["concept", "unit found", "unit", "alone", "own, beside", "the other", "both", "expected", "pressure"],
                [*means, *map(row, made)])
    )  # fmt: skip
    write("company", "Units found in company", body, seed=options.seed)


if __name__ == "__main__":
    main()
