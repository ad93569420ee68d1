"""Ways to search around a point: geometries of the radius, temperature, truncation and noise.

`python benchmarks/geometry.py -n 600 --cells cells.jsonl` samples what that file lacks: it goes on where it stopped.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from harness import Options, embedded, shared_out
from report import machine, table, write
from scipy.stats import spearmanr
from searches import SEARCHES, Search

import steer
from steer.judges.almanac import Almanac, conditions_of_doses, unseen
from steer.judges.reference import matches
from steer.metrics.diversity.ngrams import words
from steer.metrics.diversity.vendi import vendi_of_kernel, word_cosines
from vectors.almanac.world import distribution
from vectors.decoding.decode import decode

EXPRESSIONS = (
    "waterfall", "cat", "sonnet", "gloomy",
    "sonnet + cat", "sea + calm", "letter + desert", "recipe + moon",
    "letter + sea + ghost", "diary + forest + child", "sonnet + quantum + cat", "riddle + kitchen + crow",
)  # fmt: skip
"""Single concepts, pairs and triples; no training entry has the last pair and the last two triples."""

TUPLE = ("form", "topic", "voice", "mood", "hour")
COUNTED = 300
"""Successful texts a cell for diversity, fidelity and coverage."""

LENGTH = 30
"""Number of words that texts are cut to before they are compared."""

KEPT = 0.9
Task = tuple[str, str, float]
Cell = dict[str, Any]


def cell_of(task: Task, options: Options) -> Cell:
    """Samples of one expression with one search at one setting, and their metrics."""
    expression, name, value = task
    model, search = embedded(), next(each for each in SEARCHES if each.name == name)
    point = steer.compose(expression, model)
    given, _ = conditions_of_doses(point.doses)
    made = list(
        decode(
            model,
            search.shifts(point, value, options.seed),
            prefix=model.start_ids(),
            settings=search.settings(point, value),
            seed=options.seed,
            indices=range(options.n),
        )
    )
    made.sort(key=lambda each: each.index)
    kl = np.concatenate([each.cost.kl for each in made])
    cell: Cell = {
        "expression": expression, "search": name, "value": value, "n": len(made), "seed": options.seed,
        "machine": machine(),
        "p95": float(np.percentile(kl, 95)), "mean": float(kl.mean()),
        "nll": float(-np.concatenate([each.cost.logprob_base for each in made]).mean()),
    }  # fmt: skip
    read = [(model.decode(each.tokens), each.finish) for each in made]
    world_of = Almanac()
    readings = [world_of.read(text) if finish == "eos" else {} for text, finish in read]
    hits = [place for place, reading in enumerate(readings) if reading and matches(reading, given)]
    cell["success"] = len(hits) / len(made)
    if len(hits) >= COUNTED:
        some = hits[:COUNTED]
        cell |= shown_by([readings[place] for place in some], given)
        cell["vendi"] = vendi_of_kernel(word_cosines([words(read[place][0])[:LENGTH] for place in some]))
    return cell


def shown_by(readings: Sequence[Any], given: dict[str, Any]) -> Cell:
    """Distinct attribute tuples, the part of the truth they cover, and the TV of the other attributes."""
    tuples = {tuple(reading[name] for name in TUPLE) for reading in readings}
    beyond = unseen(given)
    covered = sum(
        distribution.probability({name: value for name, value in zip(TUPLE, one, strict=True)}, given, beyond=beyond)
        for one in tuples
        if None not in one
    )
    free = [name for name in distribution.VALUES if name not in given]
    far = []
    for name in free:
        truth = distribution.marginal(name, given, beyond=beyond)
        shares = {value: sum(reading[name] == value for reading in readings) / len(readings) for value in truth}
        unread = 1 - sum(shares.values())
        far.append((sum(abs(shares[value] - truth[value]) for value in truth) + unread) / 2)
    return {"tuples": len(tuples), "coverage": covered, "tv": float(np.mean(far))}


def cells(options: Options, path: Path | None) -> list[Cell]:
    """All cells; those in the file are not sampled again."""
    tasks = [(one, each.name, value) for one in EXPRESSIONS for each in SEARCHES for value in each.values]
    found: dict[Task, Cell] = {}
    if path is not None and path.exists():
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        same = [cell for cell in lines if (cell["n"], cell["seed"]) == (options.n, options.seed)]
        found = {(cell["expression"], cell["search"], cell["value"]): cell for cell in same}
    left = [task for task in tasks if task not in found]
    for cell in shared_out(cell_of, left, options, quiet=True):
        found[cell["expression"], cell["search"], cell["value"]] = cell
        if path is not None:
            with path.open("a") as file:
                file.write(json.dumps(cell) + "\n")
    return [found[task] for task in tasks]


def lines_of(made: Sequence[Cell], search: Search) -> Iterator[list[Cell]]:
    """For each expression, the plain cell and the cells of the search in the order of its settings."""
    for expression in EXPRESSIONS:
        own = [cell for cell in made if cell["expression"] == expression]
        plain = next(cell for cell in own if cell["search"] == "resampling")
        yield [plain, *(cell for cell in own if cell["search"] == search.name and search.name != "resampling")]


def best(line: Sequence[Cell], *, equal: str) -> Cell:
    """The most diverse cell that keeps the success of the plain one, and optionally its pressure."""
    plain = line[0]
    allowed = [
        cell
        for cell in line
        if cell["success"] >= KEPT * plain["success"]
        and "vendi" in cell
        and (equal == "success" or cell["p95"] <= 1.1 * plain["p95"])
    ]
    return max(allowed, key=lambda cell: cell["vendi"], default=plain)


def summary(made: Sequence[Cell], search: Search, *, equal: str) -> list[object]:
    """One search: at its best setting for each expression, against sampling again at radius 0."""
    pairs = [(line[0], best(line, equal=equal)) for line in lines_of(made, search) if "vendi" in line[0]]
    gains = {
        name: [cell[name] / plain[name] for plain, cell in pairs] for name in ("vendi", "tuples", "coverage", "tv")
    }
    better = sum(cell["vendi"] > 1.02 * plain["vendi"] for plain, cell in pairs)
    values = [cell["value"] for plain, cell in pairs if cell is not plain]
    setting = f"{np.median(values):g} ({min(values):g} to {max(values):g})" if values else "-"
    figures = [
        f"{np.mean(found):.3f} ± {1.96 * np.std(found, ddof=1) / len(found) ** 0.5:.3f}" for found in gains.values()
    ]
    return [search.name, setting, *figures, f"{better} of {len(pairs)}"]


def ranks(made: Sequence[Cell], search: Search) -> list[object]:
    """Rank correlation of diversity, success and pressure with the setting, over the expressions."""
    row: list[object] = [search.name]
    for name in ("vendi", "tuples", "tv", "success", "p95"):
        found = []
        for line in lines_of(made, search):
            values = [0.0 if cell["search"] == "resampling" else cell["value"] for cell in line if name in cell]
            if len(values) > 2:
                found.append(float(spearmanr(values, [cell[name] for cell in line if name in cell]).statistic))
        row.append(f"{np.nanmean(found):+.2f}" if found else "-")
    return row


def curve(made: Sequence[Cell], search: Search) -> list[object]:
    """Success at each setting relative to radius 0, mean over the expressions."""
    lines = list(lines_of(made, search))
    row: list[object] = [search.name]
    for place in range(len(search.values)):
        success = np.mean([line[place + 1]["success"] / line[0]["success"] for line in lines])
        kept = [line[place + 1]["vendi"] / line[0]["vendi"] for line in lines if "vendi" in line[place + 1]]
        row.append(f"{success:.2f} / {np.mean(kept):.2f}" if len(kept) > len(lines) // 2 else f"{success:.2f} / -")
    return row


def main() -> None:
    """Sample missing cells, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    Options.add_to(parser)
    parser.add_argument("--cells", type=Path)
    given = parser.parse_args()
    options = Options(given.n, given.pressure, given.seed)
    made = cells(options, given.cells)
    tried = [search for search in SEARCHES if len(search.values) > 1]
    radii = [search for search in tried if search.values == SEARCHES[1].values]
    plain = [line[0] for line in lines_of(made, SEARCHES[0])]
    lost = [cell for cell in made if cell["search"] == "random direction of equal norm"]
    heads = ("search", "setting: median (range)", "Vendi", "tuples", "coverage", "TV", "more diverse by 2 %")
    body = (
        f"{len(EXPRESSIONS)} expressions ({'; '.join(EXPRESSIONS)}), {options.n} samples a cell, "
        f"{len(SEARCHES[1].values)} settings a search. The first {COUNTED} successful texts of each cell count (all "
        f"concepts, by the oracle): Vendi score (order 1) of their first {LENGTH} words; distinct tuples of "
        f"{', '.join(TUPLE)}; the part of the true conditional distribution that these tuples cover; and the total "
        "variation distance from the truth of the attributes that were not steered. Each is a ratio to sampling "
        "again at radius 0: the mean over the expressions with its 95 % interval. A search is shown at its most "
        f"diverse setting among those that keep {KEPT:g} of the success at radius 0.\n\n"
        + table(heads, [summary(made, search, equal="success") for search in tried])
        + "\n\nThe same, with p95 pressure also within 1.1 times that at radius 0:\n\n"
        + table(heads, [summary(made, search, equal="pressure") for search in tried])
        + "\n\nRank correlation of each metric with the setting (radius 0 included), mean over the expressions:\n\n"
        + table(
            ("search", "Vendi", "tuples", "TV", "success", "p95 pressure"),
            [ranks(made, search) for search in radii],
        )
        + "\n\nSuccess / Vendi score at each radius, relative to radius 0:\n\n"
        + table(("search", *(f"{value:g}" for value in radii[0].values)), [curve(made, search) for search in radii])
        + f"\n\nAt radius 0, success is {np.mean([cell['success'] for cell in plain]):.2f} and p95 pressure "
        f"{np.mean([cell['p95'] for cell in plain]):.2f}; random directions of equal norm reach a success of "
        f"{np.mean([cell['success'] for cell in lost]):.3f}."
    )
    machines = " and ".join(sorted({cell["machine"] for cell in made}))
    write("geometry", "Ways to search around a point", body, seed=given.seed, on=machines)


if __name__ == "__main__":
    main()
