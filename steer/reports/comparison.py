"""Two runs side by side: every figure of both, their difference, and how often chance alone makes one as large."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from steer.judges.almanac import default_evaluation_set
from steer.judges.evaluation_set import EvaluationSet
from steer.metrics.diversity.diversity import activations
from steer.reports.report import ReportInputs, report_inputs
from steer.reports.run_metrics import RunStatistic, run_statistics
from steer.runs.sample_set import SampleSet
from steer.statistics.estimate import Estimate
from steer.statistics.intervals import GROUPS, difference
from steer.statistics.statistic import Statistic
from vectors.common.errors import InputError
from vectors.model.residual_model import ResidualModel

SHUFFLES, SLOW_SHUFFLES = 999, 99
"""Permutations behind a p-value; fewer for statistics that compare every text with every other."""


@dataclass(frozen=True)
class Comparison:
    """One figure of two runs.

    Attributes:
        first, second: the figure of each.
        difference: the second less the first.
        p: chance that runs of one and the same sampler, with as many texts, differ as much either way.
    """

    first: Estimate
    second: Estimate
    difference: Estimate
    p: float


def compare(
    first: SampleSet,
    second: SampleSet,
    *,
    evaluation_set: EvaluationSet | None = None,
    model: ResidualModel | None = None,
    seed: int = 0,
) -> dict[str, tuple[Comparison, ...]]:
    """Return the figures of two runs side by side, by section, with permutation p-values.

    Both are measured against one evaluation set: by default that of the first. Texts are cut to one length, and
    diversity compares as many texts of either run, since its figures change with the number of texts.

    Runs of one seed share their random numbers: where that makes their texts alike, p-values are too cautious.
    Runs with other prompts or longest lengths are compared without typicality.

    Source of the p-values: Phipson and Smyth, "Permutation p-values should never be zero" (2010).

    Args:
        first: a run.
        second: another of the same model.
        evaluation_set: what both are measured against.
        model: the model of both; without it, figures that need one are left out.
        seed: of the permutations.

    Raises:
        InputError: fewer than two samples in a run, samples of one run in both, or runs of different models.
        ModelError: another model than that of a run.
    """
    check_comparable(first, second)
    runs = (first, second)
    if evaluation_set is None:
        evaluation_set = default_evaluation_set(
            first[0].model, first[0].doses, prompt=first[0].prompt, n=len(first) + len(second), seed=seed
        )
    known = [report_inputs(run, evaluation_set=evaluation_set, model=model, point=None, seed=seed) for run in runs]
    if any(_shape(first) != _shape(run) for run in runs):  # real texts can be read as those of one run only
        known = [replace(each, real_costs=None) for each in known]
    pooled, label = _pooled(runs, known, model, seed)
    random = np.random.default_rng(seed)
    found: dict[str, tuple[Comparison, ...]] = {}
    for section, placed in pooled.items():
        rows = [_compare_statistic(each, label, section, random, seed) for each in placed]
        if kept := tuple(row for row in rows if row is not None):
            found[section] = kept
    return found


def _pooled(
    runs: tuple[SampleSet, SampleSet], known: Sequence[ReportInputs], model: ResidualModel | None, seed: int
) -> tuple[dict[str, list[RunStatistic]], np.ndarray]:
    """Statistics of the texts of both runs together, to be asked of each run's own; and the run of each text.

    The texts of the runs take turns, so that what looks at the first texts only looks at as many of either.
    """
    order = sorted((place, run) for run in (0, 1) for place in range(len(runs[run])))
    each = [found.costs for found in known if found.costs is not None]
    measured = run_statistics(
        [runs[run][place] for place, run in order],
        known[0].evaluation_set,
        replayed=[each[run][place] for place, run in order] if len(each) == 2 else None,
        real_costs=known[0].real_costs,
        embedders={"activations": activations(model)} if model else None,
        seed=seed,
    )
    return measured, np.array([run for _, run in order])


def _compare_statistic(
    placed: RunStatistic,
    label: np.ndarray,
    section: str,
    random: np.random.Generator,
    seed: int,
    *,
    shuffles: int | None = None,
) -> Comparison | None:
    statistic, of_run = placed.statistic, label[placed.places]
    sides = [np.flatnonzero(of_run == run) for run in (0, 1)]
    if "diversity" in section or section == "frontier":
        fewest = min(map(len, sides))
        sides = [side[:fewest] for side in sides]
    if min(map(len, sides)) < 2:
        return None
    one, other = (_on(statistic, side).estimate(seed=seed) for side in sides)
    change = difference(other, one)
    both = np.concatenate(sides)
    quick = statistic.groups == GROUPS and len(both) <= 256
    shuffles = shuffles or (SHUFFLES if quick else SLOW_SHUFFLES)
    as_large = 0
    for _ in range(shuffles):
        mixed = random.permutation(both)
        parts = (np.sort(mixed[: len(sides[0])]), np.sort(mixed[len(sides[0]) :]))
        as_large += abs(statistic.compute(parts[1]) - statistic.compute(parts[0])) >= abs(change.value) - 1e-12
    return Comparison(
        one,
        other,
        Estimate(name=f"difference in {statistic.name}", n=len(both), **change._asdict()),
        (as_large + 1) / (shuffles + 1),
    )


def _on(statistic: Statistic, places: np.ndarray) -> Statistic:
    """The statistic as if there were no other texts."""
    # real texts are the same for both runs: what hangs on them hardly shows in the difference
    return replace(
        statistic,
        compute=lambda subset: statistic.compute(places[subset]),
        n=len(places),
        perfect=None,
        empty=None,
        reference_texts=None,
    )


def check_comparable(first: SampleSet, second: SampleSet) -> None:
    """Refuse runs that nothing can be said about together.

    Raises:
        InputError: the same texts twice, or runs of different models.
    """
    if not len(first) or not len(second):
        raise InputError("there are no samples to compare: give two runs")
    if {sample.to_json() for sample in first} & {sample.to_json() for sample in second}:
        raise InputError("both hold samples of one and the same run: give two different ones")
    if first[0].model != second[0].model:
        raise InputError(f"the runs are of {first[0].model} and {second[0].model}: compare runs of one model")


def _shape(run: SampleSet) -> tuple[object, ...]:
    return run[0].prompt, run[0].settings.get("max_tokens")
