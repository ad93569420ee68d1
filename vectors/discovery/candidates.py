"""What a discovery is: candidates, the texts that they were found in, and how each relates to what is known."""

import math
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from vectors.common.errors import InputError
from vectors.data.contrast import ContrastSet

TAIL = 0.1
"""Share of the texts that count as typical of a direction."""


@dataclass(frozen=True, kw_only=True)
class Likeness:
    """How a candidate relates to a known concept.

    Attributes:
        name: of the concept.
        auc: how well the candidate's score ranks texts written under that concept above texts written without it.
        cosine: of both directions, where they lie at one layer.
    """

    name: str
    auc: float
    cosine: float | None


@dataclass(frozen=True, eq=False, kw_only=True)
class Candidate:
    """One direction that texts differ along; its sign is such that its longer tail is that of texts with much of it.

    Attributes:
        number: from 1, the most telling first.
        part: what one standard deviation of its score adds to the stream, "d_model".
        filter: what reads its score, "d_model".
        scores: of each text, in the discovery's order: the mean over its own tokens, "texts".
        share: of the variance of single positions.
        skewness, kurtosis: of the texts' scores; 0 and 0 for a normal distribution, more where few texts have it.
        top, bottom: the tokens that the part speaks for, and against, by the logit lens.
        snippets, away: from each of the texts that have most of it, and least, the words around where most, or least,
            of it is read.
        like, unlike: the known concept that it, or its opposite, finds, if any.
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
    """What was found in some texts at one layer of a model.

    Attributes:
        model, model_hash: what read the texts.
        layer: 0-based block.
        method: of `vectors.discovery.decomposition.METHODS`.
        seed: of the sampling and the search.
        own: whether the model wrote the texts itself.
        texts: those that were read, in an order that hangs on themselves and the seed.
        means: the stream averaged over each text's own tokens, "texts d_model".
        candidates: the most telling first.
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
        """Return the places of the texts that are typical of a candidate, or of its opposite, the most typical first.

        Raises:
            InputError: no candidate of that number.
        """
        count = max(1, math.ceil(TAIL * len(self.texts)))
        return self.ranked(number, away=away)[:count]

    def ranked(self, number: int, *, away: bool = False) -> list[int]:
        """Return the places of all texts, those with most of a candidate, or of its opposite, first.

        Raises:
            InputError: no candidate of that number.
        """
        scores = self.candidate(number).scores * (-1 if away else 1)
        return [int(place) for place in torch.argsort(scores, descending=True, stable=True)]

    def candidate(self, number: int) -> Candidate:
        """Return a candidate by its number.

        Raises:
            InputError: there is none.
        """
        if not 1 <= number <= len(self.candidates):
            raise InputError(f"there is no candidate {number}: give a number from 1 to {len(self.candidates)}")
        return self.candidates[number - 1]

    def contrast(self, number: int, *, away: bool = False) -> ContrastSet:
        """Return the texts that are typical of a candidate, or of its opposite, beside all others.

        Raises:
            InputError: no candidate of that number.
        """
        chosen = set(self.typical(number, away=away))
        positive = tuple(text for place, text in enumerate(self.texts) if place in chosen)
        background = tuple(text for place, text in enumerate(self.texts) if place not in chosen)
        return ContrastSet(positive, background)
