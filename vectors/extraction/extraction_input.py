"""What a direction is found in: texts of two sides, read once at every layer that is asked for."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float64
from torch import Tensor

from vectors.activations.contrast_moments import ContrastMoments
from vectors.activations.moments import Moments, moments
from vectors.activations.pooling import Pool
from vectors.activations.text_activations import text_means
from vectors.common.progress import Progress, count_progress
from vectors.data.contrast import ContrastSet, pick_texts
from vectors.extraction.learned_shift import Learning
from vectors.model.residual_model import ResidualModel

MOST_ROWS = 4096
"""Texts of each side that a method sees one by one, at most: memory is flat beyond."""

_PAIRS = 256  # that are held at a time


@dataclass(frozen=True, eq=False, kw_only=True)
class ExtractionInput:
    """The texts a direction is found in, and how they are read.

    Attributes:
        model: the model that reads them.
        fit: the texts.
        layers: 0-based blocks where a direction is wanted.
        positions: where a shift will be added.
        pool: how a text's activations become one row.
        seed: of whatever is drawn.
        words: what the concept is called, for methods that ask for tokens instead of texts.
        how: what learning aims at.
        given: the moments of both sides, where they are known.
        tell: told of the progress.
    """

    model: ResidualModel
    fit: ContrastSet
    layers: tuple[int, ...]
    positions: str
    pool: Pool = "mean"
    seed: int = 0
    words: tuple[str, ...] = ()
    how: Learning = field(default_factory=Learning)
    given: Mapping[int, ContrastMoments] | None = None
    tell: Progress = lambda what, done, total: None
    _read: dict[bool, dict[int, ContrastMoments]] = field(default_factory=dict, init=False, repr=False)

    def readings(self, *, second: bool = False) -> dict[int, ContrastMoments]:
        """Return the moments of both sides at each layer, read once; with the `second` ones too if asked for."""
        if self.given is not None:
            return dict(self.given)
        if True in self._read:
            return self._read[True]
        if second not in self._read:
            more = self.counter("reading texts", len(self.fit.positive) + len(self.fit.background))
            sides = [
                moments(
                    self.model, side, self.layers, second=second, pool=self.pool, weights=self.fit.weights,
                    progress=more,
                )
                for side in (self.fit.positive, self.fit.background)
            ]  # fmt: skip
            self._read[second] = {layer: ContrastMoments(sides[0][layer], sides[1][layer]) for layer in self.layers}
        return self._read[second]

    def rows(self) -> dict[int, tuple[Float64[Tensor, "n d_model"], Float64[Tensor, "m d_model"]]]:
        """Return the rows of at most `MOST_ROWS` texts of each side, in the order of `chosen`."""
        sides = self.chosen()
        more = self.counter("reading texts one by one", sum(map(len, sides)))
        read = [self._rows_of(side, more) for side in sides]
        return {layer: (read[0][layer], read[1][layer]) for layer in self.layers}

    def chosen(self) -> tuple[list[str], list[str]]:
        """Return the texts of both sides, or `MOST_ROWS` of them that hang on nothing but each text and the seed."""
        positive, background = (
            pick_texts(side, MOST_ROWS, self.seed) for side in (self.fit.positive, self.fit.background)
        )
        return positive, background

    def differences(self) -> dict[int, Moments]:
        """Return the moments of what sets the two texts of each pair apart."""
        found = {layer: Moments.empty(self.model.d_model, second=True) for layer in self.layers}
        more = self.counter("reading pairs", len(self.fit.positive))
        for start in range(0, len(self.fit.positive), _PAIRS):
            part = slice(start, start + _PAIRS)
            one, other = (self._rows_of(side[part]) for side in (self.fit.positive, self.fit.background))
            counts = torch.tensor(
                [self.fit.weights.get(text, 1.0) for text in self.fit.positive[part]], dtype=torch.float64
            )
            for layer in self.layers:
                found[layer].add(one[layer] - other[layer], counts)
            more(len(counts))
        return found

    def _rows_of(self, texts: Sequence[str], more: Callable[[int], None] | None = None) -> dict[int, Tensor]:
        rows = {layer: torch.zeros(len(texts), self.model.d_model, dtype=torch.float64) for layer in self.layers}
        for places, means in text_means(self.model, texts, self.layers, pool=self.pool):
            for layer in self.layers:
                rows[layer][places] = means[layer].cpu().double()
            if more:
                more(len(places))
        return rows

    def counter(self, what: str, total: int) -> Callable[[int], None]:
        """Return what tells how many more of something are done."""
        return count_progress(self.tell, what, total)
