"""From a contrast set to a concept: find its direction, say how sure we are, and calibrate its unit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from torch import Tensor, zeros

from vectors.activations import check_texts
from vectors.checks import check_name, shown
from vectors.concept import ConceptVector
from vectors.contrast import ContrastSet
from vectors.directions import Direction, unit
from vectors.effect import best_of, effects
from vectors.errors import InputError, VectorError
from vectors.evidence import Row, evidence, stability_of, tell_apart
from vectors.judge import WordJudge
from vectors.material import Material, Progress
from vectors.methods import METHODS
from vectors.model import ResidualModel
from vectors.objective import Learning
from vectors.own import own_texts
from vectors.pilot import calibrate as calibrated
from vectors.pooling import Pool, check_pool
from vectors.positions import check_positions

CANDIDATES = 8
"""Layers that `auto` looks at, at most, spread over the depth."""

OWN = (64, 512)
"""Texts that the model writes where no background is given: as many as positives, but at least and at most so many."""


@dataclass(frozen=True)
class _Found:
    """What a method found at each layer: directions of length one, and how long a shift is at first."""

    directions: dict[int, Direction]
    gaps: dict[int, float]
    background: dict[int, Tensor]


def extract(
    model: ResidualModel,
    name: str,
    *,
    positive: Sequence[str] | None = None,
    background: Sequence[str] | None = None,
    method: str = "learned",
    layer: int | Sequence[int] | Literal["auto"] = "auto",
    positions: str | None = None,
    pool: Pool = "mean",
    paired: bool = False,
    weights: Mapping[str, float] | None = None,
    words: Sequence[str] | None = None,
    how: Learning | None = None,
    calibrate: bool = True,
    stability: bool = True,
    held_out: float = 0.25,
    seed: int = 0,
    progress: Progress | None = None,
) -> ConceptVector:
    """Find a concept's direction in texts that have it against texts that need not.

    `learned`, `gradient` and `weighted-difference` look at the first 64 tokens of each text, the other methods at as
    many as the model's context holds: where a concept shows later than that, cut the texts to where it does.

    The gap of a method that finds a shift is the length of that shift. The AUC is that of held-out texts, ranked by
    their projection on the direction or, for a shift, by how much likelier it makes them; where `auto` chose among
    layers by it, it is the best of them, and a little high for that.

    Args:
        model: the model to look in.
        name: what expressions will call the concept.
        positive: texts that have the concept; `token` needs none.
        background: texts of the same world that need not have it; without them, the model writes some by itself.
        method: one of `vectors.methods.METHODS`: `learned` raises the texts' likelihood by gradient, `gradient` goes
            one step of that way, `token` leads to words, the others read activations only.
        layer: 0-based block; several of them, for a vector that steers all of them at once; or `auto`: of a handful of
            layers the one at which samples of the same pressure most often show the concept. Without a pilot it is
            a quarter of the depth for `learned`, else the layer that best tells held-out texts apart and, of several
            that do so equally well, the one at which they lie farthest apart for their spread.
        positions: where the direction is added (see `sample`), and learned, and its unit found. Default: `bos` for
            `learned` where the model has a start token, else `all`. Means are read over a text's own tokens whatever
            this is.
        pool: how a text's activations become one row: `mean` over its own tokens, `last`, `no-max-norm`, or a function
            (see `vectors.pooling`).
        paired: whether a positive text and the background text of the same place are two versions of one text.
        weights: how much a text counts, 1 where nothing is said.
        words: for `token`, the words that it leads to; by default the concept's name.
        how: for `learned`, what it aims at besides likelier texts.
        calibrate: find the unit by a pilot of samples; else dose 1 stands for the natural gap.
        stability: find the direction twice more, in either half of the texts, for how nearly the two agree.
        held_out: share of the texts kept from the direction, for the AUC and for the pilot's judge.
        seed: of the split, the learning and the pilot.
        progress: called as the work goes on.

    Raises:
        InputError: unusable texts, an unknown method, a layer the model does not have.
        VectorError: texts that look alike to the model.
    """
    if method not in METHODS:
        raise InputError(f"method is {shown(method)}: choose from {', '.join(METHODS)}")
    chosen, name, has_bos = METHODS[method], check_name(name), model.bos_id is not None
    tell = progress or (lambda what, done, total: None)
    if calibrate and not has_bos:
        raise InputError(
            f"model {model.name!r} has no start token, so that no pilot can sample it without a prompt: pass "
            "calibrate=False (--no-calibrate)"
        )
    added_at = check_positions(positions or (chosen.positions if has_bos else "all"), bos=has_bos)
    layers = _layers(model, method, layer, choose=calibrate and positive is not None)
    check_pool(pool)
    contrast = _contrast(model, method, positive, background, paired, weights, seed, tell)
    fit, held = contrast.split(held_out=held_out, seed=seed) if contrast else (None, None)
    material = Material(
        model=model, fit=_seen(model, method, fit, seed, tell), layers=tuple(layers), positions=added_at, pool=pool,
        seed=seed, words=tuple(words or (name,)), how=how or Learning(), tell=tell,
    )  # fmt: skip
    found = _find(material, method)
    rows = {}
    if held is not None:
        rows = tell_apart(model, held, found.directions, found.gaps, chosen.shift, positions=added_at, pool=pool,
                          seed=seed)  # fmt: skip
        rows = _tried(model, held, found, rows, added_at, seed, tell) if layer == "auto" and calibrate else rows
    best = _best(rows, layers)
    if found.gaps[best] <= 0:
        raise VectorError(
            f"concept {name!r}: the direction found at layer {best} points away from its texts (gap "
            f"{found.gaps[best]:.3g}): give more texts, another layer or another method"
        )
    vector = ConceptVector(
        name=name,
        model=model.name,
        model_hash=model.hash,
        layer=best,
        direction=found.directions[best].float(),
        mean=found.background[best].float(),
        gap=found.gaps[best],
        method=method,
        positions=added_at,
        contrast_hash=contrast.hash if contrast else "",
        held_out=held_out if contrast and not paired else None,
        split_seed=seed if contrast and not paired else None,
        n_positive=len(contrast.positive) if contrast else 0,
        n_background=len(contrast.background) if contrast else 0,
        auc=rows[best].auc if best in rows else None,
        further=_further(found, layers, best) if not isinstance(layer, int | str) else {},
    )
    stable = stability_of(material, chosen, found.directions[best], best) if stability and contrast else None
    vector = replace(vector, evidence=evidence(model, vector, contrast, list(rows.values()), stable, pool=pool))
    if not calibrate or held is None:
        return vector
    return calibrated(model, vector, held, seed=seed, progress=lambda what: tell(what, 0, 0))


def _layers(model: ResidualModel, method: str, layer: int | Sequence[int] | str, *, choose: bool) -> list[int]:
    """Every layer that is looked at."""
    depth = METHODS[method].depths
    if layer == "auto":
        if depth and not choose:
            return [int(model.n_layers * depth[0])]
        shares = depth or tuple(np.arange(CANDIDATES) / CANDIDATES)
        spread = model.n_layers if not depth and model.n_layers <= CANDIDATES else 0
        return list(range(spread)) or sorted({int(model.n_layers * share) for share in shares})
    several = [layer] if isinstance(layer, int) else [] if isinstance(layer, str) else list(layer)
    if not several:
        raise InputError(f"layer is {shown(layer)}: give auto, the number of a block, or several of them")
    if len(several) > 1 and METHODS[method].shift:
        raise InputError(f"method {method!r} finds a shift that works at one layer by itself: give one layer")
    return sorted({model.check_layer(at) for at in several})


def _contrast(
    model: ResidualModel, method: str, positive: Sequence[str] | None, background: Sequence[str] | None,
    paired: bool, weights: Mapping[str, float] | None, seed: int, tell: Progress,
) -> ContrastSet | None:  # fmt: skip
    """The texts, those of the model in the place of a background that is not given."""
    if positive is None:
        if METHODS[method].needs_texts:
            raise InputError(f"method {method!r} needs texts that have the concept: give positive")
        if background is not None:
            raise InputError("there are background texts, but no positive ones: give both, or neither")
        return None
    if background is None:
        if paired:
            raise InputError("pairs have two sides: give background texts as well")
        background = _own(model, len(positive), seed, tell)
    contrast = ContrastSet(positive, background, paired=paired, weights=weights or {})
    for side in (contrast.positive, contrast.background):
        check_texts(model, side)
    return contrast


def _own(model: ResidualModel, like: int, seed: int, tell: Progress) -> list[str]:
    n, done = min(max(like, OWN[0]), OWN[1]), 0

    def more(count: int) -> None:
        nonlocal done
        done += count
        tell("writing texts of the model's own", done, n)

    return own_texts(model, n, seed=seed, progress=more)


def _seen(model: ResidualModel, method: str, fit: ContrastSet | None, seed: int, tell: Progress) -> ContrastSet:
    """What the method looks at."""
    if fit is None:
        blank = ["a", "b"]  # which nothing reads: the method looks at no texts
        return ContrastSet(blank[:1], blank[1:])
    if method != "mean-centred":
        return fit
    own = _own(model, len(fit.positive), seed + 1, tell)
    weights = {text: weight for text, weight in fit.weights.items() if text in set(fit.positive)}
    return ContrastSet(fit.positive, own, weights=weights)


def _find(material: Material, method: str) -> _Found:
    chosen = METHODS[method]
    found = chosen.find(material)
    directions = {at: unit(row, what=f"the {method} direction at layer {at}") for at, row in found.items()}
    if not chosen.needs_texts:
        nothing = {at: zeros(material.model.d_model) for at in directions}
        return _Found(directions, {at: float(row.norm()) for at, row in found.items()}, nothing)
    readings = material.readings()
    if chosen.shift:
        gaps = {at: float(row.norm()) for at, row in found.items()}
    else:
        gaps = {at: float(directions[at] @ readings[at].difference) for at in directions}
    return _Found(directions, gaps, {at: reading.background.mean for at, reading in readings.items()})


def _tried(
    model: ResidualModel, held: ContrastSet, found: _Found, rows: dict[int, Row], positions: str, seed: int,
    tell: Progress,
) -> dict[int, Row]:  # fmt: skip
    """The rows with what samples show at each layer; one layer has nothing to be compared with."""
    usable = {at: direction for at, direction in found.directions.items() if found.gaps[at] > 0}
    if len(usable) < 2:
        return rows
    done = 0

    def more(n: int) -> None:
        nonlocal done
        done += n
        tell("sampling layer by layer", done, len(usable))

    judge = WordJudge(held.positive, held.background)
    made = effects(model, usable, judge, starts=found.gaps, positions=positions, seed=seed, progress=more)
    return {at: replace(row, effect=made.get(at)) for at, row in rows.items()}


def _best(rows: Mapping[int, Row], layers: Sequence[int]) -> int:
    tried = {at: row.effect for at, row in rows.items() if row.effect is not None}
    if tried:
        return best_of(tried)
    return max(layers, key=lambda at: (rows[at].auc, rows[at].apart)) if rows else layers[0]


def _further(found: _Found, layers: Sequence[int], best: int) -> dict[int, Tensor]:
    """At every other layer its own natural gap, for each unit of length at the best."""
    away = [at for at in layers if found.gaps[at] <= 0]
    if away:
        raise VectorError(f"the direction found at layer {away[0]} points away from its texts: leave that layer out")
    return {at: (found.directions[at] * (found.gaps[at] / found.gaps[best])).float() for at in layers if at != best}
