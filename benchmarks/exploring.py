"""Does recentring on picked samples find a wanted text sooner than sampling on? A simulated user.

`python benchmarks/exploring.py -n 24`: so many things in mind for each expression.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from harness import MAX_TOKENS, Options, embedded, shared_out
from report import table, write

import steer
from steer.runs.sample_file import SampleFile
from steer.sampling.exploration import Exploration, shared_fields
from steer.sampling.run_plan import SamplingOptions, make_plan
from vectors.almanac.world import oracle
from vectors.almanac.world.author import stream

EXPRESSIONS = ("sonnet + cat", "letter + gloomy", "diary + sea")
HIDDEN = {
    "sonnet + cat": ("topic", "mood", "hour"),
    "letter + gloomy": ("topic", "voice", "hour"),
    "diary + sea": ("voice", "mood", "hour"),
}
"""Attributes that the user wants besides the expression; the values are those of entries of the world."""

SCREEN = 8
MOST = 240
"""Samples after which the user gives up."""

PATIENCE = 3
"""Screens without a better sample after which the user goes back."""

RADII = (0.5, 1.0, 2.0)

Wanted = dict[str, object]


@dataclass(frozen=True)
class Task:
    """A wanted text, and the way to look for it."""

    expression: str
    wanted: tuple[tuple[str, object], ...]
    way: str
    radius: float
    number: int


def in_mind(expression: str, n: int, seed: int) -> list[tuple[tuple[str, object], ...]]:
    """The wanted attributes of `n` users: those of entries that have the concepts of the expression."""
    from vectors.almanac.concepts import CONCEPTS

    asked = [CONCEPTS[name] for name in expression.split(" + ")]
    found = []
    for made in stream((1 << 42) + seed):
        if all(getattr(made.attributes, key) == value for key, value in asked):
            hidden = tuple((name, getattr(made.attributes, name)) for name in HIDDEN[expression])
            if None not in dict(hidden).values():
                found.append(hidden)
        if len(found) == n:
            return found
    raise AssertionError("the stream never ends")


def score(text: str, wanted: Sequence[tuple[str, object]]) -> int:
    """How many of the wanted attributes a text has."""
    found = oracle.read(text)
    return sum(getattr(found, name) == value for name, value in wanted)


def looked_for(task: Task, options: Options) -> int | None:
    """How many samples it took to find a text with all of them; None if the user gave up."""
    seed = options.seed + 1000 * task.number
    if task.way in ("best of n", "random restarts"):
        return _resampled(task, seed)
    rng = np.random.default_rng(seed)
    with TemporaryDirectory() as folder:
        model = embedded()
        plan = make_plan(model, task.expression, SamplingOptions(max_tokens=MAX_TOKENS, radius=task.radius, seed=seed))
        with SampleFile(Path(folder) / "tree.jsonl", "new", shared_fields(plan, model)) as file:
            exploration = Exploration(model, plan, file, n=SCREEN)
            scores: dict[int, int] = {}
            best: dict[int, int] = {0: -1}  # the score of the picks at each node
            waited = 0
            while len(exploration.samples) < MOST:
                here = {sample.index: score(sample.text, task.wanted) for sample in exploration.sample_screen()}
                scores |= here
                if max(here.values()) == len(task.wanted):
                    return min(index for index, value in here.items() if value == len(task.wanted)) + 1
                top = max(here.values())
                if top > best[exploration.current.number]:
                    picks = [index for index, value in here.items() if value == top]
                    if task.way == "random picks":
                        picks = [int(one) for one in rng.choice(list(here), size=len(picks), replace=False)]
                    exploration.pick(picks)
                    best[exploration.current.number], waited = top, 0
                elif (waited := waited + 1) == PATIENCE:
                    exploration.go_back()
                    waited = 0
    return None


def _resampled(task: Task, seed: int) -> int | None:
    radius = 0.0 if task.way == "best of n" else task.radius
    made = steer.sample(embedded(), task.expression, n=MOST, radius=radius, seed=seed, max_tokens=MAX_TOKENS)
    hits = (sample.index + 1 for sample in made if score(sample.text, task.wanted) == len(task.wanted))
    return next(hits, None)


def row_of(tasks: Sequence[Task], found: Sequence[int | None], keep: Callable[[Task], bool]) -> list[object]:
    """How often and how soon one way finds the wanted text."""
    kept = [count for task, count in zip(tasks, found, strict=True) if keep(task)]
    hits = sorted(MOST + 1 if count is None else count for count in kept)
    median = hits[len(hits) // 2]
    shares = [f"{np.mean([count <= limit for count in hits]):.2f}" for limit in (40, 80, 160, MOST)]
    # the mean number of samples looked at, including users who gave up
    spent = np.minimum(hits, MOST)
    error = 1.96 * np.std(spent, ddof=1) / len(spent) ** 0.5
    rounds = f"{-(-median // SCREEN)}" if median <= MOST else "-"
    return [*shares, f"{median if median <= MOST else f'over {MOST}'}", rounds, f"{np.mean(spent):.0f} ± {error:.0f}"]


def main() -> None:
    """Let simulated users look for the wanted texts in every way."""
    parser = argparse.ArgumentParser(description=__doc__)
    Options.add_to(parser)
    given = parser.parse_args()
    options = Options(given.n, given.pressure, given.seed)
    ways = [
        ("best of n", 0.0),
        *(("random restarts", radius) for radius in RADII),
        *(("picks", radius) for radius in RADII),
        ("random picks", RADII[1]),
    ]
    tasks = [
        Task(expression, wanted, way, radius, number)
        for expression in EXPRESSIONS
        for number, wanted in enumerate(in_mind(expression, given.n, given.seed))
        for way, radius in ways
    ]
    found = list(shared_out(looked_for, tasks, options, quiet=True))
    rows = [
        [
            way,
            f"{radius:g}",
            *row_of(tasks, found, lambda task, way=way, radius=radius: (task.way, task.radius) == (way, radius)),
        ]
        for way, radius in ways
    ]
    body = (
        f"{given.n} simulated users for each of {', '.join(EXPRESSIONS)} want three more attributes, taken from an "
        f"entry of the world with the requested concepts. They look at screens of {SCREEN} texts, at most {MOST} "
        "texts. `picks`: they recentre on the texts of a screen with most of the wanted attributes, if these have "
        f"more than the current centre, at 0.7 of the radius, and go back after {PATIENCE} screens without a better "
        "one. `random picks`: the same with random texts. `random restarts`: every sample has a fresh direction at "
        "that radius. `best of n`: no radius. The columns are the share of users who find the text within so many "
        "samples, the median, and the mean number of samples looked at, with its 95 % interval.\n\n"
        + table(("way", "radius", "within 40", "80", "160", str(MOST), "median", "screens", "mean looked at"), rows)
    )
    write("exploring", "Standing on samples", body, seed=given.seed)


if __name__ == "__main__":
    main()
