"""Activations kept for a search without labels: a mean a text, and a seeded sample of single positions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from vectors.activations.text_activations import token_activations
from vectors.common.errors import ModelError
from vectors.common.rng import philox
from vectors.common.validation import check_integer
from vectors.data.contrast import pick_texts, shuffle_key
from vectors.model.residual_model import ResidualModel

MOST_TEXTS = 4096
"""Texts read, at most: of more, those that come first by a hash of each text and the seed."""

MOST_ROWS = 16_384
"""Single positions kept, at most, of all texts together."""


@dataclass(frozen=True, eq=False)
class ActivationSample:
    """What was read of some texts at one layer.

    Attributes:
        layer: 0-based block whose output it is.
        texts: those that were read, in an order that hangs on themselves and the seed alone.
        means: the residual stream averaged over each text's own tokens, "texts d_model".
        lengths: how many own tokens each text has, "texts".
        rows: single positions of own tokens, "rows d_model".
    """

    layer: int
    texts: tuple[str, ...] = field(repr=False)
    means: Float[Tensor, "texts d_model"] = field(repr=False)
    lengths: Float[Tensor, " texts"] = field(repr=False)
    rows: Float[Tensor, "rows d_model"] = field(repr=False)

    def scores(
        self, filters: Float64[Tensor, "k d_model"], mean: Float64[Tensor, " d_model"]
    ) -> Float64[Tensor, "texts k"]:
        """Return how much of each component the texts have: the mean over their own tokens.

        Texts shorter than half the median count as if the rest of that had nothing of it: a mean over three tokens
        is mostly chance.
        """
        enough = (2 * self.lengths / self.lengths.median()).clamp(max=1).double()
        return (self.means.double() - mean) @ filters.T * enough[:, None]


def gather(
    model: ResidualModel,
    texts: Sequence[str],
    layers: Sequence[int],
    *,
    seed: int = 0,
    most_texts: int = MOST_TEXTS,
    most_rows: int = MOST_ROWS,
    progress: Callable[[int, int], None] | None = None,
) -> dict[int, ActivationSample]:
    """Read texts once and keep, by layer, what fits: memory is flat however many texts there are.

    Which texts and positions are kept hangs on each text and the seed, never on the order of the texts; copies of a
    text count once.

    Args:
        model: the model that reads.
        texts: what is read.
        layers: 0-based blocks.
        seed: of the sampling.
        most_texts: texts kept, at most.
        most_rows: positions kept, at most.
        progress: told how many texts are read, and of how many.

    Raises:
        InputError: a text without a token of its own, or a layer the model does not have.
        ModelError: activations that are not finite.

    >>> from vectors.model.residual_model import load_model
    >>> found = gather(load_model(), ["The tide turns.", "A cat purrs.", "The tide turns."], [2])[2]
    >>> found.means.shape, sorted(found.texts)
    (torch.Size([2, 256]), ['A cat purrs.', 'The tide turns.'])
    """
    check_integer(most_texts, "most_texts", low=1)
    check_integer(most_rows, "most_rows", low=1)
    chosen = pick_texts(set(texts), most_texts, seed)
    means = {layer: torch.zeros(len(chosen), model.d_model) for layer in layers}
    lengths = torch.zeros(len(chosen))
    kept = {layer: _Reservoir(most_rows) for layer in layers}
    done = 0
    for places, read, own in token_activations(model, chosen, layers):
        counts = own.sum(dim=1).cpu()
        lengths[places] = counts.float()
        keys = np.concatenate([_keys(chosen[place], seed, int(n)) for place, n in zip(places, counts, strict=True)])
        for layer in layers:
            hidden = read[layer].float()
            rows = hidden[own.to(hidden.device)].cpu()  # text by text
            if not bool(rows.isfinite().all()):
                raise ModelError(
                    f"activations of model {model.name!r} at layer {layer} are not finite: load it in float32"
                )
            sums = torch.zeros(len(places), model.d_model)
            sums.index_add_(0, torch.repeat_interleave(torch.arange(len(places)), counts), rows)
            means[layer][places] = sums / counts[:, None]
            kept[layer].add(keys, rows)
        done += len(places)
        if progress:
            progress(done, len(chosen))
    return {
        layer: ActivationSample(layer, tuple(chosen), means[layer], lengths, kept[layer].rows()) for layer in layers
    }


def _keys(text: str, seed: int, count: int) -> np.ndarray:
    """A number for each position of a text, by which a sample of all positions is taken."""
    digest = shuffle_key(text, seed)
    return philox(int.from_bytes(digest[:8], "big"), int.from_bytes(digest[8:16], "big")).random(count)


class _Reservoir:
    """The rows with the smallest keys, whatever order they come in."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._keys, self._rows = np.zeros(0), torch.zeros(0)

    def add(self, keys: np.ndarray, rows: Tensor) -> None:
        self._keys = np.concatenate([self._keys, keys])
        self._rows = torch.cat([self._rows, rows]) if len(self._rows) else rows
        order = np.argsort(self._keys, kind="stable")[: self._most]
        if len(order) < len(self._keys):
            self._keys, self._rows = self._keys[order], self._rows[order]

    def rows(self) -> Tensor:
        return self._rows[np.argsort(self._keys, kind="stable")]
