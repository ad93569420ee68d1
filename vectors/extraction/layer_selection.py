"""From the directions of a method at each layer to one vector: choose the layer, measure it, and calibrate it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, zeros

from vectors.activations.contrast_moments import Direction
from vectors.activations.layer_auc import auc_by_layer
from vectors.calibration.calibrate import calibrate
from vectors.calibration.companions import find_companions
from vectors.calibration.equal_pressure import Effect
from vectors.calibration.layer_effect import best_layer, measure_effects
from vectors.calibration.word_judge import Judge, MentionJudge, WordJudge, accuracy
from vectors.common.errors import VectorError
from vectors.concepts.vector import ConceptVector, passport_of
from vectors.extraction.diagnostics import LayerScore, evidence, held_out_auc, stability_of
from vectors.extraction.extraction_input import ContrastSplit, ExtractionInput
from vectors.extraction.linear import normalise
from vectors.extraction.methods import METHODS
from vectors.model.positions import Site


@dataclass(frozen=True, eq=False)
class Directions:
    """Result of a method by layer: unit directions, natural gaps, and means of the background.

    Attributes:
        method: its name in `METHODS`.
        directions: unit vectors by layer.
        gaps: by layer the length of the shift or, for a method without one, the distance between the means of both
            sides along the direction.
        background: mean activation of the background by layer.
    """

    method: str
    directions: dict[int, Direction]
    gaps: dict[int, float]
    background: dict[int, Tensor]


def find_directions(data: ExtractionInput, method: str) -> Directions:
    """Return the directions that a method finds at the layers of its input.

    Raises:
        VectorError: texts of both sides that look alike to the model.
    """
    shifts = METHODS[method].find(data)
    directions = {
        layer: normalise(row, what=f"the {method} direction at layer {layer}") for layer, row in shifts.items()
    }
    lengths = {layer: float(row.norm()) for layer, row in shifts.items()}
    if not METHODS[method].needs_texts:
        return Directions(method, directions, lengths, {layer: zeros(data.model.d_model) for layer in directions})
    moments = data.moments()
    gaps = lengths
    if not METHODS[method].shift:
        gaps = {layer: float(direction @ moments[layer].difference) for layer, direction in directions.items()}
    return Directions(method, directions, gaps, {layer: sides.background.mean for layer, sides in moments.items()})


def select_layer(
    name: str,
    candidates: Directions,
    data: ExtractionInput,
    split: ContrastSplit | None,
    *,
    by_effect: bool,
    several: bool,
    calibrated: bool,
    stability: bool,
) -> ConceptVector:
    """Return the vector of the best layer, with its evidence and, on request, its unit.

    Args:
        name: of the concept.
        candidates: directions by layer.
        data: the input that they were found in.
        split: the texts; `None` for a direction that was found without texts.
        by_effect: choose the layer by samples at equal pressure; otherwise by the AUC of held-out texts.
        several: steer at all layers at once.
        calibrated: find the unit with a pilot.
        stability: find the direction again in each half of the texts, and compare the two.

    Raises:
        VectorError: a direction that points away from its texts.
    """
    model, method = data.model, METHODS[candidates.method]
    scores: dict[int, LayerScore] = {}
    if split is not None:
        scores = held_out_auc(
            model, split.held_out, candidates.directions, candidates.gaps, method.shift, data.tokens,
            positions=data.positions, pool=data.pool, seed=data.seed,
        )  # fmt: skip
    usable = [layer for layer, gap in candidates.gaps.items() if gap > 0]
    compare = by_effect and len(usable) > 1
    judge = _judge(data, split) if calibrated or compare else None
    effects = _effects(data, judge, candidates, usable) if compare and judge is not None else {}
    scores = {layer: replace(score, effect=effects.get(layer)) for layer, score in scores.items()}
    best = best_layer(effects) if effects else _best_auc(scores, list(candidates.directions))
    if candidates.gaps[best] <= 0:
        raise VectorError(
            f"concept {name!r}: the direction found at layer {best} points away from its texts (gap "
            f"{candidates.gaps[best]:.3g}): give more texts, another layer or another method"
        )
    # a text of a pair may be held out because the other one is, so the split cannot be repeated text by text
    reproducible = split is not None and not split.whole.paired
    vector = ConceptVector(
        name=name,
        model=model.name,
        model_hash=model.hash,
        passport=passport_of(model),
        layer=best,
        direction=candidates.directions[best].float(),
        mean=candidates.background[best].float(),
        gap=candidates.gaps[best],
        method=candidates.method,
        positions=data.positions,
        contrast_hash=split.whole.hash if split else "",
        held_out=split.share if split and reproducible else None,
        split_seed=split.seed if split and reproducible else None,
        n_positive=len(split.whole.positive) if split else 0,
        n_background=len(split.whole.background) if split else 0,
        auc=scores[best].auc if scores else None,
        other_shifts=_other_layers(candidates, best, data.positions) if several else {},
    )
    cosine = stability_of(data, method, best) if stability and split else None
    auc_rows: Sequence[Mapping[str, Any]] = ()
    if method.shift and split:
        data.progress("reading texts layer by layer", 0, 0)
        auc_rows = auc_by_layer(model, data.fit, split.held_out, data.tokens, pool=data.pool, seed=data.seed)
    vector = replace(
        vector,
        evidence=evidence(
            model, vector, split.whole if split else None, data.tokens, list(scores.values()), cosine,
            auc_rows=auc_rows, pool=data.pool,
        ),
    )  # fmt: skip
    if not calibrated or judge is None:
        return vector
    vector = calibrate(
        model, vector, judge=judge, seed=data.seed, progress=data.progress,
        company=find_companions(model, vector, seed=data.seed),
    )  # fmt: skip
    if split is None:
        return vector
    return replace(vector, unit_judge=accuracy(split.held_out.positive, split.held_out.background))


def _judge(data: ExtractionInput, split: ContrastSplit | None) -> Judge:
    """A judge of samples: fit on held-out texts or, without texts, looking for the words that were given."""
    if split is None:
        return MentionJudge(data.words)
    return WordJudge(split.held_out.positive, split.held_out.background)


def _effects(data: ExtractionInput, judge: Judge, candidates: Directions, layers: Sequence[int]) -> dict[int, Effect]:
    return measure_effects(
        data.model, {layer: candidates.directions[layer] for layer in layers}, judge, starts=candidates.gaps,
        positions=data.positions, seed=data.seed, progress=data.counter("sampling layer by layer", len(layers)),
    )  # fmt: skip


def _best_auc(scores: Mapping[int, LayerScore], layers: Sequence[int]) -> int:
    if not scores:
        return layers[0]
    return max(layers, key=lambda layer: (scores[layer].auc, scores[layer].standardised_difference))


def _other_layers(candidates: Directions, best: int, positions: str) -> dict[Site, Tensor]:
    """The shift at each other layer: its natural gap, for each unit of length at the best layer."""
    away = [layer for layer, gap in candidates.gaps.items() if gap <= 0]
    if away:
        raise VectorError(f"the direction found at layer {away[0]} points away from its texts: leave that layer out")
    return {
        (layer, positions): (direction * (candidates.gaps[layer] / candidates.gaps[best])).float()
        for layer, direction in candidates.directions.items()
        if layer != best
    }
