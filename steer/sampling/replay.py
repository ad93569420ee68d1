"""Replay a saved run: what each token of its texts costs."""

from collections.abc import Sequence
from dataclasses import fields, replace

import numpy as np
from torch import Tensor

from steer.composition.steering_point import SteeringPoint
from steer.runs.sample import Sample
from steer.runs.sample_set import SampleSet
from steer.sampling.run_plan import RunPlan
from steer.sampling.sampler import text_of
from steer.search.recentring import Centre, picks_of
from steer.search.recorded_run import RecordedRun
from vectors.activations.natural_covariance import natural_covariance
from vectors.common.errors import InputError, ModelError
from vectors.common.progress import Advance
from vectors.decoding.decode import prefix_ids
from vectors.decoding.token_costs import Cost, compute_costs
from vectors.decoding.token_sampling import Settings
from vectors.model.interventions import Intervention
from vectors.model.positions import Site, check_positions
from vectors.model.residual_model import ResidualModel

# of a text's log-probability, relative and in nats: kernels round differently in another batch
_TOLERANCE = (1e-3, 0.05)
_HALF_PRECISION_TOLERANCE = (0.01, 0.5)


def replayed(
    model: ResidualModel,
    samples: SampleSet,
    *,
    point: SteeringPoint | None = None,
    progress: Advance | None = None,
) -> list[Cost]:
    """Return the cost per token of each text, with entropies, by reading the texts with the same shifts again.

    Args:
        model: the model of the run.
        samples: the samples of one run.
        point: the steering point of the run; by default composed again from its doses and the model's library.
        progress: called with the number of texts that were read since the last call.

    Raises:
        InputError: no samples, or samples of several runs.
        ModelError: a model, a vector or a natural covariance that has changed since the run, or log-probabilities
            that differ from those of the run.
    """
    plan = plan_of(model, samples, point=point)
    prefix = prefix_ids(model, plan.prompt, 1)
    vocabulary = model.n_embeddings
    for sample in samples:
        if sample.tokens and max(sample.tokens) >= vocabulary:
            raise InputError(
                f"sample {sample.index} has token {max(sample.tokens)}, the model has {vocabulary}: the file is damaged"
            )
        if text_of(model, prefix, sample.tokens) != sample.text:
            raise InputError(
                f"the text of sample {sample.index} is not what its tokens decode to: the file was edited, or written "
                "with another tokenizer; sample it again"
            )
    deltas, moves = dict[Site, Tensor](), dict[int, Intervention]()
    if plan.point.deltas:
        moves = plan.point.moves(gate=plan.gate)
        shifts = plan.shifts([sample.index for sample in samples])
        deltas = {site: rows.to(model.device) for site, rows in shifts.items()}
    costs_by_text = compute_costs(
        model,
        deltas,
        prefix=prefix,
        generated=[sample.tokens for sample in samples],
        settings=plan.settings,
        interventions=moves,
        progress=progress,
    )
    for sample, cost in zip(samples, costs_by_text, strict=True):
        now = float(cost.logprob_steered.sum())
        rtol, atol = _TOLERANCE if _single_precision(model, sample) else _HALF_PRECISION_TOLERANCE
        if not np.isclose(now, sample.logprob_steered, rtol=rtol, atol=atol):
            raise ModelError(
                f"sample {sample.index} has log p {now:.3f} now and {sample.logprob_steered:.3f} in the run: replay it "
                "with the device and dtype that it was sampled with"
            )
    return costs_by_text


def priced(samples: SampleSet, text_costs: Sequence[Cost]) -> SampleSet:
    """Return samples with their costs filled in where they were sampled without.

    Args:
        samples: a run.
        text_costs: the cost of each sample, from `replayed`.
    """
    return SampleSet(
        sample
        if sample.pressure is not None
        else replace(sample, logprob_base=float(cost.logprob_base.sum()), pressure=cost.pressure)
        for sample, cost in zip(samples, text_costs, strict=True)
    )


def _single_precision(model: ResidualModel, sample: Sample) -> bool:
    """Whether a sample was written, and is read now, in single precision at least."""
    return model.dtype.itemsize >= 4 and sample.settings.get("dtype", "float32") in ("float32", "float64")


def plan_of(model: ResidualModel, samples: SampleSet, *, point: SteeringPoint | None = None) -> RunPlan:
    """Return the plan that a run was sampled with; arguments and errors are those of `replayed`."""
    composed = point_of(model, samples, point=point)
    first, settings = samples[0], samples[0].settings
    picks = picks_of(first)
    natural = first.geometry == "natural" or (picks is not None and picks.natural)
    covariances = natural_covariance(model, composed.layers) if composed and natural else None
    RecordedRun.of(first).check_covariances(model, covariances)
    plan = RunPlan(
        point=composed or SteeringPoint(deltas={}, doses={}, vectors=()),
        covariances=covariances,
        radius=first.radius,
        geometry=first.geometry,
        seed=first.seed,
        prompt=first.prompt or None,
        gate=bool(settings.get("gate", False)),
        max_pressure=settings.get("max_pressure"),
        **{field.name: settings[field.name] for field in fields(Settings) if field.name in settings},
    )
    if plan.positions is not None:
        check_positions(plan.positions, bos=model.bos_id is not None, scopes=True)
    return plan


def point_of(model: ResidualModel, samples: SampleSet, *, point: SteeringPoint | None = None) -> SteeringPoint | None:
    """Return the point that a run was steered by, None for an unsteered run.

    It is composed again from the record of the run, unless `point` is given; both are compared with the record.

    Raises:
        InputError: no samples.
        ModelError: a model, a vector or a natural covariance that has changed since the run.
    """
    if not len(samples):
        raise InputError("there are no samples to replay: give a run")
    samples.check_one_run()
    run, picks = RecordedRun.of(samples[0]), picks_of(samples[0])
    run.check_model(model)
    if point is not None:
        run.check_vectors(point.vectors)
        if run.positions is None or (point.positions is None and point.around is not None):
            return point
        return point.at_positions(run.positions)
    if not run.doses:
        return None
    return run.point(model) if picks is None else Centre(picks, run).point(model)
