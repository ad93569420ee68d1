"""The branching factor: among how many next tokens the sampler in effect chose, at every position."""

from collections.abc import Sequence

import numpy as np

from steer.metrics.pressure import check_replayed
from steer.runs.sample_set import Sample, SampleSet
from steer.statistics.estimate import Estimate
from steer.statistics.statistic import Statistic
from vectors.common.errors import InputError
from vectors.decoding.token_costs import Cost


def branching(samples: SampleSet, replayed: Sequence[Cost]) -> tuple[Estimate, tuple[Estimate, ...]]:
    """Return the branching factor over all tokens, and at each position that two texts or more reach.

    The exponential of the mean entropy of the distributions that the tokens were drawn from, in nats, so that a sampler
    that is certain of every token has 1.
    Source: Yang and Holtzman, "How alignment shrinks the generative horizon" (2025).

    Args:
        samples: a run.
        replayed: what its texts cost token by token, with entropies; see `steer.sampling.replay.replayed`.

    Raises:
        InputError: costs without entropies, or fewer than two samples.
    """
    whole = branching_of(samples, replayed)
    entropies = _entropies(replayed)
    longest = sorted(len(each) for each in entropies)[-2] if len(entropies) > 1 else 0
    curve = []
    for position in range(longest):
        here = np.array([each[position] for each in entropies if len(each) > position])
        curve.append(
            _factor(f"branching factor at {position}", [here[at : at + 1] for at in range(len(here))]).estimate()
        )
    return whole.estimate(), tuple(curve)


def branching_of(samples: Sequence[Sample], replayed: Sequence[Cost]) -> Statistic:
    """Return the branching factor over all tokens as a statistic."""
    check_replayed(samples, replayed)
    return _factor("branching factor", _entropies(replayed))


def _factor(name: str, entropies: Sequence[np.ndarray]) -> Statistic:
    sums, tokens = np.array([each.sum() for each in entropies]), np.array([len(each) for each in entropies])
    return Statistic(
        name=name,
        compute=lambda subset: float(np.exp(sums[subset].sum() / tokens[subset].sum())),
        n=len(sums),
        empty=1.0,
    )


def _entropies(replayed: Sequence[Cost]) -> list[np.ndarray]:
    found = [cost.entropy for cost in replayed if cost.entropy is not None]
    if len(found) < len(replayed):
        raise InputError("these costs have no entropies: replay the run for them")
    return found
