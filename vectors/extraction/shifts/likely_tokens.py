"""Compare next-token distributions over a large vocabulary by the tokens that are likely and a sample of the others."""

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import log_softmax

from vectors.common.rng import Stream, rng
from vectors.model.output_head import logit_chunks, logits_of
from vectors.model.residual_model import ResidualModel

LIKELY = 8192
"""Tokens that are always compared; a vocabulary of twice as many is compared whole."""

OTHERS = 2048
"""Tokens drawn from the rest, which stand for all of it."""


@dataclass(frozen=True, eq=False)
class LikelyTokens:
    """The likely tokens of some texts.

    The log-probabilities that `log_probs` returns estimate those of the whole vocabulary: the drawn tokens count
    as many times as there are unlikely tokens for each of them.
    Source: Jean et al., "On using very large target vocabulary for neural machine translation" (2015).

    Attributes:
        likely: ids of the likely tokens, or of all tokens of a small vocabulary, in order.
        rest: ids of all others.
        share: share of the probability that the likely tokens have in the texts.
    """

    likely: Int[Tensor, " likely"]
    rest: Int[Tensor, " rest"]
    share: float

    def draw(self, seed: int, step: int) -> Int[Tensor, " drawn"]:
        """Return the ids of the tokens to compare in one step."""
        if not len(self.rest):
            return self.likely
        drawn = rng(seed, step, Stream.FIT, part=1).choice(len(self.rest), size=self._n_others, replace=False)
        return torch.cat([self.likely, self.rest[torch.from_numpy(np.sort(drawn))]])

    def log_probs(
        self, model: ResidualModel, states: Float[Tensor, "n width"], tokens: Int[Tensor, " drawn"]
    ) -> Float[Tensor, "n drawn"]:
        """Return the log-probabilities of the drawn tokens; each drawn unlikely one stands for several of its kind."""
        logits = logits_of(model, states, tokens)
        if len(self.rest):
            logits = torch.cat(
                [logits[:, : len(self.likely)], logits[:, len(self.likely) :] + self._weight_of_others], dim=1
            )
        return log_softmax(logits, dim=-1)

    def including(self, ids: Collection[int]) -> "LikelyTokens":
        """Return the same with some further ids among the likely ones."""
        if not len(self.rest):
            return self
        is_new = torch.isin(self.rest, torch.tensor(sorted(ids), dtype=torch.long))
        likely = torch.cat([self.likely, self.rest[is_new]]).sort().values
        return replace(self, likely=likely, rest=self.rest[~is_new])

    @property
    def _n_others(self) -> int:
        return min(OTHERS, len(self.rest))

    @property
    def _weight_of_others(self) -> float:
        return math.log(len(self.rest) / self._n_others)


def likely_tokens(
    model: ResidualModel, states: Iterable[Float[Tensor, "_ width"]], vocabulary: int, also: Iterable[int] = ()
) -> LikelyTokens:
    """Return the tokens with the largest mean probability over some final states, and some others.

    Args:
        model: the model.
        states: what the head reads, a few batches.
        vocabulary: number of logits.
        also: ids that count as likely in any case.
    """
    if vocabulary <= 2 * LIKELY:
        return LikelyTokens(torch.arange(vocabulary), torch.zeros(0, dtype=torch.long), 1.0)
    total = torch.zeros(vocabulary)
    with torch.no_grad():
        for batch in states:
            for _, (logits,) in logit_chunks(model, batch):
                total += logits.softmax(dim=-1).sum(dim=0).cpu()
    is_likely = torch.zeros(vocabulary, dtype=torch.bool)
    is_likely[total.argsort(descending=True)[:LIKELY]] = True
    is_likely[sorted(set(also))] = True
    share = float(total[is_likely].sum() / total.sum())
    return LikelyTokens(is_likely.nonzero()[:, 0], (~is_likely).nonzero()[:, 0], share)
