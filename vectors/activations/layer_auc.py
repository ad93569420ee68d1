"""Held-out AUC by layer: how well the difference of means separates unseen texts."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool

from vectors.activations.contrast_moments import ContrastMoments, contrast_moments, mean_difference
from vectors.activations.pooling import Pool
from vectors.activations.text_activations import TokenIds, text_means
from vectors.common.statistics import auc, auc_interval
from vectors.data.contrast import ContrastSet, pick_texts
from vectors.model.residual_model import ResidualModel

LAYERS = 8
"""Maximum number of layers, evenly spaced over the depth."""

MOST_TEXTS = 2048
"""Maximum number of texts of each side, in the fitting set and in the held-out set."""


def layers_over_depth(n_layers: int) -> list[int]:
    """Return all layers, or eight evenly spaced ones of a deeper model.

    >>> layers_over_depth(32)
    [0, 4, 8, 12, 16, 20, 24, 28]
    """
    return list(range(n_layers)) if n_layers <= LAYERS else [n_layers * step // LAYERS for step in range(LAYERS)]


def auc_by_layer(
    model: ResidualModel,
    fit: ContrastSet,
    held: ContrastSet,
    tokens: Mapping[str, TokenIds],
    *,
    pool: Pool = "mean",
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Return for each layer the AUC of held-out texts along the difference of means, with its 95 % interval.

    `tokens` maps each text to its token ids.
    """
    (fit_rows, fit_has), (rows, has) = _labelled_rows(fit, tokens, seed), _labelled_rows(held, tokens, seed)
    moments = contrast_moments(model, fit_rows, fit_has, layers_over_depth(model.n_layers), pool=pool)
    return auc_by_concept_and_layer(model, moments, rows, has, pool=pool, seed=seed)[0]


def auc_by_concept_and_layer(
    model: ResidualModel,
    moments: Sequence[Mapping[int, ContrastMoments]],
    rows: Sequence[TokenIds],
    has: Bool[np.ndarray, "texts concepts"],
    *,
    pool: Pool = "mean",
    seed: int = 0,
) -> list[list[dict[str, Any]]]:
    """Return for each concept what `auc_by_layer` returns for one, from one pass over the held-out texts.

    Args:
        model: the model.
        moments: for each concept, by layer, the moments of the fitting texts.
        rows: the token ids of the held-out texts.
        has: whether a held-out text has a concept.
        pool: how the activations of a text become one row.
        seed: seed of the bootstrap interval.
    """
    layers = list(moments[0])
    differences = {layer: torch.stack([mean_difference(concept[layer]) for concept in moments]) for layer in layers}
    scores = {layer: torch.zeros(len(rows), len(moments), dtype=torch.float64) for layer in layers}
    for indices, means in text_means(model, rows, layers, pool=pool):
        for layer in layers:
            scores[layer][indices] = means[layer].cpu().double() @ differences[layer].T
    return [
        [_row(layer, scores[layer][:, column].numpy(), has[:, column], seed) for layer in layers]
        for column in range(len(moments))
    ]


def _row(layer: int, scores: np.ndarray, has: np.ndarray, seed: int) -> dict[str, Any]:
    positive, background = scores[has].tolist(), scores[~has].tolist()
    low, high = auc_interval(positive, background, seed=seed)
    values = {"auc": auc(positive, background), "low": low, "high": high}
    return {"layer": layer} | {key: float(f"{value:.6g}") for key, value in values.items()}


def _labelled_rows(
    contrast: ContrastSet, tokens: Mapping[str, TokenIds], seed: int
) -> tuple[list[TokenIds], np.ndarray]:
    """Return the tokens of up to `MOST_TEXTS` texts a side, picked by hash and seed, and which are positive."""
    positive, background = (pick_texts(side, MOST_TEXTS, seed) for side in (contrast.positive, contrast.background))
    has = np.array([[True]] * len(positive) + [[False]] * len(background))
    return [tokens[text] for text in (*positive, *background)], has
