"""How sure a direction is: how well it ranks texts it has not seen, whether halves agree, what it looks like."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch

from vectors.activations.contrast_moments import Direction
from vectors.activations.logit_lens import logit_lens_tokens
from vectors.activations.pooling import Pool
from vectors.activations.shifted_tokens import most_shifted_tokens
from vectors.activations.text_activations import text_means
from vectors.activations.text_likelihood import likelihood_gains
from vectors.calibration.layer_effect import Effect
from vectors.common.errors import SteerError
from vectors.common.option_names import ranks_by_gain
from vectors.common.statistics import auc, auc_interval, standardised_difference
from vectors.concepts.vector import ConceptVector
from vectors.data.contrast import ContrastSet, pick_texts
from vectors.extraction.extraction_input import ExtractionInput
from vectors.extraction.linear import unit
from vectors.extraction.methods import Method
from vectors.model.residual_model import ResidualModel

TYPICAL = 3
"""Texts that are shown."""

TOKENS = 8
"""At either end."""

_READ = 32  # texts that tokens are made likelier in
_SHOWN = 160  # characters of each text
_RANKED = 512  # texts that the most typical are chosen from, at most


@dataclass(frozen=True)
class Row:
    """How well one layer's direction tells held-out texts apart, and what it does to samples."""

    layer: int
    gap: float
    auc: float
    low: float
    high: float
    apart: float
    effect: Effect | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        facts = {"layer": self.layer, "gap": self.gap, "auc": self.auc, "low": self.low, "high": self.high}
        return facts if self.effect is None else facts | asdict(self.effect)


def held_out_auc(
    model: ResidualModel, held: ContrastSet, directions: Mapping[int, Direction], gaps: Mapping[int, float],
    by_gain: bool, *, positions: str, pool: Pool, seed: int,
) -> dict[int, Row]:  # fmt: skip
    """Return for each layer how well its direction ranks held-out texts."""
    sides = [
        _gains(model, side, directions, gaps, positions) if by_gain else _projections(model, side, directions, pool)
        for side in (held.positive, held.background)
    ]
    rows = {}
    for at in directions:
        positive, background = sides[0][at], sides[1][at]
        low, high = auc_interval(positive, background, seed=seed)
        rows[at] = Row(
            layer=at,
            gap=gaps[at],
            auc=auc(positive, background),
            low=low,
            high=high,
            apart=standardised_difference(positive, background),
        )
    return rows


def separation(model: ResidualModel, vector: ConceptVector, texts: ContrastSet) -> float:
    """Return how well a vector ranks texts that it was not found in: the AUC, which is measured as `extract` does."""
    by_gain = ranks_by_gain(vector.method) or vector.positions == "bos"
    return held_out_auc(
        model, texts, {vector.layer: vector.direction.double()}, {vector.layer: vector.scale}, by_gain,
        positions=vector.positions, pool="mean", seed=0,
    )[vector.layer].auc  # fmt: skip


def stability_of(material: ExtractionInput, method: Method, direction: Direction, layer: int) -> float | None:
    """Return the cosine between the directions that a method finds in either half of the texts; None for too few."""
    if not method.needs_texts:
        return None
    try:
        halves = material.fit.split(held_out=0.5, seed=material.seed + 1)
        found = []
        for half in halves:
            part = replace(material, fit=half, layers=(layer,))
            found.append(unit(method.find(part)[layer], what="half of the texts' direction"))
    except SteerError:
        return None
    return float(found[0] @ found[1])


def evidence(
    model: ResidualModel,
    vector: ConceptVector,
    contrast: ContrastSet | None,
    rows: Sequence[Row],
    stability: float | None,
    *,
    read: Sequence[Mapping[str, Any]] = (),
    pool: Pool = "mean",
) -> dict[str, Any]:
    """Return what there is to say of a direction, as plain JSON.

    `layers` has a row for each that was looked at, and `read`, of a shift, how well a difference of means would tell
    texts apart layer by layer (see `vectors.activations.layer_auc`); `stability` is the cosine between directions of
    two halves of the texts; `tokens` are those whose unembedding it lies nearest to, and farthest from, and `moved`
    those that its natural gap makes likelier and less likely in the background's texts; `texts` begin the most typical.
    """
    top, bottom = logit_lens_tokens(model, vector.direction, TOKENS)
    found: dict[str, Any] = {
        "layers": [_rounded(row.to_dict()) for row in rows],
        "tokens": {"top": top, "bottom": bottom},
    }
    some = pick_texts(contrast.background, _READ, 0) if contrast else []
    if some:
        top, bottom = most_shifted_tokens(model, vector, some, TOKENS, shift=vector.gap)
        found["moved"] = {"top": top, "bottom": bottom}
    if read:
        found["read"] = [dict(row) for row in read]
    if stability is not None:
        found["stability"] = round(stability, 4)
    if contrast is not None:
        found["texts"] = _typical(model, vector, contrast.positive, pool)
    return found


def _typical(model: ResidualModel, vector: ConceptVector, texts: Sequence[str], pool: Pool) -> list[str]:
    texts = pick_texts(dict.fromkeys(texts), _RANKED, 0)
    if ranks_by_gain(vector.method):
        shift = vector.direction.double()
        scores = _gains(model, texts, {vector.layer: shift}, {vector.layer: vector.gap}, vector.positions)
    else:
        scores = _projections(model, texts, {vector.layer: vector.direction.double()}, pool)
    best = np.argsort(scores[vector.layer], kind="stable")[::-1][:TYPICAL]
    return [_beginning(texts[place]) for place in best]


def _beginning(text: str) -> str:
    """A text on one line, cut behind a word where it is long."""
    whole = " ".join(text.split())
    return whole if len(whole) <= _SHOWN else f"{whole[:_SHOWN].rsplit(' ', 1)[0]} …"


def _gains(
    model: ResidualModel, texts: Sequence[str], directions: Mapping[int, Direction], gaps: Mapping[int, float],
    positions: str,
) -> dict[int, list[float]]:  # fmt: skip
    return {
        at: likelihood_gains(model, texts, layer=at, shift=direction * gaps[at], positions=positions)
        for at, direction in directions.items()
    }


def _projections(
    model: ResidualModel, texts: Sequence[str], directions: Mapping[int, Direction], pool: Pool
) -> dict[int, list[float]]:
    """The projections of texts, in their order."""
    found = {at: torch.zeros(len(texts), dtype=torch.float64) for at in directions}
    for places, means in text_means(model, texts, list(directions), pool=pool):
        for at, direction in directions.items():
            found[at][places] = means[at].cpu().double() @ direction
    return {at: scores.tolist() for at, scores in found.items()}


def _rounded(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: float(f"{value:.6g}") if isinstance(value, float) else value for key, value in row.items()}
