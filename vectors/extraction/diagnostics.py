"""Evidence for a direction: how well it ranks unseen texts, how stable it is, and which tokens and texts it favours."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from vectors.activations.contrast_moments import Direction
from vectors.activations.logit_lens import logit_lens_tokens
from vectors.activations.pooling import Pool
from vectors.activations.shifted_tokens import most_shifted_tokens
from vectors.activations.text_activations import TokenIds, encode_by_text, text_means
from vectors.activations.text_likelihood import likelihood_gains
from vectors.calibration.equal_pressure import Effect
from vectors.common.errors import SteerError
from vectors.common.option_names import ranks_by_gain
from vectors.common.statistics import auc, auc_interval, standardised_difference
from vectors.concepts.vector import ConceptVector
from vectors.data.contrast import ContrastSet, pick_texts
from vectors.extraction.extraction_input import ExtractionInput
from vectors.extraction.linear import normalise
from vectors.extraction.methods import Method
from vectors.model.residual_model import ResidualModel

TYPICAL = 3
"""Number of most typical texts that the evidence quotes."""

TOKENS = 8
"""Number of tokens at each end of a ranking of tokens."""

_SHIFTED_TEXTS = 32  # background texts in which shifted tokens are measured
_QUOTED_CHARACTERS = 160  # of each quoted text
_RANKED_TEXTS = 512  # texts that the most typical are chosen from, at most


@dataclass(frozen=True)
class LayerScore:
    """How well the direction of one layer ranks held-out texts, and what it does to samples.

    Attributes:
        layer: 0-based block.
        gap: the natural gap.
        auc: of the held-out texts.
        low: lower end of the 95 % interval of the AUC.
        high: upper end of the interval.
        standardised_difference: between the scores of both sides, in standard deviations.
        effect: success of samples under the direction, if it was measured.
    """

    layer: int
    gap: float
    auc: float
    low: float
    high: float
    standardised_difference: float
    effect: Effect | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        score = {"layer": self.layer, "gap": self.gap, "auc": self.auc, "low": self.low, "high": self.high}
        if self.effect is None:
            return score
        return score | {"success": self.effect.success, "pressure": self.effect.pressure, "n": self.effect.n}


def held_out_auc(
    model: ResidualModel, held_out: ContrastSet, directions: Mapping[int, Direction], gaps: Mapping[int, float],
    by_gain: bool, tokens: Mapping[str, TokenIds], *, positions: str, pool: Pool, seed: int,
) -> dict[int, LayerScore]:  # fmt: skip
    """Return by layer how well a direction ranks held-out texts.

    Args:
        model: the model that reads the texts.
        held_out: texts that the directions were not found in.
        directions: unit directions by layer.
        gaps: lengths of the shifts by layer.
        by_gain: rank texts by how much more likely the shift makes them; otherwise by their projection.
        tokens: token ids by text.
        positions: where the shift is added.
        pool: how the activations of a text become one row.
        seed: of the bootstrap interval.
    """
    positive, background = (
        _gains(model, rows, directions, gaps, positions) if by_gain else _projections(model, rows, directions, pool)
        for rows in ([tokens[text] for text in side] for side in (held_out.positive, held_out.background))
    )
    scores = {}
    for layer in directions:
        low, high = auc_interval(positive[layer], background[layer], seed=seed)
        scores[layer] = LayerScore(
            layer=layer,
            gap=gaps[layer],
            auc=auc(positive[layer], background[layer]),
            low=low,
            high=high,
            standardised_difference=standardised_difference(positive[layer], background[layer]),
        )
    return scores


def vector_auc(model: ResidualModel, vector: ConceptVector, texts: ContrastSet) -> float:
    """Return the AUC of a vector on texts that it was not found in, measured as in `extract`."""
    by_gain = ranks_by_gain(vector.method) or vector.positions == "bos"
    tokens = encode_by_text(model, [*texts.positive, *texts.background])
    return held_out_auc(
        model, texts, {vector.layer: vector.direction.double()}, {vector.layer: vector.scale}, by_gain, tokens,
        positions=vector.positions, pool="mean", seed=0,
    )[vector.layer].auc  # fmt: skip


def stability_of(data: ExtractionInput, method: Method, layer: int) -> float | None:
    """Return the cosine between the directions that a method finds in two halves of the texts; `None` if too few."""
    if not method.needs_texts:
        return None
    try:
        first, second = (
            normalise(method.find(replace(data, fit=half, layers=(layer,)))[layer], what="half of the texts' direction")
            for half in data.fit.split(held_out=0.5, seed=data.seed + 1)
        )
    except SteerError:
        return None
    return float(first @ second)


def evidence(
    model: ResidualModel,
    vector: ConceptVector,
    contrast: ContrastSet | None,
    tokens: Mapping[str, TokenIds],
    scores: Sequence[LayerScore],
    stability: float | None,
    *,
    auc_rows: Sequence[Mapping[str, Any]] = (),
    pool: Pool = "mean",
) -> dict[str, Any]:
    """Return the evidence for a vector as a plain JSON object.

    Its keys: `layers` has the score of each candidate layer. `tokens` has the tokens whose unembedding is nearest to
    the direction (`top`) and to its opposite (`bottom`). `moved` has the tokens that the natural gap makes more and
    less likely in texts of the background. `read` has, for a shift, the AUC of a difference of means at each layer (see
    `vectors.activations.layer_auc`). `stability` is the cosine between the directions of two halves of the texts.
    `texts` has the beginnings of the most typical positive texts.

    Args:
        model: the model.
        vector: the vector.
        contrast: its texts, if it has any.
        tokens: token ids by text.
        scores: of the candidate layers.
        stability: the value of `stability`, if it was measured.
        auc_rows: the value of `read`.
        pool: how the activations of a text become one row.
    """
    top, bottom = logit_lens_tokens(model, vector.direction, TOKENS)
    facts: dict[str, Any] = {
        "layers": [_rounded(score.to_dict()) for score in scores],
        "tokens": {"top": top, "bottom": bottom},
    }
    if contrast is not None:
        rows = [tokens[text] for text in pick_texts(contrast.background, _SHIFTED_TEXTS, 0)]
        top, bottom = most_shifted_tokens(model, vector, rows, TOKENS, shift=vector.gap)
        facts["moved"] = {"top": top, "bottom": bottom}
    if auc_rows:
        facts["read"] = [dict(row) for row in auc_rows]
    if stability is not None:
        facts["stability"] = round(stability, 4)
    if contrast is not None:
        facts["texts"] = _most_typical(model, vector, contrast.positive, tokens, pool)
    return facts


def _most_typical(
    model: ResidualModel, vector: ConceptVector, texts: Sequence[str], tokens: Mapping[str, TokenIds], pool: Pool
) -> list[str]:
    texts = pick_texts(dict.fromkeys(texts), _RANKED_TEXTS, 0)
    rows, directions = [tokens[text] for text in texts], {vector.layer: vector.direction.double()}
    if ranks_by_gain(vector.method):
        scores = _gains(model, rows, directions, {vector.layer: vector.gap}, vector.positions)
    else:
        scores = _projections(model, rows, directions, pool)
    best = np.argsort(scores[vector.layer], kind="stable")[::-1][:TYPICAL]
    return [beginning(texts[index]) for index in best]


def beginning(text: str) -> str:
    """A text on one line; a long text is cut after a word."""
    line = " ".join(text.split())
    return line if len(line) <= _QUOTED_CHARACTERS else f"{line[:_QUOTED_CHARACTERS].rsplit(' ', 1)[0]} …"


def _gains(
    model: ResidualModel, rows: Sequence[TokenIds], directions: Mapping[int, Direction], gaps: Mapping[int, float],
    positions: str,
) -> dict[int, list[float]]:  # fmt: skip
    """By layer how much more likely the shift makes each text."""
    return {
        layer: likelihood_gains(model, rows, {(layer, positions): direction * gaps[layer]})
        for layer, direction in directions.items()
    }


def _projections(
    model: ResidualModel, rows: Sequence[TokenIds], directions: Mapping[int, Direction], pool: Pool
) -> dict[int, list[float]]:
    """By layer the projection of each text on the direction."""
    scores = {layer: torch.zeros(len(rows), dtype=torch.float64) for layer in directions}
    for indices, means in text_means(model, rows, list(directions), pool=pool):
        for layer, direction in directions.items():
            scores[layer][indices] = means[layer].cpu().double() @ direction
    return {layer: values.tolist() for layer, values in scores.items()}


def _rounded(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: float(f"{value:.6g}") if isinstance(value, float) else value for key, value in row.items()}
