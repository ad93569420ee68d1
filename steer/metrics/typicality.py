"""Typicality: where the base-model likelihood of the texts lies among that of real texts; both tails are bad."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from jaxtyping import Float64

from steer.runs.sample_set import Sample, SampleSet
from steer.statistics.estimate import Estimate
from steer.statistics.statistic import ReferenceTexts, Statistic, mean_of, ratio_of
from vectors.common.errors import InputError
from vectors.common.progress import Advance
from vectors.common.validation import check_integer
from vectors.decoding.token_costs import token_logprobs
from vectors.model.residual_model import ResidualModel

CENTRAL = 0.9
"""Share of the real texts that count as typical: the middle ones by likelihood."""

MIN_REAL_TEXTS = 20
"""Minimum number of real texts that percentiles are computed among."""


@dataclass(frozen=True)
class RealCosts:
    """Negative log-likelihoods of real texts under the base model.

    Attributes:
        tokens: for each text, the negative log-likelihood of each token in nats.
    """

    tokens: tuple[np.ndarray, ...]

    @cached_property
    def nll(self) -> Float64[np.ndarray, " texts"]:
        """Mean negative log-likelihood of each text, nats per token."""
        return np.array([nll.mean() for nll in self.tokens])


def real_costs(
    model: ResidualModel, texts: Sequence[str], *, max_tokens: int = 128, progress: Advance | None = None
) -> RealCosts:
    """Return the negative log-likelihood of each token of real texts, including the end token.

    Args:
        model: the base model.
        texts: real texts.
        max_tokens: texts are cut to this length, as samples are.
        progress: called every few texts with the number of newly finished ones.

    Raises:
        InputError: fewer than 20 texts, or one without tokens.
        ModelError: a model without a start token.
    """
    if len(texts) < MIN_REAL_TEXTS:
        raise InputError(f"there are {len(texts)} real texts: give {MIN_REAL_TEXTS} or more")
    prefix, rows = token_rows(model, texts, max_tokens=max_tokens)
    logprobs = token_logprobs(model, {}, prefix=prefix, generated=rows, progress=progress)
    return RealCosts(tuple(-values for values in logprobs))


def percentiles(values: Float64[np.ndarray, " n"], real: Float64[np.ndarray, " texts"]) -> Float64[np.ndarray, " n"]:
    """Return the rank of each value among the real ones, scaled to (0, 1); ties have their mean rank.

    >>> percentiles(np.array([0.0, 2.0, 9.0]), np.array([1.0, 2.0, 3.0])).tolist()
    [0.125, 0.5, 0.875]
    """
    ranked = np.sort(real)
    ranks = (ranked.searchsorted(values, "left") + ranked.searchsorted(values, "right") + 1) / 2
    scaled: np.ndarray = ranks / (len(ranked) + 1)
    return scaled


def token_rows(
    model: ResidualModel, texts: Sequence[str], *, max_tokens: int | None = None
) -> tuple[list[int], list[list[int]]]:
    """Return the start tokens, and the tokens of each text with its end token, as if they had been sampled.

    A text longer than `max_tokens` is cut and has no end token.

    Raises:
        InputError: a text without tokens.
        ModelError: a model without a start token.
    """
    prefix, end = model.start_ids(), sorted(model.eos_ids)[:1]
    longest = model.max_context - len(prefix)
    if max_tokens is not None:
        longest = min(longest, check_integer(max_tokens, "max_tokens", low=1))
    rows = []
    for text, ids in zip(texts, model.encode(texts), strict=True):
        row = [*ids[len(prefix) :], *end]
        if len(row) <= len(end):
            raise InputError(f"text {text!r} has no token of its own: leave it out")
        rows.append(row[:longest])
    return list(prefix), rows


def typicality(samples: SampleSet, real: RealCosts) -> tuple[Estimate, ...]:
    """Return how the samples' base-model likelihoods compare with those of real texts.

    There are three estimates: the samples' negative log-likelihood in nats per token; the share of samples within the
    central 90 % of the real texts; and the mean two-sided percentile, `2 min(p, 1 - p)` where `p` is the percentile of
    a sample. The last is 1/2 for texts like the real ones and falls to 0 for texts that are too likely or too unlikely.

    Args:
        samples: a run.
        real: token costs of real texts that have what was steered to.

    Raises:
        InputError: fewer than two samples.
    """
    return tuple(statistic.estimate() for statistic in typicality_statistics(samples, real))


def typicality_statistics(samples: Sequence[Sample], real: RealCosts) -> list[Statistic]:
    """Return the three values of `typicality` as statistics."""
    nats = np.array([sample.base_nats for sample in samples])
    tokens = np.array([len(sample.tokens) for sample in samples])
    nll = nats / tokens

    def mean_score(name: str, score: Callable[[np.ndarray], np.ndarray], perfect: float) -> Statistic:
        # the percentiles also depend on which real texts there are
        reference = ReferenceTexts(
            lambda subset: float(score(percentiles(nll, real.nll[subset])).mean()), len(real.nll)
        )
        statistic = mean_of(name, score(percentiles(nll, real.nll)), perfect=perfect, empty=0.0)
        return replace(statistic, reference_texts=reference)

    return [
        ratio_of("base NLL", nats, tokens, perfect=float(np.concatenate(real.tokens).mean())),
        mean_score("typical", _is_central, CENTRAL),
        mean_score("typicality", _two_sided, 0.5),
    ]


def is_typical(samples: Sequence[Sample], real: RealCosts) -> np.ndarray:
    """Return for each sample whether its likelihood lies within the central 90 % of the real texts."""
    nll = np.array([sample.base_nats / len(sample.tokens) for sample in samples])
    return _is_central(percentiles(nll, real.nll))


def _is_central(percentile: np.ndarray) -> np.ndarray:
    edge = (1 - CENTRAL) / 2
    central: np.ndarray = (percentile >= edge) & (percentile <= 1 - edge)
    return central


def _two_sided(percentile: np.ndarray) -> np.ndarray:
    two_sided: np.ndarray = 2 * np.minimum(percentile, 1 - percentile)
    return two_sided
