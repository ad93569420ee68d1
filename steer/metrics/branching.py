"""Branching factor: the effective number of next tokens that the sampler chose from."""

from collections.abc import Sequence

import numpy as np

from steer.metrics.pressure import check_costs
from steer.runs.sample_set import Sample, SampleSet
from steer.statistics.estimate import Estimate
from steer.statistics.statistic import Statistic
from vectors.common.errors import InputError
from vectors.decoding.token_costs import Cost


def branching(samples: SampleSet, replayed: Sequence[Cost]) -> tuple[Estimate, tuple[Estimate, ...]]:
    """Return the branching factor over all tokens, and at each position that at least two texts reach.

    It is the exponential of the mean entropy, in nats, of the distributions that tokens were sampled from. A sampler
    that is certain of every token has a branching factor of 1.
    Source: Yang and Holtzman, "How alignment shrinks the generative horizon" (2025).

    Args:
        samples: a run.
        replayed: token costs of its texts, with entropies; see `steer.sampling.replay.replayed`.

    Raises:
        InputError: costs without entropies, or fewer than two samples.
    """
    overall = branching_statistic(samples, replayed).estimate()
    entropies = _entropies(replayed)
    longest = sorted(len(row) for row in entropies)[-2] if len(entropies) > 1 else 0
    curve = []
    for position in range(longest):
        here = [row[position : position + 1] for row in entropies if len(row) > position]
        curve.append(_statistic(f"branching factor at {position}", here).estimate())
    return overall, tuple(curve)


def branching_statistic(samples: Sequence[Sample], replayed: Sequence[Cost]) -> Statistic:
    """Return the branching factor over all tokens as a statistic."""
    check_costs(samples, replayed)
    return _statistic("branching factor", _entropies(replayed))


def _statistic(name: str, entropies: Sequence[np.ndarray]) -> Statistic:
    sums, tokens = np.array([row.sum() for row in entropies]), np.array([len(row) for row in entropies])
    return Statistic(
        name=name,
        compute=lambda subset: float(np.exp(sums[subset].sum() / tokens[subset].sum())),
        n=len(sums),
        empty=1.0,
    )


def _entropies(replayed: Sequence[Cost]) -> list[np.ndarray]:
    entropies = [cost.entropy for cost in replayed if cost.entropy is not None]
    if len(entropies) < len(replayed):
        raise InputError("these costs have no entropies: replay the run to compute them")
    return entropies
