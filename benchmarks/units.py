"""How to define the unit of concepts that were learned together: `python benchmarks/units.py`."""

import argparse
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from harness import Options, embedded, has, rate, shared_out
from library import Triple, chosen, sampled
from report import table, write

import steer
import vectors
from vectors.calibration import calibrate
from vectors.concepts.vector import ConceptVector

RADIUS = 0.5


def by_curve(vector: ConceptVector) -> float:
    """The smallest shift on the vector's own curve with nine tenths of the best success within the budget."""
    unit = calibrate._unit(vector.unit_curve)
    return vector.gap if unit is None else unit


UNITS: dict[str, Callable[[ConceptVector], float]] = {
    "0.75 of the length learned": lambda vector: 0.75 * vector.gap,
    "length learned": lambda vector: vector.gap,
    "1.25 of the length learned": lambda vector: 1.25 * vector.gap,
    "each one's own, by its curve": by_curve,
}


def joint_of(triple: Triple, options: Options) -> list[tuple[int, float]]:
    """For each definition: how many samples have all three concepts at dose 1, and the mean pressure."""
    made = []
    for unit in UNITS.values():
        concepts = [vectors.load(concept, embedded()) for concept in triple]
        point = steer.compose({replace(vector, unit=unit(vector)): 1.0 for vector in concepts})
        drawn = sampled(point, RADIUS, options)
        made.append(
            (sum(all(has(concept, text) for concept in triple) for text in drawn.texts), float(drawn.kl.mean()))
        )
    return made


def main() -> None:
    """Compare the definitions over random triples."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--triples", type=int, default=12)
    Options.add_to(parser)
    given = parser.parse_args()
    options = Options(given.n, given.pressure, given.seed + 2)
    triples = chosen(given.triples, given.seed)
    made = list(shared_out(joint_of, triples, options))
    rows = [
        [" + ".join(triple), *(rate(hits, options.n) for hits, _ in each)]
        for triple, each in zip(triples, made, strict=True)
    ]
    means = np.array(made).mean(axis=0)
    body = (
        f"Share of {options.n} samples at dose 1 and radius {RADIUS} in which the oracle reads all three concepts, "
        "by the definition of the unit. Units that are found one by one each have their own error, and the "
        "strongest concept then hides the others.\n\n"
        + table(
            ["triple", *UNITS],
            [
                *rows,
                ["**mean**", *(f"**{hits / options.n:.3f}**" for hits, _ in means)],
                ["mean pressure, nats a token", *(f"{pressure:.3f}" for _, pressure in means)],
            ],
        )
    )
    write("units", "What a unit should be", body, seed=given.seed)


if __name__ == "__main__":
    main()
