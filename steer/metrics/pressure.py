"""Pressure: KL divergence between the steered and the base model over a run, in nats."""

from collections.abc import Sequence

import numpy as np

from steer.runs.sample_set import Sample, SampleSet
from steer.statistics.estimate import Estimate
from steer.statistics.statistic import Statistic, mean_of, ratio_of
from vectors.common.errors import InputError
from vectors.decoding.token_costs import Cost


def pressure(samples: SampleSet, *, replayed: Sequence[Cost] | None = None) -> tuple[Estimate, ...]:
    """Return the run's pressure in nats: mean per token, 95th percentile, and mean total per text.

    With `replayed` costs, the 95th percentile is over the tokens of all texts. Without them it is not known, because a
    saved sample has only its own 95th percentile: the second estimate is then the mean of these, `p95 pressure per
    text`.

    Args:
        samples: a run.
        replayed: token costs of its texts, in their order; see `steer.sampling.replay.replayed`.

    Raises:
        InputError: fewer than two samples, or costs of another run.
    """
    return tuple(statistic.estimate() for statistic in pressure_statistics(samples, replayed))


def pressure_statistics(samples: Sequence[Sample], replayed: Sequence[Cost] | None = None) -> list[Statistic]:
    """Return the three values of `pressure` as statistics.

    Raises:
        InputError: costs of another run.
    """
    check_costs(samples, replayed)
    tokens = np.array([len(sample.tokens) for sample in samples])
    if replayed is None:
        pressures = [sample.known_pressure for sample in samples]
        totals = np.array([row["total"] for row in pressures])
        p95 = mean_of("p95 pressure per text", np.array([row["p95"] for row in pressures]), perfect=0.0)
    else:
        totals = np.array([cost.pressure["total"] for cost in replayed])
        kl = [cost.kl for cost in replayed]
        p95 = Statistic(
            name="p95 pressure",
            compute=lambda subset: float(np.percentile(np.concatenate([kl[index] for index in subset]), 95)),
            n=len(samples),
            perfect=0.0,
            interval="bootstrap",
        )
    return [ratio_of("pressure", totals, tokens, perfect=0.0), p95, mean_of("total pressure", totals, perfect=0.0)]


def check_costs(samples: Sequence[Sample], replayed: Sequence[Cost] | None) -> None:
    """Refuse token costs of another run.

    Raises:
        InputError: the number of texts, or of tokens in a text, differs.
    """
    if replayed is not None and [len(cost.kl) for cost in replayed] != [len(sample.tokens) for sample in samples]:
        raise InputError(f"{len(replayed)} costs for {len(samples)} samples: give those of this run, in its order")
