"""Compare two runs: every figure of both, their difference, and a permutation p-value."""

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
"""Number of permutations of a p-value; fewer for statistics that compare all pairs of texts."""


@dataclass(frozen=True)
class Comparison:
    """One figure of two runs.

    Attributes:
        first, second: the figure of each run.
        difference: the second minus the first.
        p: two-sided permutation p-value: how often two runs of the same sampler differ at least as much.
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
    """Compare all figures of two runs, by section, with permutation p-values.

    Both runs are measured against one evaluation set, by default that of the first. All texts are cut to one length.
    Diversity uses the same number of texts of each run, because its figures grow with the number of texts.

    Runs of one seed share their random numbers; if that makes their texts similar, the p-values are too large. Runs
    with different prompts or length limits are compared without typicality.

    Source of the p-values: Phipson and Smyth, "Permutation p-values should never be zero" (2010).

    Args:
        first: a run.
        second: another run of the same model.
        evaluation_set: judges, real texts and true shares for both.
        model: the model of both; without it, figures that need one are left out.
        seed: of the permutations and intervals.

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
    inputs = [report_inputs(run, evaluation_set=evaluation_set, model=model, point=None, seed=seed) for run in runs]
    if _format(first) != _format(second):  # real texts are cut and prompted as those of one run only
        inputs = [replace(run_inputs, real_costs=None) for run_inputs in inputs]
    pooled, run_of_text = _pooled_statistics(runs, inputs, model, seed)
    random = np.random.default_rng(seed)
    comparisons: dict[str, tuple[Comparison, ...]] = {}
    for section, statistics in pooled.items():
        rows = [_compare_statistic(statistic, run_of_text, section, random, seed) for statistic in statistics]
        if known := tuple(row for row in rows if row is not None):
            comparisons[section] = known
    return comparisons


def _pooled_statistics(
    runs: tuple[SampleSet, SampleSet], inputs: Sequence[ReportInputs], model: ResidualModel | None, seed: int
) -> tuple[dict[str, list[RunStatistic]], np.ndarray]:
    """Return the statistics of the texts of both runs together, and for each text the number of its run, 0 or 1.

    The texts of the two runs alternate, so that a statistic of the first thousand uses as many texts of each.
    """
    order = sorted((index, run) for run in (0, 1) for index in range(len(runs[run])))
    costs = [run_inputs.costs for run_inputs in inputs if run_inputs.costs is not None]
    statistics = run_statistics(
        [runs[run][index] for index, run in order],
        inputs[0].evaluation_set,
        replayed=[costs[run][index] for index, run in order] if len(costs) == 2 else None,
        real_costs=inputs[0].real_costs,
        embedders={"activations": activations(model)} if model else None,
        seed=seed,
    )
    return statistics, np.array([run for _, run in order])


def _compare_statistic(
    pooled: RunStatistic,
    run_of_text: np.ndarray,
    section: str,
    random: np.random.Generator,
    seed: int,
    *,
    shuffles: int | None = None,
) -> Comparison | None:
    """Return a statistic of each run with their difference and its p-value, or None for fewer than two texts."""
    statistic, run = pooled.statistic, run_of_text[pooled.indices]
    sides = [np.flatnonzero(run == number) for number in (0, 1)]
    if "diversity" in section or section == "frontier":
        fewest = min(map(len, sides))
        sides = [side[:fewest] for side in sides]
    if min(map(len, sides)) < 2:
        return None
    first, second = (_restricted(statistic, side).estimate(seed=seed) for side in sides)
    change = difference(second, first)
    both = np.concatenate(sides)
    quick = statistic.groups == GROUPS and len(both) <= 256
    shuffles = shuffles or (SHUFFLES if quick else SLOW_SHUFFLES)
    as_large = 0
    for _ in range(shuffles):
        shuffled = random.permutation(both)
        parts = (np.sort(shuffled[: len(sides[0])]), np.sort(shuffled[len(sides[0]) :]))
        as_large += abs(statistic.compute(parts[1]) - statistic.compute(parts[0])) >= abs(change.value) - 1e-12
    return Comparison(
        first,
        second,
        Estimate(name=f"difference in {statistic.name}", n=len(both), **change._asdict()),
        (as_large + 1) / (shuffles + 1),
    )


def _restricted(statistic: Statistic, indices: np.ndarray) -> Statistic:
    """Return the statistic of these texts alone."""
    # both runs share the real texts, whose uncertainty nearly cancels in the difference
    return replace(
        statistic,
        compute=lambda subset: statistic.compute(indices[subset]),
        n=len(indices),
        perfect=None,
        empty=None,
        reference_texts=None,
    )


def check_comparable(first: SampleSet, second: SampleSet) -> None:
    """Raise an error for runs that cannot be compared.

    Raises:
        InputError: no samples, samples of one run in both, or runs of different models.
    """
    if not len(first) or not len(second):
        raise InputError("there are no samples to compare: give two runs")
    if {sample.to_json() for sample in first} & {sample.to_json() for sample in second}:
        raise InputError("both hold samples of the same run: give two different runs")
    if first[0].model != second[0].model:
        raise InputError(f"the runs are of {first[0].model} and {second[0].model}: compare runs of one model")


def _format(run: SampleSet) -> tuple[object, ...]:
    return run[0].prompt, run[0].settings.get("max_tokens")
