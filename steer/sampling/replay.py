"""A saved run played back: what its texts cost, token by token."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from torch import Tensor

from steer.composition.steering_point import SteeringPoint
from steer.runs.sample import Sample
from steer.runs.sample_set import SampleSet
from steer.sampling.run_plan import RunPlan
from steer.search.recentring import around_of, centre_point, recomposed
from vectors.activations.natural_covariance import natural_covariance
from vectors.common.errors import InputError, ModelError
from vectors.common.paths import model_folder
from vectors.common.progress import Advance
from vectors.common.validation import check_number, quote
from vectors.decoding.decode import prefix_ids
from vectors.decoding.token_costs import Cost, compute_costs
from vectors.decoding.token_sampling import Settings
from vectors.model.interventions import Intervention
from vectors.model.positions import check_positions
from vectors.model.residual_model import ResidualModel

_SETTINGS = ("max_tokens", "temperature", "top_p", "top_k", "min_p", "positions")

_TOLERANCE = (1e-3, 0.05)  # of a text's log-probability, relative and in nats: another batch rounds otherwise
_ROUNDED = (0.01, 0.5)  # in half precision


def replayed(
    model: ResidualModel,
    samples: SampleSet,
    *,
    point: SteeringPoint | None = None,
    progress: Advance | None = None,
) -> list[Cost]:
    """Return each text's cost per token, with entropies, from the model and vectors that the run was sampled with.

    Args:
        model: the model of the run.
        samples: the samples of one run, in the order of the costs.
        point: what was switched on; by default composed anew from the run's doses and the model's library.
        progress: called every few texts with how many more are done.

    Raises:
        InputError: no samples, or samples of several runs.
        ModelError: other weights than those of the run, or vectors that have changed since.
    """
    plan = plan_of(model, samples, point=point)
    prefix = prefix_ids(model, plan.prompt, 1)
    vocabulary = model.hf.config.get_text_config().vocab_size
    for sample in samples:
        if sample.tokens and max(sample.tokens) >= vocabulary:
            raise InputError(
                f"sample {sample.index} has token {max(sample.tokens)}, the model has {vocabulary}: the file is damaged"
            )
    deltas, moves = dict[int, Tensor](), dict[int, Intervention]()
    if plan.point.deltas:
        moves = plan.point.moves(gate=plan.gate)
        deltas = {layer: rows.to(model.device) for layer, rows in plan.shifts([one.index for one in samples]).items()}
    found = compute_costs(
        model,
        deltas,
        prefix=prefix,
        generated=[sample.tokens for sample in samples],
        positions=plan.settings.positions,
        drawn=plan.settings,
        interventions=moves,
        progress=progress,
    )
    for sample, cost in zip(samples, found, strict=True):
        now = float(cost.logprob_steered.sum())
        rtol, atol = _TOLERANCE if _in_full(model, sample) else _ROUNDED
        if not np.isclose(now, sample.logprob_steered, rtol=rtol, atol=atol):
            raise ModelError(
                f"sample {sample.index} has log p {now:.3f} now and {sample.logprob_steered:.3f} in the run: replay it "
                "with the device and dtype that it was sampled with"
            )
    return found


def priced(samples: SampleSet, found: Sequence[Cost]) -> SampleSet:
    """Return samples with what they cost, where they were sampled without.

    Args:
        samples: a run.
        found: its costs in its order, as `replayed` finds them.
    """
    return SampleSet(
        sample
        if sample.pressure is not None
        else replace(sample, logprob_base=float(cost.logprob_base.sum()), pressure=cost.pressure)
        for sample, cost in zip(samples, found, strict=True)
    )


def _in_full(model: ResidualModel, sample: Sample) -> bool:
    """Whether a sample was written, and is read now, in single precision at least."""
    return model.dtype.itemsize >= 4 and sample.settings.get("dtype", "float32") in ("float32", "float64")


def _natural(sample: Sample) -> bool:
    around = around_of(sample)
    return sample.geometry == "natural" or (around is not None and around.natural)


def plan_of(model: ResidualModel, samples: SampleSet, *, point: SteeringPoint | None = None) -> RunPlan:
    """Return the plan that a run was sampled by; the arguments and errors are those of `replayed`."""
    found = point_of(model, samples, point=point)
    first, kept = samples[0], samples[0].settings
    settings = Settings(**{name: kept[name] for name in _SETTINGS if name in kept})
    check_positions(settings.positions, bos=model.bos_id is not None, scopes=True)
    plan = RunPlan(
        point=found or SteeringPoint(deltas={}, doses={}, vectors=()),
        settings=settings,
        radius=first.radius,
        geometry=first.geometry,
        seed=first.seed,
        prompt=first.prompt or None,
        gate=bool(kept.get("gate", False)),
        covariances=natural_covariance(model, found.layers) if found and _natural(first) else None,
        max_pressure=kept.get("max_pressure"),
    )
    if kept.get("spread") is not None and kept["spread"] != plan.identity(model)["settings"].get("spread"):
        raise ModelError(
            "what is natural for this model has been found anew since this run, and its directions were drawn from it: "
            f"put back {str(model_folder(model.name, model.hash) / 'natural_covariance')!r} as it was"
        )
    return plan


def point_of(model: ResidualModel, samples: SampleSet, *, point: SteeringPoint | None = None) -> SteeringPoint | None:
    """Return what a run was steered by, or None: composed anew, or the point that is given, once it is checked.

    Raises:
        InputError: no samples.
        ModelError: other weights than those of the run, or vectors that have changed since.
    """
    if not len(samples):
        raise InputError("there are no samples to replay: give a run")
    samples.check_one_run()
    first = samples[0]
    kept = first.settings
    if kept.get("model_hash") != model.hash[:16]:
        raise ModelError(
            f"this run was sampled from other weights than {quote(model.name)} has: load {quote(first.model)}"
        )
    if point is None and first.doses:
        point = recomposed(model, first.doses, str(kept.get("composition", "exact")))
        point = point.scaled(check_number(kept.get("scale", 1.0), "scale"))
        if (around := around_of(first)) is not None:
            point = centre_point(model, point, around)
    digests = kept.get("vectors")
    for vector in point.vectors if point else ():
        if not isinstance(digests, dict) or digests.get(vector.name) != vector.digest[:16]:
            raise ModelError(
                f"vector {quote(vector.name)} has changed since this run: put it back, or pass the point itself"
            )
    return point
