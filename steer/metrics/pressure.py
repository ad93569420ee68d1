"""Pressure: how far the sampler was pushed from the base model, over a whole run."""

from collections.abc import Sequence

import numpy as np

from steer.runs.sample_set import Sample, SampleSet
from steer.statistics.estimate import Estimate
from steer.statistics.statistic import Statistic, mean_of, ratio_of
from vectors.common.errors import InputError
from vectors.decoding.token_costs import Cost


def pressure(samples: SampleSet, *, replayed: Sequence[Cost] | None = None) -> tuple[Estimate, ...]:
    """Return the run's pressure in nats: the mean per token, the 95th percentile, and the mean total of a text.

    A saved text keeps its own 95th percentile and not that of its tokens: without `replayed` costs the second figure is
    the mean of the texts' percentiles, and named so; with them it is the percentile over the tokens of all texts.

    Args:
        samples: a run.
        replayed: what its texts cost token by token, in their order; see `steer.sampling.replay.replayed`.

    Raises:
        InputError: fewer than two samples, or costs of another number of texts.
    """
    return tuple(each.estimate() for each in pressures_of(samples, replayed))


def pressures_of(samples: Sequence[Sample], replayed: Sequence[Cost] | None = None) -> list[Statistic]:
    """Return the three figures of `pressure` as statistics.

    Raises:
        InputError: costs of another number of texts.
    """
    check_replayed(samples, replayed)
    tokens = np.array([len(sample.tokens) for sample in samples])
    if replayed is None:
        paid = [sample.known_pressure for sample in samples]
        totals = np.array([each["total"] for each in paid])
        tail = mean_of("p95 pressure per text", np.array([each["p95"] for each in paid]), perfect=0.0)
    else:
        totals = np.array([cost.pressure["total"] for cost in replayed])
        each = [cost.kl for cost in replayed]
        tail = Statistic(
            name="p95 pressure",
            compute=lambda subset: float(np.percentile(np.concatenate([each[i] for i in subset]), 95)),
            n=len(samples),
            perfect=0.0,
            percentile=True,
        )
    return [
        ratio_of("pressure", totals, tokens, perfect=0.0),
        tail,
        mean_of("total pressure", totals, perfect=0.0),
    ]


def check_replayed(samples: Sequence[Sample], replayed: Sequence[Cost] | None) -> None:
    """Refuse costs that are not those of the run.

    Raises:
        InputError: another number of texts or tokens.
    """
    if replayed is not None and [len(cost.kl) for cost in replayed] != [len(sample.tokens) for sample in samples]:
        raise InputError(f"{len(replayed)} costs for {len(samples)} samples: give those of this run, in its order")
