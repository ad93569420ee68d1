"""The report of a run: all figures that can be computed, by section, and why others are missing."""

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
from steer.reports.run_metrics import first_statistics, run_statistics
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
        fidelity: how close the attributes that were not steered stayed to the truth; `None` without a reference.
        breakdown: which texts broke down; `None` without the model or real texts.
        branching: the branching factor at each position; empty without the model.
        notes: why figures are missing, and what else a reader should know.
        evaluation_set: the judges, real texts and true shares that the run was measured against.
        costs: log-probabilities and KL of each text, token by token; `None` without the model.
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
        """All figures, in the order of the sections."""
        return tuple(figure for figures in self.sections.values() for figure in figures)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "n": self.n,
            "sections": {name: [figure.to_dict() for figure in figures] for name, figures in self.sections.items()},
            "fidelity": None if self.fidelity is None else self.fidelity.to_dict(),
            "breakdown": None if self.breakdown is None else self.breakdown.to_dict(),
            "branching": [figure.to_dict() for figure in self.branching],
            "notes": list(self.notes),
        }


@dataclass(frozen=True)
class ReportInputs:
    """Judges, real texts and token costs that a run's figures are computed from.

    Attributes:
        evaluation_set: judges, real texts and true shares.
        costs: log-probabilities and KL of the run's texts; `None` without the model.
        real_costs: negative log-likelihoods of real texts; `None` without the model or enough real texts.
        notes: why something is missing.
    """

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
    """Compute all figures of a run that the given judges, texts and model allow.

    Args:
        samples: a run.
        evaluation_set: judges, real texts and true shares; for a run of the embedded model, the Almanac by default.
        model: the model of the run; it brings typicality, breakdown, pressure by token and diversity by activations.
        point: the steering point, if the run's vectors are not in the model's library.
        embedders: further ways to compare texts, such as `sentence_transformer`.
        seed: of the intervals and of the choice of real texts.
        progress: called with the stage and how far it is, or `True` for progress bars.

    Raises:
        InputError: fewer than two samples.
        ModelError: another model than that of the run, or vectors that have changed since.
    """
    report_stage = progress_callback(progress)
    inputs = report_inputs(
        samples, evaluation_set=evaluation_set, model=model, point=point, seed=seed, progress=report_stage
    )
    evaluation = inputs.evaluation_set
    steering_point = None if model is None else point_of(model, samples, point=point)
    samples = samples if inputs.costs is None else priced(samples, inputs.costs)
    report_stage("comparing the texts with one another and with real texts", 0, 0)
    statistics = run_statistics(
        samples,
        evaluation,
        replayed=inputs.costs,
        real_costs=inputs.real_costs,
        embedders=({"activations": activations(model)} if model else {}) | dict(embedders or {}),
        seed=seed,
    )
    sections = {
        section: tuple(member.statistic.estimate(seed=seed) for member in members)
        for section, members in statistics.items()
    }
    notes, breakdowns = list(inputs.notes), None
    if accuracies := [judge.accuracy for judge in evaluation.judges if isinstance(judge, ClassifierJudge)]:
        sections["success"] = (*sections["success"], *accuracies)
    if model is not None and steering_point is not None and evaluation.judges:
        report_stage("comparing the steering direction, used as a probe, with the judge", 0, 0)
        try:
            sections["success"] = (
                *sections["success"],
                _direction_minus_judge(samples, evaluation, model, steering_point, inputs.real_costs),
            )
        except InputError as error:
            notes.append(f"no over-optimisation: {error}")
    report_stage("comparing attributes that were not steered with the truth", 0, 0)
    unsteered = _fidelity(samples, evaluation, notes, seed)
    if inputs.costs is not None and inputs.real_costs is not None:
        breakdowns = breakdown(samples, inputs.costs, inputs.real_costs)
        per_nat = [breakdowns.per_nat] if breakdowns.per_nat else []
        sections["pressure"] = (*sections["pressure"], breakdowns.share, *per_nat)
    return Report(
        n=len(samples),
        sections=sections,
        fidelity=unsteered,
        breakdown=breakdowns,
        branching=() if inputs.costs is None else branching(samples, inputs.costs)[1],
        notes=tuple(notes),
        evaluation_set=evaluation,
        costs=None if inputs.costs is None else tuple(inputs.costs),
    )


