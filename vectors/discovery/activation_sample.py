"""Sample the activations of texts: the mean of each text, and a seeded subset of single positions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from vectors.activations.text_activations import encode_by_text, token_activations
from vectors.common.rng import philox
from vectors.common.validation import check_integer
from vectors.data.contrast import pick_texts, shuffle_key
from vectors.model.residual_model import ResidualModel, check_finite

MAX_TEXTS = 4096
"""Texts to read at most; of more, those are taken that come first by a hash of the text and the seed."""

MAX_ROWS = 16_384
"""Single positions to keep at most, over all texts."""


@dataclass(frozen=True, eq=False)
class ActivationSample:
    """Activations of texts at one layer. BOS is not counted as a token of a text.

    Attributes:
        layer: 0-based block whose output was read.
        texts: the texts, in an order that depends only on the texts and the seed.
        means: mean of the residual stream over the tokens of each text, "texts d_model".
        lengths: number of tokens of each text, "texts".
        rows: the residual stream at single positions, "rows d_model".
    """

    layer: int
    texts: tuple[str, ...] = field(repr=False)
    means: Float[Tensor, "texts d_model"] = field(repr=False)
    lengths: Float[Tensor, " texts"] = field(repr=False)
    rows: Float[Tensor, "rows d_model"] = field(repr=False)

    def scores(
        self, filters: Float64[Tensor, "k d_model"], mean: Float64[Tensor, " d_model"]
    ) -> Float64[Tensor, "texts k"]:
        """Return the score of each text on each component: the mean over its tokens.

        Scores of texts shorter than half the median length are shrunk towards zero in proportion to their length,
        since a mean over three tokens is mostly noise.
        """
        shrinkage = (2 * self.lengths / self.lengths.median()).clamp(max=1).double()
        return (self.means.double() - mean) @ filters.T * shrinkage[:, None]


def sample_activations(
    model: ResidualModel,
    texts: Sequence[str],
    layers: Sequence[int],
    *,
    seed: int = 0,
    max_texts: int = MAX_TEXTS,
    max_rows: int = MAX_ROWS,
    progress: Callable[[int, int], None] | None = None,
) -> dict[int, ActivationSample]:
    """Read texts in one pass and return a sample of their activations by layer, in bounded memory.

    The sampled texts and positions depend on the texts and the seed, not on the order of the texts. Duplicates count
    once.

    Args:
        model: the model that reads the texts.
        texts: the texts to sample from.
        layers: 0-based blocks.
        seed: of the sampling.
        max_texts: number of texts to read at most.
        max_rows: number of positions to keep at most.
        progress: called with the number of texts read so far and the number of all.

    Raises:
        InputError: a text without a token of its own, or a layer that the model does not have.
        ModelError: activations that are not finite.

    >>> from vectors.model.residual_model import load_model
    >>> samples = sample_activations(load_model(), ["The tide turns.", "A cat purrs.", "The tide turns."], [2])
    >>> samples[2].means.shape, sorted(samples[2].texts)
    (torch.Size([2, 256]), ['A cat purrs.', 'The tide turns.'])
    """
    check_integer(max_texts, "max_texts", low=1)
    check_integer(max_rows, "max_rows", low=1)
    tokens = encode_by_text(model, texts)
    chosen = pick_texts(tokens, max_texts, seed)
    means = {layer: torch.zeros(len(chosen), model.d_model) for layer in layers}
    lengths = torch.zeros(len(chosen))
    reservoirs = {layer: _Reservoir(max_rows) for layer in layers}
    done = 0
    for indices, activations, own in token_activations(model, [tokens[text] for text in chosen], layers):
        counts = own.sum(dim=1).cpu()
        lengths[indices] = counts.float()
        keys = np.concatenate([_keys(chosen[i], seed, int(n)) for i, n in zip(indices, counts, strict=True)])
        for layer in layers:
            hidden = activations[layer].float()
            rows = hidden[own.to(hidden.device)].cpu()  # text by text
            check_finite(model, rows, f"activations at layer {layer}")
            sums = torch.zeros(len(indices), model.d_model)
            sums.index_add_(0, torch.repeat_interleave(torch.arange(len(indices)), counts), rows)
            means[layer][indices] = sums / counts[:, None]
            reservoirs[layer].add(keys, rows)
        done += len(indices)
        if progress:
            progress(done, len(chosen))
    return {
        layer: ActivationSample(layer, tuple(chosen), means[layer], lengths, reservoirs[layer].rows())
        for layer in layers
    }


def _keys(text: str, seed: int, count: int) -> np.ndarray:
    """Return a random key for each position of a text; the positions with the smallest keys are kept."""
    digest = shuffle_key(text, seed)
    return philox(int.from_bytes(digest[:8], "big"), int.from_bytes(digest[8:16], "big")).random(count)


class _Reservoir:
    """The rows with the smallest keys, whatever order they are added in."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._keys, self._rows = np.zeros(0), torch.zeros(0)

    def add(self, keys: np.ndarray, rows: Tensor) -> None:
        self._keys = np.concatenate([self._keys, keys])
        self._rows = torch.cat([self._rows, rows]) if len(self._rows) else rows
        order = np.argsort(self._keys, kind="stable")[: self._capacity]
        if len(order) < len(self._keys):
            self._keys, self._rows = self._keys[order], self._rows[order]

    def rows(self) -> Tensor:
        return self._rows[np.argsort(self._keys, kind="stable")]
