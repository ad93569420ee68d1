"""Moments of both sides of every labelled concept, from one pass over the texts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float64
from torch import Tensor

from vectors.activations.moments import Moments
from vectors.activations.pooling import Pool
from vectors.activations.text_activations import TokenIds, text_means
from vectors.model.residual_model import ResidualModel

Direction = Float64[Tensor, " d_model"]


@dataclass(frozen=True)
class ContrastMoments:
    """Moments at one layer of the texts with a concept, and of the background texts."""

    positive: Moments
    background: Moments

    @property
    def difference(self) -> Direction:
        """Mean of positives minus mean of background."""
        return self.positive.mean - self.background.mean


def mean_difference(moments: ContrastMoments) -> Direction:
    """Return the difference of the two means.

    Source: Marks and Tegmark, "The geometry of truth" (2023); Rimsky et al., "Steering Llama 2" (2023).
    """
    return moments.difference


def contrast_moments(
    model: ResidualModel,
    rows: Sequence[TokenIds],
    has: Bool[np.ndarray, "texts concepts"],
    layers: Sequence[int],
    *,
    second: bool = False,
    pool: Pool = "mean",
    progress: Callable[[int], None] | None = None,
) -> list[dict[int, ContrastMoments]]:
    """Return for each concept and layer the moments of the texts that have the concept, and of all other texts.

    The moments of the other texts are those of all texts minus those of the positives, so each text is added once.

    Args:
        model: the model.
        rows: the token ids of the texts, see `encode_texts`.
        has: whether a text has a concept.
        layers: 0-based blocks.
        second: whether to compute second moments.
        pool: how the activations of a text become one row.
        progress: called with the number of further texts.
    """
    positives = [{layer: Moments.empty(model.d_model, second=second) for layer in layers} for _ in range(has.shape[1])]
    total = {layer: Moments.empty(model.d_model, second=second) for layer in layers}
    for indices, means in text_means(model, rows, layers, pool=pool):
        for layer in layers:
            batch = means[layer].cpu()
            total[layer].add(batch)
            for column, positive in enumerate(positives):
                if len(selected := np.flatnonzero(has[indices, column])):
                    positive[layer].add(batch[torch.from_numpy(selected)])
        if progress:
            progress(len(indices))
    return [
        {layer: ContrastMoments(positive[layer], total[layer].without(positive[layer])) for layer in layers}
        for positive in positives
    ]
