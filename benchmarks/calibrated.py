"""Calibrated sampling: is its distance from the truth at the noise floor, and when is it efficient?

`python benchmarks/calibrated.py -n 4096`
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from harness import Options, embedded, shared_out
from report import table, write

import steer
from steer.judges.almanac import Almanac, conditions_of_doses
from steer.judges.judge import Judge, judges_of
from steer.metrics.fidelity import fidelity
from steer.runs.sample_set import SampleSet
from steer.sampling.importance_sampling import drawn_by_weight, importance_weights
from steer.statistics.estimate import MIN_COUNTED
from vectors.almanac.world import distribution
from vectors.common.errors import InputError

RUNS = (
    ("rainbow", 0.0), ("waterfall", 0.0), ("waterfall", 0.5), ("sonnet", 0.0), ("cat + gloomy", 0.0),
    ("sea + calm + letter", 0.0), ("sonnet + quantum + cat", 0.0), ("sonnet + quantum + cat", 0.5),
)  # fmt: skip
SIZES = (50, 100, 200, 400)
BASE = "(the base model)"
PARTS = (1 / 16, 1 / 4, 1)
_DRAWS = 8  # repeated draws of calibrated texts, because one is noisy
_COPIES = 4000  # texts repeated by weight approximate the weighted shares
Task = tuple[str, float]
Made = tuple[str, float, SampleSet, float]


def proposed(task: Task, options: Options) -> Made:
    """A run of proposals or of the base model, and its seconds on one core."""
    expression, radius = task
    point = None if expression == BASE else expression
    began = time.process_time()
    run = steer.sample(embedded(), point, n=options.n, radius=radius, seed=options.seed)
    return expression, radius, run, time.process_time() - began


def distance(samples: Sequence[steer.Sample], given: dict[str, object]) -> tuple[float, float]:
    """Mean total variation over the attributes that were not steered, and that of a perfect sampler."""
    found = [
        each.tv
        for each in fidelity(SampleSet(samples), given=given).attributes
        if each.attribute in distribution.VALUES
    ]
    return float(np.mean([tv.value for tv in found])), float(np.mean([tv.perfect or 0.0 for tv in found]))


def shown(pair: tuple[float, float]) -> str:
    """A distance, and its ratio to the noise floor."""
    return f"{pair[0]:.3f} ({pair[0] / pair[1]:.2f})"


def calibrated(run: SampleSet, weights: np.ndarray, given: dict[str, object], size: int) -> str:
    """The mean distance of sets of texts drawn by weight."""
    try:
        drawn = [drawn_by_weight(run, weights, size, seed=seed) for seed in range(_DRAWS)]
    except InputError:
        return "-"
    pairs = [distance(each, given) for each in drawn]
    return shown((float(np.mean([tv for tv, _ in pairs])), float(np.mean([floor for _, floor in pairs]))))


def parts_of(n: int) -> list[int]:
    """Numbers of proposals in the table of distances."""
    return [max(64, int(part * n)) for part in PARTS]


def weighed(run: SampleSet, judges: Sequence[Judge], given: dict[str, object], count: int) -> str:
    """The distance of the first proposals' shares by weight, and that of as many true texts as their ESS."""
    some = list(run)[:count]
    weights, found = importance_weights(some, judges)
    if found.ess < MIN_COUNTED:
        return f"-, {found.ess:.0f}"
    taken = np.searchsorted(np.cumsum(weights), (np.arange(_COPIES) + 0.5) / _COPIES).clip(max=len(some) - 1)
    shares = distance([replace(some[place], index=index) for index, place in enumerate(taken)], given)[0]
    accepted = [sample for sample, weight in zip(some, weights, strict=True) if weight > 0]
    return f"{shown((shares, distance(accepted[: int(found.ess)], given)[1]))}, {found.ess:.0f}"


def row_of(made: Made, base: SampleSet, base_seconds: float) -> Sequence[object]:
    """One expression: the worth of its weights, their cost, and the distance from the truth."""
    expression, radius, run, seconds = made
    given = conditions_of_doses(run[0].doses)[0]
    judges = judges_of(Almanac(), given)
    weights, found = importance_weights(run, judges)
    hits = [each for each in base if each.finish == "eos" and all(judge.accepts(each.text) for judge in judges)]
    own = shown(distance(hits, given)) + f", {len(hits)}" if len(hits) >= SIZES[0] else f"-, {len(hits)}"
    rejection = max(len(hits) / len(base), distribution.probability(given, beyond=True)) * len(base) / base_seconds
    return (
        expression, radius, f"{distribution.probability(given, beyond=True):.4f}", f"{found.share:.4f}",
        f"{found.accepted / found.proposals:.2f}", f"{found.ess:.0f}", f"{found.worth:.0f}",
        f"{found.ess / seconds / rejection:.1f}", f"{found.worth / seconds / rejection:.1f}", own,
        *(f"{shown(distance(run[:size], given))} / {calibrated(run, weights, given, size)}" for size in SIZES),
    )  # fmt: skip


def growth_of(made: Made) -> Sequence[object]:
    """One expression: distance by the number of proposals, steered and weighted."""
    expression, radius, run, _ = made
    given = conditions_of_doses(run[0].doses)[0]
    judges = judges_of(Almanac(), given)
    counts = parts_of(len(run))
    steered_texts = (shown(distance(run[:count], given)) for count in counts)
    return expression, radius, *steered_texts, *(weighed(run, judges, given, count) for count in counts)


def main() -> None:
    """Sample proposals, weight them, and compare with rejection sampling from the base model."""
    parser = argparse.ArgumentParser(description=__doc__)
    Options.add_to(parser)
    given = parser.parse_args()
    options = Options(given.n, given.pressure, given.seed)
    (_, _, base, base_seconds), *runs = list(shared_out(proposed, [(BASE, 0.0), *RUNS], options, quiet=True))
    heads = (
        "expression", "radius", "true share", "share by weight", "accepted", "ESS", "worth", "pays (ESS)",
        "pays (worth)", "base model, its texts", *(f"{size} texts" for size in SIZES),
    )  # fmt: skip
    body = (
        f"{options.n} proposals for each expression. `true share` is how often texts of the world have all "
        "requested concepts; `share by weight` is the mean weight of a proposal: the share in the base model "
        "itself, if the proposals cover it. ESS is Kish's effective sample size of the weights (base over steered "
        "likelihood, times the oracle's acceptance); `worth` is how many different texts can be drawn by weight. "
        "`pays` is this number per second of a core, divided by that of rejection sampling from the base model: "
        "above 1, calibrated sampling is better. The other columns are the mean total variation distance over the "
        "multi-valued attributes that were not steered; in brackets, the ratio to a perfect sampler with as many "
        f"texts: for the base model's own accepted texts among {options.n} (with their number), then for that many "
        f"steered / calibrated texts (mean over {_DRAWS} draws).\n\n"
        + table(heads, [row_of(each, base, base_seconds) for each in runs])
    )
    counts = parts_of(options.n)
    heads = (
        "expression",
        "radius",
        *(f"{count} steered" for count in counts),
        *(f"{count} weighed" for count in counts),
    )
    body += (
        "\n\nThe same distance for growing numbers of proposals: of all steered texts, and of the shares by weight; "
        "in brackets the ratio to a perfect sampler with as many texts as the ESS, and the ESS.\n\n"
        + table(heads, [growth_of(each) for each in runs])
    )
    write("calibrated", "Calibrated sampling", body, seed=given.seed)


if __name__ == "__main__":
    main()
