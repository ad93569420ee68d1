"""A saved run played back: what its texts cost, token by token."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from steer.ball import perturb
from steer.point import SteeringPoint, compose
from steer.samples import SampleSet
from vectors.checks import shown
from vectors.decode import prefix_ids
from vectors.drawing import Settings
from vectors.errors import InputError, ModelError
from vectors.likelihood import Cost, costs
from vectors.model import ResidualModel
from vectors.positions import check_positions

_RATES = ("temperature", "top_p", "top_k", "min_p")

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
    positions = kept.get("positions", "all")
    check_positions(positions, bos=model.bos_id is not None)
    prefix = prefix_ids(model, first.prompt or None, 1)
    rows = []
    vocabulary = model.hf.config.get_text_config().vocab_size
    for sample in samples:
        if sample.tokens and max(sample.tokens) >= vocabulary:
            raise InputError(
                f"sample {sample.index} has token {max(sample.tokens)}, the model has {vocabulary}: the file is damaged"
            )
        if point:
            rows.append(
                perturb(point, 1, sample.radius, seed=sample.seed, start=sample.index, geometry=sample.geometry)
            )
    deltas = (
        {layer: torch.cat([row[layer] for row in rows]).to(model.device) for layer in point.layers} if point else {}
    )
    found = costs(
        model,
        deltas,
        prefix=prefix,
        generated=[sample.tokens for sample in samples],
        positions=positions,
        drawn=_settings(kept),
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
    digests = kept.get("vectors")
    for vector in point.vectors if point else ():
        if not isinstance(digests, dict) or digests.get(vector.name) != vector.digest[:16]:
            raise ModelError(
                f"vector {shown(vector.name)} has changed since this run: pass the point it was sampled with"
            )
    return point


def _settings(kept: Mapping[str, Any]) -> Settings:
    """What the run's tokens were drawn with."""
    return Settings(**{name: kept[name] for name in _RATES if name in kept})
