"""Does a gate, which adds only what a position lacks of a concept, lower the pressure at equal success?

`python benchmarks/gating.py -n 200`
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from harness import MAX_TOKENS, Options, embedded, has, shared_out, texts
from report import table, write

import steer
import vectors
from vectors.decoding.decode import decode
from vectors.decoding.token_sampling import Settings

NAMES = ("sonnet", "letter", "sea", "cat", "gloomy", "snow")
METHODS = {"mean-difference": (1.0, 2.0, 4.0, 8.0, 12.0, 16.0, 24.0), "learned": (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0)}
"""Methods, each with its doses in natural gaps."""

LAYERS = (1,)

LEVEL = 0.5
"""Fraction of the best success of both at which pressures are compared."""

Task = tuple[str, str, int]


@dataclass(frozen=True)
class Line:
    """One vector at every dose, with and without the gate: success, total pressure and p95 pressure."""

    task: Task
    plain: list[tuple[float, float, float]]
    gated: list[tuple[float, float, float]]


def line_of(task: Task, options: Options) -> Line:
    """Extract one concept and sample it at every dose."""
    name, method, layer = task
    known, model = texts(options.seed), embedded()
    vector = vectors.extract(
        model, name, positive=known.positive[name], background=known.background(name), method=method,
        layer=layer, positions="all",
        calibrate=False, seed=options.seed,
    )  # fmt: skip
    found: dict[bool, list[tuple[float, float, float]]] = {False: [], True: []}
    for gate, rows in found.items():
        for dose in METHODS[method]:
            point = steer.compose({vector: dose})
            made = list(
                decode(
                    model,
                    lambda some, point=point: {at: one.expand(len(some), -1) for at, one in point.deltas.items()},
                    prefix=model.start_ids(),
                    settings=Settings(max_tokens=MAX_TOKENS, positions="all"),
                    seed=options.seed,
                    indices=range(options.n),
                    interventions=point.moves(gate=gate),
                )
            )
            hits = sum(has(name, model.decode(each.tokens)) for each in made)
            kl = [each.cost.kl for each in made]
            total, p95 = float(np.mean([one.sum() for one in kl])), float(np.percentile(np.concatenate(kl), 95))
            rows.append((hits / len(made), total, p95))
    return Line(task, found[False], found[True])


def pressure_at(rows: Sequence[tuple[float, float, float]], success: float) -> float | None:
    """The total pressure at which a success is first reached, interpolated between doses; None if never."""
    for (low, before, _), (high, after, _) in zip([(0.0, 0.0, 0.0), *rows], rows, strict=False):
        if low < success <= high:
            return before + (success - low) / (high - low) * (after - before)
    return None


def row_of(line: Line) -> list[object]:
    """One vector: the best success with and without the gate, and the pressures at equal success."""
    best = [max(success for success, _, _ in rows) for rows in (line.plain, line.gated)]
    wanted = LEVEL * min(best)
    plain, gated = (pressure_at(rows, wanted) for rows in (line.plain, line.gated))
    ratio = f"{gated / plain:.2f}" if plain and gated else "-"
    shown = [f"{one:.1f}" if one is not None else "-" for one in (plain, gated)]
    return [line.task[0], line.task[1], line.task[2], *(f"{one:.2f}" for one in best), f"{wanted:.2f}", *shown, ratio]


def main() -> None:
    """Measure every concept by both methods."""
    parser = argparse.ArgumentParser(description=__doc__)
    Options.add_to(parser)
    given = parser.parse_args()
    options = Options(given.n, given.pressure, given.seed)
    tasks = [(name, method, layer) for name in NAMES for method in METHODS for layer in LAYERS]
    lines = list(shared_out(line_of, tasks, options, quiet=True))
    rows = [row_of(line) for line in lines]
    ratios = [float(str(row[-1])) for row in rows if row[-1] != "-"]
    body = (
        f"Vectors that are added at every position, {options.n} samples a dose, seven doses with and without the gate. "
        "Total pressure (nats a text) is that at which success, by the oracle, first reaches half of the best that "
        "both reach. Ratio with the gate to without: geometric mean "
        f"{np.exp(np.mean(np.log(ratios))):.2f} over {len(ratios)} vectors.\n\n"
        + table(
            ("concept", "method", "layer", "best success, plain", "gated", "compared at", "plain pressure", "gated",
             "ratio"),
            rows,
        )
    )  # fmt: skip
    write("gating", "A gate", body, seed=given.seed)


if __name__ == "__main__":
    main()
