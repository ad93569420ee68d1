"""The moments of both sides of every concept that texts are labelled with, from one reading of the texts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float64
from torch import Tensor

from vectors.activations.moments import Moments
from vectors.activations.pooling import Pool
from vectors.activations.text_activations import text_means
from vectors.model.residual_model import ResidualModel

Direction = Float64[Tensor, " d_model"]


@dataclass(frozen=True)
class ContrastMoments:
    """What was read at one layer: moments of the texts with the concept and of the background."""

    positive: Moments
    background: Moments

    @property
    def difference(self) -> Direction:
        """Mean of positives minus mean of background."""
        return self.positive.mean - self.background.mean


def mean_difference(reading: ContrastMoments) -> Direction:
    """Return the difference of the two means.

    Source: Marks and Tegmark, "The geometry of truth" (2023); Rimsky et al., "Steering Llama 2" (2023).
    """
    return reading.difference


def contrast_moments(
    model: ResidualModel,
    texts: Sequence[str],
    has: Bool[np.ndarray, "texts concepts"],
    layers: Sequence[int],
    *,
    second: bool = False,
    pool: Pool = "mean",
    progress: Callable[[int], None] | None = None,
) -> list[dict[int, ContrastMoments]]:
    """Return for each concept, by layer, the moments of the texts that have it and of the rest.

    Those of the rest are what is left of all, so that no text is taken twice.

    Args:
        model: the model that reads.
        texts: the texts.
        has: which of them have which concept.
        layers: 0-based blocks.
        second: whether second moments are wanted.
        pool: how a text's activations become one row.
        progress: told how many more texts are done.
    """
    own = [{at: Moments.empty(model.d_model, second=second) for at in layers} for _ in range(has.shape[1])]
    every = {at: Moments.empty(model.d_model, second=second) for at in layers}
    for places, means in text_means(model, texts, layers, pool=pool):
        for at in layers:
            rows = means[at].cpu()
            every[at].add(rows)
            for column, mine in enumerate(own):
                if len(chosen := np.flatnonzero(has[places, column])):
                    mine[at].add(rows[torch.from_numpy(chosen)])
        if progress:
            progress(len(places))
    return [{at: ContrastMoments(mine[at], every[at].without(mine[at])) for at in layers} for mine in own]