def first_figures(samples: SampleSet, *, evaluation_set: EvaluationSet | None = None, seed: int = 0) -> Report:
    """Compute the figures of the summary alone: success, diversity over words, pressure, fidelity.

    They need no model and take seconds, and are the same as those of `report`.

    Args:
        samples: a run.
        evaluation_set: as in `report`.
        seed: of the intervals and of the choice of real texts.

    Raises:
        InputError: fewer than two samples.
    """
    inputs = report_inputs(samples, evaluation_set=evaluation_set, model=None, point=None, seed=seed)
    evaluation, notes = inputs.evaluation_set, list(inputs.notes)
    statistics = first_statistics(samples, evaluation, seed=seed)
    sections = {section: (statistic.estimate(seed=seed),) for section, statistic in statistics.items()}
    unsteered = _fidelity(samples, evaluation, notes, seed)
    return Report(len(samples), sections, unsteered, notes=tuple(notes), evaluation_set=evaluation)


def _fidelity(samples: SampleSet, evaluation_set: EvaluationSet, notes: list[str], seed: int) -> Fidelity | None:
    """Return the fidelity of a run, or None with a note of the reason if it cannot be computed."""
    if evaluation_set.reference is None:
        return None
    try:
        return fidelity(
            samples,
            evaluation_set.reference,
            given=evaluation_set.given,
            steered_too=evaluation_set.touched,
            seed=seed,
        )
    except InputError as error:
        notes.append(f"no fidelity: {error}")
        return None


def notes_by_run(names: Sequence[str], reports: Sequence[Report]) -> list[str]:
    """Return the notes of several reports; a note that does not hold for all runs names those that it holds for."""
    runs_of_note: dict[str, list[str]] = {}
    for name, report in zip(names, reports, strict=True):
        for note in dict.fromkeys(report.notes):
            runs_of_note.setdefault(note, []).append(name)
    return [note if len(runs) == len(names) else f"{', '.join(runs)}: {note}" for note, runs in runs_of_note.items()]


def _direction_minus_judge(
    samples: SampleSet,
    evaluation_set: EvaluationSet,
    model: ResidualModel,
    point: SteeringPoint,
    real_costs: RealCosts | None,
) -> Estimate:
    """Fit the probe's threshold on some real texts and evaluate it on others, preferably ones that no judge was fit on.

    The first `PROBED` of the remaining real texts and of the background texts fit the threshold.
    """
    held_out = [
        text for judge in evaluation_set.judges if isinstance(judge, ClassifierJudge) for text in judge.positive
    ]
    test = (held_out or list(evaluation_set.real))[-min(PROBED, len(evaluation_set.real) // 4) :]
    train = [text for text in evaluation_set.real if text not in set(test)]
    base_nll = dict(zip(evaluation_set.real, real_costs.tokens, strict=True)) if real_costs else None
    probe = Probe(model, point, train[:PROBED], evaluation_set.background[:PROBED], base_nll=base_nll)
    return overoptimisation(samples, evaluation_set.judges, probe, real=test)


def report_inputs(
    samples: SampleSet,
    *,
    evaluation_set: EvaluationSet | None,
    model: ResidualModel | None,
    point: SteeringPoint | None,
    seed: int,
    progress: ProgressOption = None,
) -> ReportInputs:
    """Return judges, real texts and token costs of a run; the arguments and errors are those of `report`."""
    if len(samples) < 2:
        raise InputError(f"there are {len(samples)} samples: figures need at least two")
    samples.check_one_run()
    first, notes = samples[0], list(evaluation_set.notes if evaluation_set else ())
    if evaluation_set is None:
        evaluation_set = default_evaluation_set(
            first.model, first.doses, prompt=first.prompt, n=len(samples), seed=seed
        )
    if not evaluation_set.judges:
        steered_to = any(dose > 0 for dose in first.doses.values())
        no_judge = "there is no judge; give texts with what you asked for and texts without"
        notes.append(f"no success: {no_judge if steered_to else 'no concept was asked for'}")
    if evaluation_set.reference is None:
        notes.append("no fidelity: the true frequencies of attributes are not known for this model")
    if model is None and any(sample.pressure is None for sample in samples):
        notes.append("no pressure: the run was sampled without costs, they need the model")
    if model is None:
        notes.append("no typicality, breakdown or branching factor: they need the model")
        return ReportInputs(evaluation_set, None, None, tuple(notes))
    report_stage = progress_callback(progress)
    advance = count_progress(report_stage, "replaying the texts of the run", len(samples))
    costs = replayed(model, samples, point=point, progress=advance)
    real = None
    if len(evaluation_set.real) < MIN_REAL_TEXTS:
        notes.append(f"no typicality: it needs {MIN_REAL_TEXTS} real texts")
    elif first.prompt:
        notes.append("no typicality: texts after a prompt cannot be compared with whole texts")
    else:
        longest = check_integer(first.settings.get("max_tokens", 128), "max_tokens of the run", low=1)
        advance = count_progress(report_stage, "computing the likelihood of real texts", len(evaluation_set.real))
        real = real_costs(model, evaluation_set.real, max_tokens=longest, progress=advance)
    return ReportInputs(evaluation_set, costs, real, tuple(notes))
