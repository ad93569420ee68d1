"""The result of a discovery: candidate directions, the texts they were found in, and similar known concepts."""

import math
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from vectors.common.errors import InputError
from vectors.data.contrast import ContrastSet

TAIL = 0.1
"""Fraction of the texts that count as typical of a candidate."""


@dataclass(frozen=True, kw_only=True)
class Likeness:
    """How similar a candidate is to a known concept.

    Attributes:
        name: of the concept.
        auc: AUC of the candidate's score between texts sampled with that concept and texts sampled without it.
        cosine: between both directions if they are at the same layer.
    """

    name: str
    auc: float
    cosine: float | None


@dataclass(frozen=True, eq=False, kw_only=True)
class Candidate:
    """One direction along which texts differ, signed so that the scores of the texts are skewed to the right.

    Attributes:
        number: rank, from 1.
        part: the shift of the residual stream for one standard deviation of the score, "d_model".
        filter: the direction whose product with an activation is the score, "d_model".
        scores: score of each text, in the order of `Discovery.texts`: the mean over its tokens, "texts".
        share: fraction of the variance of single positions.
        skewness, kurtosis: of the texts' scores; a normal distribution has 0 and 0, a concept that few texts have has
            more.
        top, bottom: tokens whose logits the part raises, and lowers, most (logit lens).
        snippets, away: excerpts around the highest score, and the lowest, from the texts with the highest scores, and
            the lowest.
        like, unlike: the known concept that this direction, or its opposite, finds, if any.
    """

    number: int
    part: Float[Tensor, " d_model"] = field(repr=False)
    filter: Float[Tensor, " d_model"] = field(repr=False)
    scores: Float[Tensor, " texts"] = field(repr=False)
    share: float
    skewness: float
    kurtosis: float
    top: tuple[str, ...]
    bottom: tuple[str, ...]
    snippets: tuple[str, ...]
    away: tuple[str, ...]
    like: Likeness | None = None
    unlike: Likeness | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class Discovery:
    """The candidates found in a set of texts at one layer of a model.

    Attributes:
        model, model_hash: the model that read the texts.
        layer: 0-based block.
        method: one of `vectors.discovery.decomposition.METHODS`.
        seed: of the sampling and the decomposition.
        own: whether the model wrote the texts itself.
        texts: the texts, in an order that depends only on the texts and the seed.
        means: mean of the residual stream over the tokens of each text, "texts d_model".
        candidates: in the order of their rank.
    """

    model: str
    model_hash: str
    layer: int
    method: str
    seed: int
    own: bool
    texts: tuple[str, ...] = field(repr=False)
    means: Float[Tensor, "texts d_model"] = field(repr=False)
    candidates: tuple[Candidate, ...]

    def typical(self, number: int, *, away: bool = False) -> list[int]:
        """Return the indices of the tenth of the texts with the highest scores, or the lowest with `away`.

        Raises:
            InputError: no candidate of that number.
        """
        count = max(1, math.ceil(TAIL * len(self.texts)))
        return self.ranked(number, away=away)[:count]

    def ranked(self, number: int, *, away: bool = False) -> list[int]:
        """Return the indices of all texts from the highest score to the lowest, or reversed with `away`.

        Raises:
            InputError: no candidate of that number.
        """
        scores = self.candidate(number).scores * (-1 if away else 1)
        return [int(index) for index in torch.argsort(scores, descending=True, stable=True)]

    def candidate(self, number: int) -> Candidate:
        """Return a candidate by its number.

        Raises:
            InputError: no candidate of that number.
        """
        if not 1 <= number <= len(self.candidates):
            raise InputError(f"there is no candidate {number}: give a number from 1 to {len(self.candidates)}")
        return self.candidates[number - 1]

    def contrast(self, number: int, *, away: bool = False) -> ContrastSet:
        """Return a contrast set: the typical texts of a candidate, or of its opposite, and all others as background.

        Raises:
            InputError: no candidate of that number.
        """
        typical = set(self.typical(number, away=away))
        positive = tuple(text for index, text in enumerate(self.texts) if index in typical)
        background = tuple(text for index, text in enumerate(self.texts) if index not in typical)
        return ContrastSet(positive, background)
