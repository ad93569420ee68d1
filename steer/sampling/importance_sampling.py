"""Calibrated sampling: steered texts as proposals, with importance weights for the base model's distribution."""

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
"""Smallest effective sample size of the weights that is accepted."""

PILOT = 128
"""Proposals that estimate how many are needed; they are then discarded."""

FEWEST = 384
"""Smallest number of proposals to draw from: fewer may miss texts that the base model often writes."""

MARGIN = 2.0
"""Factor on the estimated number of proposals, since the largest weight grows with their number."""

_HOPELESS = 8.0  # give up after the pilot if this many times the limit would be needed
_ROUNDING = 1e-9

Draw = Callable[[int, Collection[int]], Iterable[Sample]]
"""Samples a number of proposals, except those at the given indices."""


@dataclass(frozen=True)
class Calibration:
    """How good a set of importance weights is.

    Attributes:
        proposals: number of steered texts.
        accepted: number of them that ended with the end token and that all judges accept.
        ess: effective sample size of the weights.
        worth: number of different texts that can be drawn by weight without drawing one twice.
        share: estimated share of the base model's own texts that would be accepted.
        judges: names of the judges.
    """

    proposals: int
    accepted: int
    ess: float
    worth: float
    share: float
    judges: tuple[str, ...]


def importance_weights(proposals: Sequence[Sample], judges: Sequence[Judge]) -> tuple[np.ndarray, Calibration]:
    """Return the importance weight of each proposal, normalised to sum 1, and how good the weights are.

    The weight is the probability of the text under the base model divided by that under the steered model that wrote
    it, and 0 if a judge rejects the text. A text that reached the token limit has weight 0 too, since the base model
    might have continued it differently. The weighted texts then have the distribution of the base model's texts that
    end within the token limit and that the judges accept.

    The mean weight estimates the share of such texts in the base model's own. If it is well below a known share, the
    proposals miss a part of these texts, and no draw from them can restore it.

    Source: Kish, "Survey sampling" (1965), for the effective sample size.

    Args:
        proposals: samples at temperature 1 without truncation; each may have its own direction.
        judges: all of them must accept a text.

    Raises:
        InputError: samples with another temperature or with truncation.
    """
    for sample in proposals:
        needed = {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "min_p": 0.0}
        recorded = {name: sample.settings.get(name) for name in needed}
        if other := {name: value for name, value in recorded.items() if value != needed[name]}:
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
    """Return `n` different proposals; each is drawn with a probability of `n` times its weight.

    Source: systematic sampling; Madow, "On the theory of systematic sampling, II" (1949).

    Raises:
        InputError: a weight above `1 / n`.
    """
    if n * weights.max() > 1 + _ROUNDING:
        raise InputError(
            f"the weights are worth {1 / weights.max():.3g} texts, not {n}: ask for fewer, or propose more"
        )
    random = rng(seed, 0, Stream.RESAMPLE)
    order = random.permutation(len(weights))
    ends = np.cumsum(weights[order]) * n
    ranks = np.searchsorted(ends, np.arange(n) + random.random(), side="right")
    return [proposals[order[min(rank, len(order) - 1)]] for rank in ranks]


def calibrated_set(proposals: SampleSet, judges: Sequence[Judge], n: int, *, seed: int) -> SampleSet:
    """Return `n` of a run's samples, drawn by weight, each with the calibration in its settings.

    Raises:
        InputError: weights that are worth fewer than `n` texts, or an effective sample size below `FLOOR`.
    """
    count = check_integer(n, "n", low=1)
    weights, calibration = importance_weights(proposals, judges)
    if calibration.worth < count * (1 - _ROUNDING) or calibration.ess < FLOOR:
        raise InputError(
            f"{calibration.proposals} proposals, {calibration.accepted} of them accepted, are worth "
            f"{int(calibration.worth)} different texts (effective sample size {calibration.ess:.1f}), and {count} are "
            f"asked for (with a size of {FLOOR} or more): allow more proposals, ask for fewer texts, or lower the "
            "radius and the doses"
        )
    settings = {"calibration": asdict(calibration) | {"judges": list(calibration.judges)}}
    chosen = drawn_by_weight(proposals, weights, count, seed=seed)
    return SampleSet(replace(sample, settings=sample.settings | settings) for sample in chosen)


def sample_calibrated(draw: Draw, judges: Sequence[Judge], n: int, *, most: int, seed: int) -> SampleSet:
    """Return `n` calibrated samples; a pilot estimates the number of proposals, at most `most`.

    The pilot's texts are not used as samples. Proposals are not added until the weights look good, since that would
    stop before a text with a large weight appears.

    Args:
        draw: samples a number of proposals, except those at given indices.
        judges: all of them must accept a text.
        n: number of texts to return.
        most: largest number of proposals, besides the pilot.
        seed: of the draw from the proposals.

    Raises:
        InputError: proposals that are worth fewer than `n` texts, or that the pilot shows to be.
    """
    count, limit = check_integer(n, "n", low=1), check_integer(most, "most_proposals", low=n)
    pilot = sorted(draw(PILOT, ()), key=lambda sample: sample.index)
    calibration = importance_weights(pilot, judges)[1]
    needed = math.inf
    if calibration.accepted:
        needed = MARGIN * max(count / calibration.worth, FLOOR / calibration.ess) * PILOT
    if needed > _HOPELESS * limit:
        raise InputError(
            f"of {PILOT} proposals {calibration.accepted} are accepted, with an effective sample size of "
            f"{calibration.ess:.1f}: {limit} are not enough for {count} texts; allow more, ask for fewer texts, or "
            "lower the radius and the doses"
        )
    pool = min(limit, max(FEWEST, math.ceil(needed)))
    proposals = sorted(draw(PILOT + pool, range(PILOT)), key=lambda sample: sample.index)
    return calibrated_set(SampleSet(proposals), judges, count, seed=seed)
