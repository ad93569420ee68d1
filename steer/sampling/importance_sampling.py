"""Calibrated sampling: steered texts are proposals, weighed by what the base model itself would have written."""

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from steer.judges.judge import Judge
from steer.runs.sample import Sample
from steer.runs.sample_set import SampleSet
from vectors.common.errors import InputError
from vectors.common.rng import Stream, rng
from vectors.common.validation import check_integer

FLOOR = 50
"""Effective sample size below which weighed proposals say nothing."""

PILOT = 128
"""Proposals that say how many more are needed, and are then thrown away."""

FEWEST = 384
"""Proposals that samples are drawn from, at least: fewer may miss what the base model often writes."""

MARGIN = 2.0
"""Times as many proposals as the pilot would have: the heaviest weight grows with their number."""

_HOPELESS = 8.0  # times the proposals that are allowed
_ROUNDING = 1e-9

Draw = Callable[[int, Collection[int]], Iterable[Sample]]
"""From a number of samples and the indices that are not wanted again to the rest of them."""


@dataclass(frozen=True)
class Calibration:
    """What weighed proposals are worth.

    Attributes:
        proposals: steered texts that were weighed.
        accepted: those that ended by themselves and that the judges accept.
        ess: effective sample size of the weights.
        worth: how many different texts can be drawn by weight without taking one twice.
        share: how many of the base model's own texts would be accepted, as the weights have it.
        judges: who accepted.
    """

    proposals: int
    accepted: int
    ess: float
    worth: float
    share: float
    judges: tuple[str, ...]


def importance_weights(proposals: Sequence[Sample], judges: Sequence[Judge]) -> tuple[np.ndarray, Calibration]:
    """Return the importance weight of each proposal, all of them summing to one, and what they are worth.

    A text weighs what the base model gives it over what the steered model that wrote it did, times the judges'
    acceptance; one that was cut weighs nothing, since the base model might have gone on otherwise. The weighed texts
    are then those of the base model, ended within as many tokens, in which the judges find what they look for.

    The mean weight is how often the base model writes such a text by itself: where that falls well short of what is
    known of it, the proposals have missed a part of those texts, and nothing that is drawn from them makes up for it.

    Source: Kish, "Survey sampling" (1965), for the effective sample size.

    Args:
        proposals: samples at temperature 1 without truncation, each possibly in a direction of its own.
        judges: all of them have to accept.

    Raises:
        InputError: samples of another temperature, or truncated ones.
    """
    for sample in proposals:
        drawn = {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "min_p": 0.0}
        other = {name: sample.settings.get(name) for name, value in drawn.items() if sample.settings.get(name) != value}
        if other:
            raise InputError(
                f"sample {sample.index} was drawn with {other}: weights hold at temperature 1, untruncated"
            )
    logs = np.array(
        [
            -sample.base_nats - sample.logprob_steered
            if sample.finish == "eos" and all(judge.accepts(sample.text) for judge in judges)
            else -math.inf
            for sample in proposals
        ]
    )
    accepted = int(np.isfinite(logs).sum())
    if not accepted:
        return np.zeros(len(logs)), Calibration(len(logs), 0, 0.0, 0.0, 0.0, tuple(judge.name for judge in judges))
    weights = np.exp(logs - logs.max())
    share = float(weights.mean() * np.exp(logs.max()))
    weights /= weights.sum()
    ess, worth = float(1 / (weights**2).sum()), float(1 / weights.max())
    return weights, Calibration(len(logs), accepted, ess, worth, share, tuple(judge.name for judge in judges))


def drawn_by_weight(proposals: Sequence[Sample], weights: np.ndarray, n: int, *, seed: int) -> list[Sample]:
    """Return `n` different proposals, each taken with a probability of `n` times its weight.

    Source: systematic sampling; Madow, "On the theory of systematic sampling, II" (1949).

    Raises:
        InputError: a weight of more than one text in `n`.
    """
    if n * weights.max() > 1 + _ROUNDING:
        raise InputError(
            f"the weights are worth {1 / weights.max():.3g} texts, not {n}: ask for fewer, or propose more"
        )
    random = rng(seed, 0, Stream.RESAMPLE)
    order = random.permutation(len(weights))
    ends = np.cumsum(weights[order]) * n
    taken = np.searchsorted(ends, np.arange(n) + random.random(), side="right")
    return [proposals[order[min(place, len(order) - 1)]] for place in taken]


def calibrated_set(proposals: SampleSet, judges: Sequence[Judge], n: int, *, seed: int) -> SampleSet:
    """Return `n` of a run's samples by weight, each with the calibration in its settings.

    Raises:
        InputError: weights that are worth fewer than `n` texts, or too few altogether: what they are worth, and the
            mend.
    """
    count = check_integer(n, "n", low=1)
    weights, found = importance_weights(proposals, judges)
    if found.worth < count * (1 - _ROUNDING) or found.ess < FLOOR:
        raise InputError(
            f"{found.proposals} proposals, {found.accepted} of them accepted, are worth {int(found.worth)} different "
            f"texts (effective sample size {found.ess:.1f}), and {count} are asked for (with a size of {FLOOR} or "
            "more): allow more proposals, ask for fewer texts, or lower the radius and the doses"
        )
    kept = {"calibration": asdict(found) | {"judges": list(found.judges)}}
    chosen = drawn_by_weight(proposals, weights, count, seed=seed)
    return SampleSet(replace(sample, settings=sample.settings | kept) for sample in chosen)


def sample_calibrated(draw: Draw, judges: Sequence[Judge], n: int, *, most: int, seed: int) -> SampleSet:
    """Return `n` calibrated samples, from as many proposals as a pilot says that they take, `most` of them.

    The pilot's texts are not among those that samples are drawn from: to stop as soon as the weights look well would be
    to stop before a text comes that should have weighed more.

    Args:
        draw: from a number of proposals and the indices that are not wanted to the others.
        judges: all of them have to accept.
        n: texts to return.
        most: proposals to draw at most, besides the pilot.
        seed: of the choice among the proposals.

    Raises:
        InputError: proposals that are worth fewer than `n` texts, or that a pilot shows to be so.
    """
    count, limit = check_integer(n, "n", low=1), check_integer(most, "most_proposals", low=n)
    pilot = sorted(draw(PILOT, ()), key=lambda sample: sample.index)
    found = importance_weights(pilot, judges)[1]
    need = max(MARGIN * count / found.worth, MARGIN * FLOOR / found.ess) * PILOT if found.accepted else math.inf
    if need > _HOPELESS * limit:
        raise InputError(
            f"of {PILOT} proposals {found.accepted} are accepted, with an effective sample size of {found.ess:.1f}: "
            f"{limit} are not enough for {count} texts; allow more, ask for fewer texts, or lower the radius and the "
            "doses"
        )
    pool = min(limit, max(FEWEST, math.ceil(need)))
    made = sorted(draw(PILOT + pool, range(PILOT)), key=lambda sample: sample.index)
    return calibrated_set(SampleSet(made), judges, count, seed=seed)
