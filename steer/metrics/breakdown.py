"""Breakdown: the cumulative pressure at which a text becomes less likely to the base model than real texts ever are."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from steer.metrics.pressure import check_costs
from steer.metrics.typicality import RealCosts
from steer.runs.sample_set import SampleSet
from steer.statistics.estimate import Estimate
from steer.statistics.intervals import poisson_interval
from steer.statistics.statistic import ReferenceTexts, mean_of
from vectors.decoding.token_costs import Cost

WINDOW = 8
"""Number of tokens whose negative log-likelihood is averaged."""

RARE = 0.01
"""Share of real texts whose windowed negative log-likelihood exceeds the threshold somewhere."""


@dataclass(frozen=True)
class Breakdown:
    """Which texts broke down, and at what cumulative pressure.

    Attributes:
        threshold: windowed negative log-likelihood, nats per token, that one real text in a hundred exceeds.
        share: share of texts that broke down.
        per_nat: number of breakdowns per nat of pressure up to them; `None` without any pressure.
        borne: cumulative pressures, nats, at which texts broke down, in order.
        surviving: estimated share of texts that have not broken down after each of these pressures.
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

    A text breaks down at the first token at which the mean negative log-likelihood of its last eight tokens, under the
    base model, exceeds the threshold: the 99th percentile of the maximum that real texts reach. A text that does not
    break down is a censored observation of the survival curve. With few real texts the threshold is biased downwards:
    `perfect` of the share takes that into account.

    Source: Kaplan and Meier, "Nonparametric estimation from incomplete observations" (1958).

    Args:
        samples: a run.
        replayed: token costs of its texts; see `steer.sampling.replay.replayed`.
        real: token costs of real texts that have what was steered to.

    Raises:
        InputError: no samples, or costs of another run.
    """
    check_costs(samples, replayed)
    real_peaks = np.array([windowed_nll(nll).max() for nll in real.tokens])
    threshold = float(np.quantile(real_peaks, 1 - RARE))
    peaks, pressures = [], []
    for cost in replayed:
        nll, cumulative = windowed_nll(-cost.logprob_base), cost.kl.cumsum()
        above = np.flatnonzero(nll > threshold)
        peaks.append(nll.max())
        pressures.append(float(cumulative[above[0]] if len(above) else cumulative[-1]))
    highest, nats = np.array(peaks), np.array(pressures)
    broken = highest > threshold
    reference = ReferenceTexts(
        lambda subset: float((highest > np.quantile(real_peaks[subset], 1 - RARE)).mean()), len(real_peaks)
    )
    statistic = mean_of("broken down", broken, perfect=_expected_share(len(real_peaks)), empty=1.0)
    share = replace(statistic, reference_texts=reference).estimate()
    return Breakdown(threshold, share, _per_nat(broken, nats), *kaplan_meier(nats, broken))


def _expected_share(real: int) -> float:
    """Return the probability that one more real text exceeds the 99th percentile estimated from so many others."""
    return 1 - ((1 - RARE) * (real - 1) + 1) / (real + 1)


def windowed_nll(nll: np.ndarray) -> np.ndarray:
    """Return at each token the negative log-likelihood of the last `WINDOW` tokens, divided by `WINDOW`.

    At the beginning of a text, missing tokens count as zero, so that a single unlikely token is no breakdown.
    """
    padded = np.concatenate([np.zeros(WINDOW - 1), nll])
    means: np.ndarray = np.convolve(padded, np.ones(WINDOW) / WINDOW, mode="valid")
    return means


def kaplan_meier(times: np.ndarray, events: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct times of events in order, and the Kaplan-Meier estimate of the share surviving each.

    Args:
        times: time of the event, or of the end of observation.
        events: whether the event was observed.

    >>> times, surviving = kaplan_meier(np.array([1.0, 2.0, 3.0, 4.0]), np.array([True, False, True, False]))
    >>> times.tolist(), surviving.tolist()
    ([1.0, 3.0], [0.75, 0.375])
    """
    event_times = np.unique(times[events])
    at_risk = np.array([(times >= time).sum() for time in event_times])
    deaths = np.array([(events & (times == time)).sum() for time in event_times])
    return event_times, np.cumprod(1 - deaths / at_risk) if len(event_times) else event_times


def _per_nat(broken: np.ndarray, nats: np.ndarray) -> Estimate | None:
    total = float(nats.sum())
    if total <= 0:
        return None
    events = int(broken.sum())
    low, high = poisson_interval(events)
    return Estimate(name="breakdowns per nat", value=events / total, low=low / total, high=high / total, n=len(nats))
