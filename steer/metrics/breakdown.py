"""Breakdown: how much pressure a text bears before the base model finds it stranger than any real text gets."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from steer.metrics.pressure import check_replayed
from steer.metrics.typicality import RealCosts
from steer.runs.sample_set import SampleSet
from steer.statistics.estimate import Estimate
from steer.statistics.intervals import poisson
from steer.statistics.statistic import Beside, mean_of
from vectors.decoding.token_costs import Cost

WINDOW = 8
"""Tokens whose mean says how strange a text is just there."""

RARE = 0.01
"""Share of real texts that ever get stranger than the threshold."""


@dataclass(frozen=True)
class Breakdown:
    """Where texts broke down.

    Attributes:
        threshold: nats per token, over a window, that one real text in a hundred ever reaches.
        share: how many texts broke down.
        per_nat: breakdowns for each nat of pressure borne until then; `None` without any pressure.
        borne: cumulative pressure, nats, at which some text broke down, in order.
        surviving: share of texts that bear at least that and are whole behind it.
    """

    threshold: float
    share: Estimate
    per_nat: Estimate | None
    borne: np.ndarray
    surviving: np.ndarray

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "threshold": self.threshold,
            "share": self.share.to_dict(),
            "per_nat": None if self.per_nat is None else self.per_nat.to_dict(),
            "borne": self.borne.tolist(),
            "surviving": self.surviving.tolist(),
        }


def breakdown(samples: SampleSet, replayed: Sequence[Cost], real: RealCosts) -> Breakdown:
    """Return how much cumulative pressure the texts bore before they broke down.

    Of few real texts, more than one in a hundred others is beyond that: `perfect` of the share says how many.

    A text breaks down at the first token at which its last eight are together less likely to the base model than those
    of 99 real texts in 100 are anywhere. What a text bore without breaking down counts as borne, no more: the curve is
    Kaplan and Meier's.

    Source: Kaplan and Meier, "Nonparametric estimation from incomplete observations" (1958).

    Args:
        samples: a run.
        replayed: what its texts cost token by token; see `steer.sampling.replay.replayed`.
        real: costs of real texts that have what was steered to.

    Raises:
        InputError: no samples, or costs of another run.
    """
    check_replayed(samples, replayed)
    among = np.array([strangest(tokens).max() for tokens in real.tokens])
    threshold = float(np.quantile(among, 1 - RARE))
    peaks, borne = [], []
    for cost in replayed:
        strange, cumulative = strangest(-cost.logprob_base), cost.kl.cumsum()
        at = np.flatnonzero(strange > threshold)
        peaks.append(strange.max())
        borne.append(float(cumulative[at[0]] if len(at) else cumulative[-1]))
    highest, nats = np.array(peaks), np.array(borne)
    events = highest > threshold
    others = Beside(lambda subset: float((highest > np.quantile(among[subset], 1 - RARE)).mean()), len(among))
    share = replace(mean_of("broken down", events, perfect=_beyond(len(among)), empty=1.0), beside=others).estimate()
    return Breakdown(threshold, share, _per_nat(events, nats), *survival(nats, events))


def _beyond(real: int) -> float:
    """How often a real text is stranger than the quantile of so many others, which few of them put too low."""
    return 1 - ((1 - RARE) * (real - 1) + 1) / (real + 1)


def strangest(nll: np.ndarray) -> np.ndarray:
    """Return the mean negative log-likelihood of the last `WINDOW` tokens at each token, of fewer at the beginning.

    There, missing tokens count as nothing: one strange token alone breaks nothing down.
    """
    padded = np.concatenate([np.zeros(WINDOW - 1), nll])
    found: np.ndarray = np.convolve(padded, np.ones(WINDOW) / WINDOW, mode="valid")
    return found


def survival(times: np.ndarray, events: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the times of events in order, and the share that survives each: Kaplan and Meier's estimate.

    >>> times, surviving = survival(np.array([1.0, 2.0, 3.0, 4.0]), np.array([True, False, True, False]))
    >>> times.tolist(), surviving.tolist()
    ([1.0, 3.0], [0.75, 0.375])
    """
    at = np.unique(times[events])
    risk = np.array([(times >= time).sum() for time in at])
    gone = np.array([(events & (times == time)).sum() for time in at])
    return at, np.cumprod(1 - gone / risk) if len(at) else at


def _per_nat(events: np.ndarray, nats: np.ndarray) -> Estimate | None:
    if nats.sum() <= 0:
        return None
    low, high = poisson(int(events.sum()))
    return Estimate(
        name="breakdowns per nat",
        value=float(events.sum() / nats.sum()),
        low=low / float(nats.sum()),
        high=high / float(nats.sum()),
        n=len(nats),
    )
