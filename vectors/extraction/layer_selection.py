"""From what a method found at each layer to one vector: the layer is chosen, and what speaks for it kept."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, zeros

from vectors.activations.contrast_moments import Direction
from vectors.activations.layer_auc import auc_by_layer
from vectors.calibration.calibrate import calibrate
from vectors.calibration.companions import find_companions
from vectors.calibration.layer_effect import Effect, best_of, effects
from vectors.calibration.word_judge import Judge, MentionJudge, WordJudge
from vectors.common.errors import VectorError
from vectors.concepts.vector import ConceptVector
from vectors.data.contrast import ContrastSet
from vectors.extraction.diagnostics import Row, evidence, held_out_auc, stability_of
from vectors.extraction.extraction_input import ExtractionInput
from vectors.extraction.linear import unit
from vectors.extraction.methods import METHODS, Method


@dataclass(frozen=True, eq=False)
class Found:
    """What a method found at each layer: directions of length one, how long a shift is at first, the background's mean.

    Attributes:
        method: its name in `METHODS`.
        directions, gaps, background: by layer.
    """

    method: str
    directions: dict[int, Direction]
    gaps: dict[int, float]
    background: dict[int, Tensor]


def find(material: ExtractionInput, method: str) -> Found:
    """Return what a method finds in some material.

    Raises:
        VectorError: texts that look alike to the model.
    """
    chosen = METHODS[method]
    found = chosen.find(material)
    directions = {at: unit(row, what=f"the {method} direction at layer {at}") for at, row in found.items()}
    if not chosen.needs_texts:
        nothing = {at: zeros(material.model.d_model) for at in directions}
        return Found(method, directions, {at: float(row.norm()) for at, row in found.items()}, nothing)
    readings = material.readings()
    if chosen.shift:
        gaps = {at: float(row.norm()) for at, row in found.items()}
    else:
        gaps = {at: float(directions[at] @ readings[at].difference) for at in directions}
    return Found(method, directions, gaps, {at: reading.background.mean for at, reading in readings.items()})


@dataclass(frozen=True, eq=False, kw_only=True)
class Sides:
    """The texts of a concept: all of them, and those that its direction has not seen.

    Attributes:
        whole: all texts.
        held: those held out.
        share, seed: of the split.
    """

    whole: ContrastSet
    held: ContrastSet
    share: float
    seed: int


def select_layer(
    name: str,
    found: Found,
    material: ExtractionInput,
    sides: Sides | None,
    *,
    by_effect: bool,
    several: bool,
    calibrated: bool,
    stability: bool,
) -> ConceptVector:
    """Return the vector of the layer that is best, with what there is to say of it.

    Args:
        name: of the concept.
        found: directions by layer.
        material: what they were found in.
        sides: the texts; none for a direction that was found without texts.
        by_effect: choose the layer by samples of the same pressure; else by how well it tells unseen texts apart.
        several: steer every layer at once.
        calibrated: find the unit by a pilot.
        stability: find the direction anew in either half of the texts.

    Raises:
        VectorError: a direction that points away from its texts.
    """
    model, positions, method = material.model, material.positions, METHODS[found.method]
    rows: dict[int, Row] = {}
    if sides is not None:
        rows = held_out_auc(
            model, sides.held, found.directions, found.gaps, method.shift, positions=positions, pool=material.pool,
            seed=material.seed,
        )  # fmt: skip
    judge = _judge(material, method, sides)
    tried = _tried(material, judge, found) if by_effect and judge is not None else {}
    rows = {at: replace(row, effect=tried.get(at)) for at, row in rows.items()}
    best = best_of(tried) if tried else _best(rows, list(found.directions))
    if found.gaps[best] <= 0:
        raise VectorError(
            f"concept {name!r}: the direction found at layer {best} points away from its texts (gap "
            f"{found.gaps[best]:.3g}): give more texts, another layer or another method"
        )
    split = sides is not None and not sides.whole.paired  # a text of a pair may be held out for the other's sake
    vector = ConceptVector(
        name=name,
        model=model.name,
        model_hash=model.hash,
        layer=best,
        direction=found.directions[best].float(),
        mean=found.background[best].float(),
        gap=found.gaps[best],
        method=found.method,
        positions=positions,
        contrast_hash=sides.whole.hash if sides else "",
        held_out=sides.share if sides and split else None,
        split_seed=sides.seed if sides and split else None,
        n_positive=len(sides.whole.positive) if sides else 0,
        n_background=len(sides.whole.background) if sides else 0,
        auc=rows[best].auc if rows else None,
        other_layers=_other_layers(found, best) if several else {},
    )
    stable = stability_of(material, method, found.directions[best], best) if stability and sides else None
    read: Sequence[Mapping[str, Any]] = ()
    if method.shift and sides:
        material.tell("reading texts layer by layer", 0, 0)
        read = auc_by_layer(model, material.fit, sides.held, pool=material.pool, seed=material.seed)
    told = evidence(
        model, vector, sides.whole if sides else None, list(rows.values()), stable, read=read, pool=material.pool
    )
    vector = replace(vector, evidence=told)
    if not calibrated or judge is None:
        return vector
    return calibrate(
        model, vector, sides.held if sides else None, judge=judge, seed=material.seed,
        progress=lambda what: material.tell(what, 0, 0), company=find_companions(model, vector, seed=material.seed),
    )  # fmt: skip


def _judge(material: ExtractionInput, method: Method, sides: Sides | None) -> Judge | None:
    """Who tells whether samples have the concept: one fit on held-out texts, or whether the words are mentioned."""
    if sides is not None:
        return WordJudge(sides.held.positive, sides.held.background)
    return None if method.needs_texts else MentionJudge(material.words)


def _tried(material: ExtractionInput, judge: Judge, found: Found) -> dict[int, Effect]:
    """What samples show at each layer; one layer has nothing to be compared with."""
    usable = {at: direction for at, direction in found.directions.items() if found.gaps[at] > 0}
    if len(usable) < 2:
        return {}
    return effects(
        material.model, usable, judge, starts=found.gaps, positions=material.positions, seed=material.seed,
        progress=material.counter("sampling layer by layer", len(usable)),
    )  # fmt: skip


def _best(rows: Mapping[int, Row], layers: Sequence[int]) -> int:
    return max(layers, key=lambda at: (rows[at].auc, rows[at].apart)) if rows else layers[0]


def _other_layers(found: Found, best: int) -> dict[int, Tensor]:
    """At every other layer its own natural gap, for each unit of length at the best."""
    away = [at for at, gap in found.gaps.items() if gap <= 0]
    if away:
        raise VectorError(f"the direction found at layer {away[0]} points away from its texts: leave that layer out")
    return {
        at: (direction * (found.gaps[at] / found.gaps[best])).float()
        for at, direction in found.directions.items()
        if at != best
    }
