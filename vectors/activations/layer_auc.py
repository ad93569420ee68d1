"""Where in the depth concepts can be read: how well a difference of means at each layer tells unseen texts apart."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool

from vectors.activations.contrast_moments import ContrastMoments, contrast_moments, mean_difference
from vectors.activations.pooling import Pool
from vectors.activations.text_activations import text_means
from vectors.common.statistics import auc, auc_interval
from vectors.data.contrast import ContrastSet, pick_texts
from vectors.model.residual_model import ResidualModel

LAYERS = 8
"""Layers that are looked at, at most, spread over the depth."""

MOST_TEXTS = 2048
"""Texts of each side that one concept's are found in, and told apart, at most."""


def layers_over_depth(n_layers: int) -> list[int]:
    """Return all layers or, of many, some that are spread evenly over the depth.

    >>> layers_over_depth(32)
    [0, 4, 8, 12, 16, 20, 24, 28]
    """
    return list(range(n_layers)) if n_layers <= LAYERS else [n_layers * place // LAYERS for place in range(LAYERS)]


def auc_by_layer(
    model: ResidualModel, fit: ContrastSet, held: ContrastSet, *, pool: Pool = "mean", seed: int = 0
) -> list[dict[str, Any]]:
    """Return for each layer the AUC of held-out texts along the difference of means, and its 95 % interval."""
    (known, known_has), (texts, has) = _both(fit, seed), _both(held, seed)
    found = contrast_moments(model, known, known_has, layers_over_depth(model.n_layers), pool=pool)
    return auc_by_concept_and_layer(model, found, texts, has, pool=pool, seed=seed)[0]


def auc_by_concept_and_layer(
    model: ResidualModel,
    found: Sequence[Mapping[int, ContrastMoments]],
    texts: Sequence[str],
    has: Bool[np.ndarray, "texts concepts"],
    *,
    pool: Pool = "mean",
    seed: int = 0,
) -> list[list[dict[str, Any]]]:
    """Return the same for each of several concepts, from one reading of the texts that are to be told apart.

    Args:
        model: the model that reads.
        found: by concept and layer, the moments of other texts.
        texts: texts that are not among those.
        has: which of them have which concept.
        pool: how a text's activations become one row.
        seed: of the interval.
    """
    layers = list(found[0])
    differences = {at: torch.stack([mean_difference(each[at]) for each in found]) for at in layers}
    scores = {at: torch.zeros(len(texts), len(found), dtype=torch.float64) for at in layers}
    for places, means in text_means(model, texts, layers, pool=pool):
        for at in layers:
            scores[at][places] = means[at].cpu().double() @ differences[at].T
    return [
        [_row(at, scores[at][:, column].numpy(), has[:, column], seed) for at in layers] for column in range(len(found))
    ]


def _row(layer: int, scores: np.ndarray, has: np.ndarray, seed: int) -> dict[str, Any]:
    positive, background = scores[has].tolist(), scores[~has].tolist()
    low, high = auc_interval(positive, background, seed=seed)
    found = {"auc": auc(positive, background), "low": low, "high": high}
    return {"layer": layer} | {key: float(f"{value:.6g}") for key, value in found.items()}


def _both(contrast: ContrastSet, seed: int) -> tuple[list[str], np.ndarray]:
    """Texts of both sides, the first of each by a hash of themselves and the seed; and which of them have it."""
    positive, background = (pick_texts(side, MOST_TEXTS, seed) for side in (contrast.positive, contrast.background))
    return [*positive, *background], np.array([[True]] * len(positive) + [[False]] * len(background))
