"""The input of an extraction: checked options, and texts that are split and tokenised once."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool, Float64
from torch import Tensor

from vectors.activations.contrast_moments import ContrastMoments
from vectors.activations.moments import Moments, moments
from vectors.activations.pooling import Pool, check_pool
from vectors.activations.text_activations import TokenIds, encode_by_text, text_means
from vectors.common.errors import InputError
from vectors.common.progress import Progress, count_progress
from vectors.common.validation import check_integer
from vectors.data.contrast import ContrastSet, check_share, pick_texts
from vectors.data.labels import contrast_of_label, held_out_mask, label_matrix
from vectors.extraction.shifts.learned_shift import Learning
from vectors.model.positions import check_positions
from vectors.model.residual_model import ResidualModel

MOST_ROWS = 4096
"""Most texts of each side whose activations are held one by one; this bounds the memory."""

_PAIRS = 256  # pairs whose activations are held at a time


def check_options(
    model: ResidualModel,
    *,
    calibrate: bool,
    positions: str | None = None,
    default_positions: str = "all",
    pool: Pool = "mean",
) -> str:
    """Check the options that all extractions share, and return the positions where the direction is added.

    Without `positions` they are the default of the method, or `all` for a model without a start token.

    Raises:
        InputError: a pilot for a model without a start token, or unknown positions or pool.
    """
    has_bos = model.bos_id is not None
    if calibrate and not has_bos:
        raise InputError(
            f"model {model.name!r} has no start token, so that no pilot can sample it without a prompt: pass "
            "calibrate=False (--no-calibrate)"
        )
    check_pool(pool)
    return check_positions(positions or (default_positions if has_bos else "all"), bos=has_bos)


@dataclass(frozen=True, eq=False, kw_only=True)
class ContrastSplit:
    """The texts of a concept, and which of them are held out.

    Attributes:
        whole: all texts.
        held_out: the texts that the direction is not found in.
        share: the requested share of texts to hold out.
        seed: of the split.
    """

    whole: ContrastSet
    held_out: ContrastSet
    share: float
    seed: int


@dataclass(frozen=True, eq=False)
class LabelledTexts:
    """Texts with several concepts, split into a part for fitting and a held-out part.

    Attributes:
        names: the concepts, sorted.
        texts: all texts.
        has: which text has which concept.
        is_held_out: which texts are held out.
        tokens: token ids by text.
        share: the requested share of texts to hold out.
        seed: of the split.
    """

    names: list[str]
    texts: list[str]
    has: Bool[np.ndarray, "texts concepts"]
    is_held_out: Bool[np.ndarray, " texts"]
    tokens: dict[str, TokenIds]
    share: float
    seed: int

    @property
    def fit(self) -> tuple[list[str], Bool[np.ndarray, "texts concepts"]]:
        """The texts for fitting, and which of them have which concept."""
        return self._part(~self.is_held_out)

    @property
    def held_out(self) -> tuple[list[str], Bool[np.ndarray, "texts concepts"]]:
        """The held-out texts, and which of them have which concept."""
        return self._part(self.is_held_out)

    def split(self, column: int) -> ContrastSplit:
        """Return the split of one concept; its background are the texts without it."""
        held_out, has = self.held_out
        whole_set = contrast_of_label(self.texts, self.has[:, column])
        return ContrastSplit(
            whole=whole_set, held_out=contrast_of_label(held_out, has[:, column]), share=self.share, seed=self.seed
        )

    def rows(self, texts: Sequence[str]) -> list[TokenIds]:
        """Return the token ids of some of the texts."""
        return [self.tokens[text] for text in texts]

    def _part(self, mask: np.ndarray) -> tuple[list[str], np.ndarray]:
        return [text for text, chosen in zip(self.texts, mask, strict=True) if chosen], self.has[mask]


def split_labelled_texts(
    model: ResidualModel, texts: Sequence[str], labels: Sequence[Collection[str]], *, held_out: float, seed: int
) -> LabelledTexts:
    """Check, tokenise and split labelled texts.

    Raises:
        InputError: texts and labels of unequal number, no label, a concept that too few texts have or lack, or a text
            without a token of its own.
    """
    share, seed = check_share(held_out), check_integer(seed, "seed")
    names, has = label_matrix(texts, labels)
    for column in range(len(names)):
        contrast_of_label(texts, has[:, column])  # refuses a concept that all or none of the texts have
    tokens = encode_by_text(model, texts)
    is_held_out = held_out_mask(texts, names, has, share=share, seed=seed)
    return LabelledTexts(names, list(texts), has, is_held_out, tokens, share, seed)


@dataclass(frozen=True, eq=False, kw_only=True)
class ExtractionInput:
    """The texts that a direction is found in, and how they are read.

    Attributes:
        model: the model that reads them.
        fit: the texts.
        tokens: token ids by text.
        layers: 0-based blocks where a direction is wanted.
        positions: where a shift will be added.
        pool: how a text's activations become one row.
        seed: of all random draws.
        words: the words that the method `token` leads to.
        objective: further terms of the loss of the method `learned`.
        known_moments: the moments of both sides by layer, if they have been read already.
        progress: called with what is being done, how much of it is done, and how much there is.
    """

    model: ResidualModel
    fit: ContrastSet
    tokens: Mapping[str, TokenIds]
    layers: tuple[int, ...]
    positions: str
    pool: Pool = "mean"
    seed: int = 0
    words: tuple[str, ...] = ()
    objective: Learning = field(default_factory=Learning)
    known_moments: Mapping[int, ContrastMoments] | None = None
    progress: Progress = lambda what, done, total: None
    _cache: dict[bool, dict[int, ContrastMoments]] = field(default_factory=dict, init=False, repr=False)

    def rows(self, texts: Iterable[str]) -> list[TokenIds]:
        """Return the token ids of some of the texts."""
        return [self.tokens[text] for text in texts]

    def weights(self, texts: Sequence[str]) -> Float64[Tensor, " texts"] | None:
        """Return the weights of some of the texts; `None` if no text has a weight."""
        if not self.fit.weights:
            return None
        return torch.tensor([self.fit.weights.get(text, 1.0) for text in texts], dtype=torch.float64)

    def moments(self, *, second: bool = False) -> dict[int, ContrastMoments]:
        """Return the moments of both sides by layer, with `second` moments on request; the texts are read once."""
        if self.known_moments is not None:
            return dict(self.known_moments)
        if True in self._cache:
            return self._cache[True]
        if second not in self._cache:
            count = self.counter("reading texts", len(self.fit.positive) + len(self.fit.background))
            positive, background = (
                moments(
                    self.model, self.rows(side), self.layers, second=second, pool=self.pool,
                    weights=self.weights(side), progress=count,
                )
                for side in (self.fit.positive, self.fit.background)
            )  # fmt: skip
            self._cache[second] = {layer: ContrastMoments(positive[layer], background[layer]) for layer in self.layers}
        return self._cache[second]

    def sampled_texts(self) -> tuple[list[str], list[str]]:
        """Return the texts of both sides, at most `MOST_ROWS` each, in an order that depends on the seed alone."""
        positive, background = (
            pick_texts(side, MOST_ROWS, self.seed) for side in (self.fit.positive, self.fit.background)
        )
        return positive, background

    def activations(self) -> dict[int, tuple[Float64[Tensor, "n d_model"], Float64[Tensor, "m d_model"]]]:
        """Return by layer the pooled activations of each of the `sampled_texts`."""
        texts = self.sampled_texts()
        count = self.counter("reading texts one by one", sum(map(len, texts)))
        positive, background = (self._activations_of(side, count) for side in texts)
        return {layer: (positive[layer], background[layer]) for layer in self.layers}

    def pair_differences(self) -> dict[int, Moments]:
        """Return by layer the moments of the difference between the two texts of each pair."""
        differences = {layer: Moments.empty(self.model.d_model, second=True) for layer in self.layers}
        count = self.counter("reading pairs", len(self.fit.positive))
        for start in range(0, len(self.fit.positive), _PAIRS):
            part = slice(start, start + _PAIRS)
            texts = self.fit.positive[part]
            positive, background = (
                self._activations_of(side[part]) for side in (self.fit.positive, self.fit.background)
            )
            for layer in self.layers:
                differences[layer].add(positive[layer] - background[layer], self.weights(texts))
            count(len(texts))
        return differences

    def counter(self, what: str, total: int) -> Callable[[int], None]:
        """Return a function that reports progress, called with the number of items that have been done since."""
        return count_progress(self.progress, what, total)

    def _activations_of(self, texts: Sequence[str], count: Callable[[int], None] | None = None) -> dict[int, Tensor]:
        rows = {layer: torch.zeros(len(texts), self.model.d_model, dtype=torch.float64) for layer in self.layers}
        for indices, means in text_means(self.model, self.rows(texts), self.layers, pool=self.pool):
            for layer in self.layers:
                rows[layer][indices] = means[layer].cpu().double()
            if count:
                count(len(indices))
        return rows
