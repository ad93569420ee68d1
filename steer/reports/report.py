"""The report of a run: every figure that can be had of it, by section, and why others are missing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from steer.composition.steering_point import SteeringPoint
from steer.judges.almanac import default_evaluation_set
from steer.judges.classifier import ClassifierJudge
from steer.judges.evaluation_set import PROBED, EvaluationSet
from steer.metrics.branching import branching
from steer.metrics.breakdown import Breakdown, breakdown
from steer.metrics.diversity.diversity import Embedder, activations
from steer.metrics.fidelity import Fidelity, fidelity
from steer.metrics.probe import Probe, overoptimisation
from steer.metrics.typicality import MIN_REAL_TEXTS, RealCosts, real_costs
from steer.reports.run_metrics import run_statistics
from steer.runs.sample_set import SampleSet
from steer.sampling.replay import point_of, priced, replayed
from steer.statistics.estimate import Estimate
from vectors.common.errors import InputError
from vectors.common.progress import ProgressOption, count_progress, progress_callback, with_progress_bars
from vectors.common.validation import check_integer
from vectors.decoding.token_costs import Cost
from vectors.model.residual_model import ResidualModel


@dataclass(frozen=True)
class Report:
    """The figures of one run.

    Attributes:
        n: texts in it.
        sections: figures by section.
        fidelity: how true what was not steered stayed; `None` without a world to compare with.
        breakdown: where texts broke down; `None` without the model or real texts.
        branching: the branching factor at each position; empty without the model.
        notes: why figures are missing, and what else a reader must know.
        evaluation_set: what the run was measured against.
        costs: what its texts cost token by token, in their order; `None` without the model.
    """

    n: int
    sections: Mapping[str, tuple[Estimate, ...]]
    fidelity: Fidelity | None = None
    breakdown: Breakdown | None = None
    branching: tuple[Estimate, ...] = ()
    notes: tuple[str, ...] = ()
    evaluation_set: EvaluationSet = field(default_factory=EvaluationSet, repr=False, compare=False)
    costs: tuple[Cost, ...] | None = field(default=None, repr=False, compare=False)

    @property
    def figures(self) -> tuple[Estimate, ...]:
        """All of them, in the order of the sections."""
        return tuple(figure for figures in self.sections.values() for figure in figures)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "n": self.n,
            "sections": {name: [figure.to_dict() for figure in each] for name, each in self.sections.items()},
            "fidelity": None if self.fidelity is None else self.fidelity.to_dict(),
            "breakdown": None if self.breakdown is None else self.breakdown.to_dict(),
            "branching": [figure.to_dict() for figure in self.branching],
            "notes": list(self.notes),
        }


@dataclass(frozen=True)
class ReportInputs:
    """What a run is measured with, found once for all its figures."""

    evaluation_set: EvaluationSet
    costs: list[Cost] | None
    real_costs: RealCosts | None
    notes: tuple[str, ...]


@with_progress_bars
def report(
    samples: SampleSet,
    *,
    evaluation_set: EvaluationSet | None = None,
    model: ResidualModel | None = None,
    point: SteeringPoint | None = None,
    embedders: Mapping[str, Embedder] | None = None,
    seed: int = 0,
    progress: ProgressOption = None,
) -> Report:
    """Return every figure that can be had of a run.

    Args:
        samples: a run.
        evaluation_set: what it is measured against; of a run of the embedded model, by default the Almanac.
        model: the model of the run: with it, texts are compared by its activations, typicality is known, and pressure
            token by token.
        point: what was switched on, where the run's own vectors are not in the model's library.
        embedders: ways besides words and activations to compare texts, such as `sentence_transformer`.
        seed: of intervals and real texts.
        progress: called as the work goes on, or `True` for bars.

    Raises:
        InputError: fewer than two samples.
        ModelError: another model than that of the run, or vectors that have changed since.
    """
    tell = progress_callback(progress)
    known = report_inputs(samples, evaluation_set=evaluation_set, model=model, point=point, seed=seed, progress=tell)
    tell("measuring", 0, 0)
    centre = None if model is None else point_of(model, samples, point=point)
    samples = samples if known.costs is None else priced(samples, known.costs)
    made = run_statistics(
        samples,
        known.evaluation_set,
        replayed=known.costs,
        real_costs=known.real_costs,
        embedders=({"activations": activations(model)} if model else {}) | dict(embedders or {}),
        seed=seed,
    )
    sections = {name: tuple(each.statistic.estimate(seed=seed) for each in placed) for name, placed in made.items()}
    notes, faithful, broken = list(known.notes), None, None
    if accuracies := [judge.accuracy for judge in known.evaluation_set.judges if isinstance(judge, ClassifierJudge)]:
        sections["success"] = (*sections["success"], *accuracies)
    if model is not None and centre is not None and known.evaluation_set.judges:
        try:
            figure = _overoptimised(samples, known.evaluation_set, model, centre)
            sections["success"] = (*sections["success"], figure)
        except InputError as error:
            notes.append(f"no over-optimisation: {error}")
    if known.evaluation_set.reference is not None:
        try:
            faithful = fidelity(
                samples,
                known.evaluation_set.reference,
                given=known.evaluation_set.given,
                steered_too=known.evaluation_set.touched,
                seed=seed,
            )
        except InputError as error:
            notes.append(f"no fidelity: {error}")
    if known.costs is not None and known.real_costs is not None:
        broken = breakdown(samples, known.costs, known.real_costs)
        more = (broken.share, *([broken.per_nat] if broken.per_nat else []))
        sections["pressure"] = (*sections["pressure"], *more)
    curve = () if known.costs is None else branching(samples, known.costs)[1]
    costs = None if known.costs is None else tuple(known.costs)
    return Report(len(samples), sections, faithful, broken, curve, tuple(notes), known.evaluation_set, costs)


def notes_by_run(names: Sequence[str], reports: Sequence[Report]) -> list[str]:
    """Return what there is to say of several runs: once what holds for all of them, by name what holds for some."""
    found: dict[str, list[str]] = {}
    for name, each in zip(names, reports, strict=True):
        for text in dict.fromkeys(each.notes):
            found.setdefault(text, []).append(name)
    return [text if len(which) == len(names) else f"{', '.join(which)}: {text}" for text, which in found.items()]


def _overoptimised(
    samples: SampleSet, evaluation_set: EvaluationSet, model: ResidualModel, point: SteeringPoint
) -> Estimate:
    """The probe's threshold from some real texts, what it does on real ones from others, best such as it never saw."""
    unseen = [text for judge in evaluation_set.judges if isinstance(judge, ClassifierJudge) for text in judge.positive]
    fresh = (unseen or list(evaluation_set.real))[-min(PROBED, len(evaluation_set.real) // 4) :]
    known = [text for text in evaluation_set.real if text not in set(fresh)]
    probe = Probe(model, point, known[:PROBED], evaluation_set.background[:PROBED])
    return overoptimisation(samples, evaluation_set.judges, probe, real=fresh)


def report_inputs(
    samples: SampleSet,
    *,
    evaluation_set: EvaluationSet | None,
    model: ResidualModel | None,
    point: SteeringPoint | None,
    seed: int,
    progress: ProgressOption = None,
) -> ReportInputs:
    """Return what a run is measured with."""
    if len(samples) < 2:
        raise InputError(f"there are {len(samples)} samples: figures need at least two")
    samples.check_one_run()
    first, notes = samples[0], list(evaluation_set.notes if evaluation_set else ())
    if evaluation_set is None:
        evaluation_set = default_evaluation_set(
            first.model, first.doses, prompt=first.prompt, n=len(samples), seed=seed
        )
    if not evaluation_set.judges:
        asked = any(dose > 0 for dose in first.doses.values())
        unjudged = "nobody judges it, give texts that have what was asked for and texts that need not"
        notes.append(f"no success: {unjudged if asked else 'nothing was asked for'}")
    if evaluation_set.reference is None:
        notes.append("no fidelity: no world to compare with is known")
    if model is None and any(sample.pressure is None for sample in samples):
        notes.append("no pressure: the run was sampled without costs, they need the model")
    if model is None:
        notes.append("no typicality, breakdown or branching factor: they need the model")
        return ReportInputs(evaluation_set, None, None, tuple(notes))
    costs = replayed(
        model, samples, point=point, progress=count_progress(progress_callback(progress), "reading texts", len(samples))
    )
    real = None
    if len(evaluation_set.real) < MIN_REAL_TEXTS:
        notes.append(f"no typicality: it needs {MIN_REAL_TEXTS} real texts")
    elif first.prompt:
        notes.append("no typicality: texts after a prompt are no whole texts")
    else:
        longest = check_integer(first.settings.get("max_tokens", 128), "max_tokens of the run", low=1)
        more = count_progress(progress_callback(progress), "reading real texts", len(evaluation_set.real))
        real = real_costs(model, evaluation_set.real, max_tokens=longest, progress=more)
    return ReportInputs(evaluation_set, costs, real, tuple(notes))
