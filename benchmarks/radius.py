"""The radius compared with temperature and dose: success, diversity, typicality and pressure.

`python benchmarks/radius.py -n 128`
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace

import torch
from harness import MAX_TOKENS, Options, embedded, shared_out
from report import table, write

import steer
from steer.composition.steering_point import SteeringPoint
from steer.judges.almanac import almanac_evaluation_set
from steer.judges.evaluation_set import EvaluationSet
from steer.judges.judge import FunctionJudge
from steer.runs.sample_set import SampleSet
from steer.sweeps.cell_metrics import CellEvaluator, Row, measure_cell
from steer.sweeps.grid import Cell
from steer.sweeps.sweep import Sweep
from vectors.common.rng import Stream, rng
from vectors.concepts.vector import ConceptVector

EXPRESSIONS = ("waterfall", "sonnet + cat", "sonnet + quantum + cat")
RADII = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
TEMPERATURES = (0.7, 0.85, 1.15, 1.3)
DOSES = (0.5, 0.75, 1.25, 1.5)
PARTS = ("radius", "temperature", "dose", "random", "dose 0", "prompt")
Task = tuple[str, str]
Line = tuple[str, str, Row]


def rows_of(task: Task, options: Options) -> list[Line]:
    """The cells of one expression along one axis, or of one control."""
    expression, part = task
    model = embedded()
    point = steer.compose(expression, model)
    evaluation_set = almanac_evaluation_set(point.doses, n=options.n, seed=options.seed)
    shared = {"n": options.n, "seed": options.seed, "evaluation_set": evaluation_set}
    made: Sweep
    if part == "prompt":
        return [(expression, "prompt only", prompted(point.doses, evaluation_set, options))]
    if part == "radius":
        made = steer.sweep(model, point, radii=RADII, **shared)
    elif part == "temperature":
        made = steer.sweep(model, point, radii=(0.0,), temperatures=TEMPERATURES, **shared)
    elif part == "dose":
        made = steer.sweep(model, point, radii=(0.0,), doses=DOSES, **shared)
    elif part == "random":
        made = steer.sweep(model, {noise(point, options.seed): 1.0}, radii=(0.0, 1.0), **shared)
    else:
        made = steer.sweep(model, {point.vectors[0]: 0.0}, radii=(0.0,), **shared)
    return [(expression, name_of(part, row.cell), row) for row in made.rows]


def name_of(part: str, cell: Cell) -> str:
    """The name of a cell in the table."""
    if part == "random":
        return f"random, equal norm, radius {cell.radius:g}"
    return part if part == "dose 0" else f"{part} {getattr(cell, part):g}"


def noise(point: SteeringPoint, seed: int) -> ConceptVector:
    """A vector of the point's length in a random direction."""
    first = point.vectors[0]
    drawn = torch.from_numpy(rng(seed, 0, Stream.DIRECTION).standard_normal(first.d_model))
    return replace(
        first, name="random", direction=(drawn / drawn.norm()).float(), unit=max(point.norms.values()), unit_curve=()
    )


def prompted(doses: dict[str, float], evaluation_set: EvaluationSet, options: Options) -> Row:
    """The base model's continuations of the first third of real texts with the concepts, one a text."""
    model, samples, whole = embedded(), [], dict[str, str]()
    for index, text in enumerate(evaluation_set.real[: options.n]):
        words = text.split(" ")
        prompt = " ".join(words[: len(words) // 3])
        run = steer.sample(model, None, n=1, seed=options.seed + index, prompt=prompt)
        samples.append(replace(run[0], index=index))
        whole[run[0].text] = prompt + run[0].text
    # a form belongs to the whole text
    judges = [
        FunctionJudge(judge.name, lambda text, judge=judge: judge.accepts(whole[text]))
        if judge.name.startswith("form")
        else judge
        for judge in evaluation_set.judges
    ]
    bench = CellEvaluator(
        model, doses, n=options.n, seed=options.seed, max_tokens=MAX_TOKENS, first=list(whole),
        evaluation_set=replace(evaluation_set, judges=tuple(judges), real=()),
    )  # fmt: skip
    return measure_cell(Cell(None, 1.0, 0.0, 0.0), SampleSet(samples), bench)


def cells_of(row: Row) -> Sequence[str]:
    """Metrics of a line; diversity relative to as many real texts."""
    found = row.figures
    cells = [str(found["success"]) if "success" in found else "-"]
    spread = found.get("diversity")
    cells.append(f"{spread.value / spread.perfect:.2f}" if spread and spread.perfect else "-")
    return [*cells, *(f"{found[name].value:.2f}" if name in found else "-" for name in
                      ("typical", "pressure", "p95", "frontier"))]  # fmt: skip


def main() -> None:
    """Sweep every expression along every axis."""
    parser = argparse.ArgumentParser(description=__doc__)
    Options.add_to(parser)
    given = parser.parse_args()
    options = Options(given.n, given.pressure, given.seed)
    tasks = [(expression, part) for expression in EXPRESSIONS for part in PARTS]
    lines = [line for lines in shared_out(rows_of, tasks, options) for line in lines]
    body = (
        f"{options.n} samples a cell, at dose 1, radius 0 and temperature 1 unless stated otherwise. Success is by "
        "the oracle for all concepts at once, with its 95 % interval; diversity is the Vendi score (order 1) of "
        "the words of the successful texts, relative to as many real texts; typical is the share of texts in the "
        "central nine tenths of real texts (a perfect sampler has 0.9); pressure is in nats per token, mean and "
        "95th percentile; the frontier is the harmonic mean of success, typicality and diversity, each relative to "
        "real texts. Pressure is that of the shift alone, at temperature 1 along the sampled texts. `prompt only` "
        "continues the first third of a real text with the concepts; only the continuation is judged, except for "
        "its form.\n\n"
        + table(
            ["expression", "", "success", "diversity", "typical", "pressure", "p95", "frontier"],
            [(expression, name, *cells_of(row)) for expression, name, row in lines],
        )
    )
    write("radius", "What a radius buys", body, seed=given.seed)


if __name__ == "__main__":
    main()
