"""The moments of both sides of every concept that texts are labelled with, from one reading of the texts."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Bool

from vectors.activations import Moments, text_means
from vectors.directions import Reading
from vectors.model import ResidualModel
from vectors.pooling import Pool


def readings(
    model: ResidualModel,
    texts: Sequence[str],
    has: Bool[np.ndarray, "texts concepts"],
    layers: Sequence[int],
    *,
    second: bool = False,
    pool: Pool = "mean",
    progress: Callable[[int], None] | None = None,
) -> list[dict[int, Reading]]:
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
    return [{at: Reading(mine[at], every[at].without(mine[at])) for at in layers} for mine in own]
