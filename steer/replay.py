"""A saved run played back: what its texts cost, token by token."""

import numpy as np
from torch import Tensor

from steer.around import around_of, centred
from steer.plan import Plan
from steer.point import SteeringPoint, compose
from steer.samples import SampleSet
from vectors.checks import number, shown
from vectors.decode import prefix_ids
from vectors.drawing import Settings
from vectors.errors import InputError, ModelError
from vectors.likelihood import Cost, costs
from vectors.model import ResidualModel
from vectors.moves import Move
from vectors.positions import check_positions

_SETTINGS = ("temperature", "top_p", "top_k", "min_p", "positions")

_TOLERANCE = 1e-3  # nats of a text's log-probability, relative: another batch rounds otherwise


def replayed(model: ResidualModel, samples: SampleSet, *, point: SteeringPoint | None = None) -> list[Cost]:
    """Return each text's cost per token, with entropies, from the model and vectors that the run was sampled with.

    Args:
        model: the model of the run.
        samples: the samples of one run, in the order of the costs.
        point: what was switched on; by default composed anew from the run's doses and the model's library.

    Raises:
        InputError: no samples, or samples of several runs.
        ModelError: other weights than those of the run, or vectors that have changed since.
    """
    point = point_of(model, samples, point=point)
    first = samples[0]
    kept = first.settings
    settings = Settings(**{name: kept[name] for name in _SETTINGS if name in kept})
    check_positions(settings.positions, bos=model.bos_id is not None)
    prefix = prefix_ids(model, first.prompt or None, 1)
    vocabulary = model.hf.config.get_text_config().vocab_size
    for sample in samples:
        if sample.tokens and max(sample.tokens) >= vocabulary:
            raise InputError(
                f"sample {sample.index} has token {max(sample.tokens)}, the model has {vocabulary}: the file is damaged"
            )
    deltas, moves = dict[int, Tensor](), dict[int, Move]()
    if point:
        plan = Plan(
            point=point, settings=settings, radius=first.radius, geometry=first.geometry, seed=first.seed,
            gate=bool(kept.get("gate", False)),
        )  # fmt: skip
        moves = point.moves(gate=plan.gate)
        deltas = {layer: rows.to(model.device) for layer, rows in plan.shifts([one.index for one in samples]).items()}
    found = costs(
        model,
        deltas,
        prefix=prefix,
        generated=[sample.tokens for sample in samples],
        positions=settings.positions,
        drawn=settings,
        moves=moves,
    )
    for sample, cost in zip(samples, found, strict=True):
        now = float(cost.logprob_steered.sum())
        if not np.isclose(now, sample.logprob_steered, rtol=_TOLERANCE, atol=0.05):
            raise ModelError(
                f"sample {sample.index} has log p {now:.3f} now and {sample.logprob_steered:.3f} in the run: replay it "
                "with the device and dtype that it was sampled with"
            )
    return found


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
            f"this run was sampled from other weights than {shown(model.name)} has: load {shown(first.model)}"
        )
    if point is None and first.doses:
        point = compose(first.doses, model, method=str(kept.get("composition", "exact")))
        point = point.scaled(number(kept.get("scale", 1.0), "scale"))
        if (around := around_of(first)) is not None:
            point = centred(point, around)
    digests = kept.get("vectors")
    for vector in point.vectors if point else ():
        if not isinstance(digests, dict) or digests.get(vector.name) != vector.digest[:16]:
            raise ModelError(
                f"vector {shown(vector.name)} has changed since this run: pass the point it was sampled with"
            )
    return point
