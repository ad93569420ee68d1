"""Typicality: how likely the base model finds the texts by itself, among real texts; both tails are bad."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from jaxtyping import Float64

from steer.runs.sample_set import Sample, SampleSet
from steer.statistics.estimate import Estimate
from steer.statistics.statistic import Beside, Statistic, mean_of, ratio_of
from vectors.common.errors import InputError
from vectors.common.progress import Advance
from vectors.common.validation import check_integer
from vectors.decoding.token_costs import compute_costs
from vectors.model.residual_model import ResidualModel

CENTRAL = 0.9
"""Share of the real texts that count as typical: those in the middle."""

FEWEST = 20
"""Real texts that percentiles are taken from, at least."""


@dataclass(frozen=True)
class RealCosts:
    """What real texts cost the base model.

    Attributes:
        tokens: negative log-likelihood of each token in nats, text by text.
    """

    tokens: tuple[np.ndarray, ...]

    @cached_property
    def nll(self) -> Float64[np.ndarray, " texts"]:
        """Nats per token of each text."""
        return np.array([each.mean() for each in self.tokens])


def real_costs(
    model: ResidualModel, texts: Sequence[str], *, max_tokens: int = 128, progress: Advance | None = None
) -> RealCosts:
    """Return what real texts cost the base model, token by token, the end token included.

    Texts are read as a sampler of so many tokens would have written them; every few of them `progress` is called with
    how many more are done.

    Raises:
        InputError: fewer than 20 texts, or one that has no token.
        ModelError: a model without a start token.
    """
    if len(texts) < FEWEST:
        raise InputError(f"there are {len(texts)} real texts: give {FEWEST} or more")
    prefix, rows = token_rows(model, texts, max_tokens=max_tokens)
    found = compute_costs(model, {}, prefix=prefix, generated=rows, progress=progress)
    return RealCosts(tuple(-cost.logprob_base for cost in found))


def percentiles(values: Float64[np.ndarray, " n"], real: Float64[np.ndarray, " texts"]) -> Float64[np.ndarray, " n"]:
    """Return where each value lies among the real ones, in (0, 1), in the middle of those it ties with.

    >>> percentiles(np.array([0.0, 2.0, 9.0]), np.array([1.0, 2.0, 3.0])).tolist()
    [0.125, 0.5, 0.875]
    """
    ranked = np.sort(real)
    places = (ranked.searchsorted(values, "left") + ranked.searchsorted(values, "right") + 1) / 2
    found: np.ndarray = places / (len(ranked) + 1)
    return found


def token_rows(
    model: ResidualModel, texts: Sequence[str], *, max_tokens: int | None = None
) -> tuple[list[int], list[list[int]]]:
    """Return the start of every text, and each one's tokens as a sampler of so many would have written them.

    What is longer is cut there, without an end.

    Raises:
        InputError: a text that has no token.
        ModelError: a model without a start token.
    """
    prefix, end = model.start_ids(), sorted(model.eos_ids)[:1]
    longest = model.max_context - len(prefix)
    if max_tokens is not None:
        longest = min(longest, check_integer(max_tokens, "max_tokens", low=1))
    rows = []
    for text, ids in zip(texts, model.encode(texts), strict=True):
        own = [*ids[len(prefix) :], *end]
        if len(own) <= len(end):
            raise InputError(f"text {text!r} has no token of its own: leave it out")
        rows.append(own[:longest])
    return list(prefix), rows


def typicality(samples: SampleSet, real: RealCosts) -> tuple[Estimate, ...]:
    """Return how the samples' base-model likelihoods lie among those of real texts.

    Three figures: the samples' negative log-likelihood in nats per token; the share of them in the central nine tenths
    of the real texts; and the mean two-sided percentile, `2 min(p, 1 - p)` with `p` a sample's percentile, which is
    1/2 for texts like the real ones and falls to 0 for texts too bland as for texts too strange.

    Args:
        samples: a run.
        real: costs of real texts that have what was steered to.

    Raises:
        InputError: fewer than two samples.
    """
    return tuple(each.estimate() for each in typicalities_of(samples, real))


def typicalities_of(samples: Sequence[Sample], real: RealCosts) -> list[Statistic]:
    """Return the three figures of `typicality` as statistics."""
    nats = np.array([sample.base_nats for sample in samples])
    tokens = np.array([len(sample.tokens) for sample in samples])
    nll = nats / tokens

    def mean_rank(name: str, of: Callable[[np.ndarray], np.ndarray], perfect: float) -> Statistic:
        # with other real texts the percentiles would be others
        among = Beside(lambda subset: float(of(percentiles(nll, real.nll[subset])).mean()), len(real.nll))
        return replace(mean_of(name, of(percentiles(nll, real.nll)), perfect=perfect, empty=0.0), beside=among)

    mean = float(np.concatenate(real.tokens).mean())
    return [
        ratio_of("base NLL", nats, tokens, perfect=mean),
        mean_rank("typical", _central, CENTRAL),
        mean_rank("typicality", _two_sided, 0.5),
    ]


def is_typical(samples: Sequence[Sample], real: RealCosts) -> np.ndarray:
    """Return for each sample whether it lies in the central nine tenths of the real texts."""
    nll = np.array([sample.base_nats / len(sample.tokens) for sample in samples])
    return _central(percentiles(nll, real.nll))


def _central(percentile: np.ndarray) -> np.ndarray:
    edge = (1 - CENTRAL) / 2
    inside: np.ndarray = (percentile >= edge) & (percentile <= 1 - edge)
    return inside


def _two_sided(percentile: np.ndarray) -> np.ndarray:
    sided: np.ndarray = 2 * np.minimum(percentile, 1 - percentile)
    return sided
