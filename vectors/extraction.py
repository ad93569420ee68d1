"""From a contrast set to a concept: find its direction, say how sure we are, and calibrate its unit."""

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from torch import Tensor

from vectors.activations import check_texts, moments, text_means
from vectors.checks import check_name
from vectors.concept import ConceptVector
from vectors.contrast import ContrastSet
from vectors.directions import Reading, mean_difference, pca, unit
from vectors.errors import InputError, VectorError
from vectors.learned import STEPS, learn
from vectors.model import ResidualModel
from vectors.nll import gains
from vectors.pilot import calibrate as calibrated
from vectors.positions import check_positions

METHODS = ("learned", "mean-difference", "pca")
LEARNED_DEPTH = 0.25
"""Layer of a learned direction, as a share of the depth (see benchmarks/RESULTS.md)."""

Progress = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and how much there is."""


def extract(
    model: ResidualModel,
    name: str,
    *,
    positive: Sequence[str],
    background: Sequence[str],
    method: str = "learned",
    layer: int | Literal["auto"] = "auto",
    positions: str | None = None,
    calibrate: bool = True,
    held_out: float = 0.25,
    seed: int = 0,
    progress: Progress | None = None,
) -> ConceptVector:
    """Find a concept's direction in texts that have it against texts that need not.

    `learned` looks at the first 64 tokens of each text, the other methods at as many as the model's context holds:
    where a concept shows later than that, cut the texts to where it does.

    The gap of a learned direction is the length of the shift that was learned. The AUC is that of held-out texts,
    ranked by their projection on the direction or, for a learned one, by how much likelier the shift makes them; where
    `auto` chose among layers by it, it is the best of them, and a little high for that.

    Args:
        model: the model to look in.
        name: what expressions will call the concept.
        positive: texts that have the concept.
        background: texts of the same world that need not have it.
        method: `learned` raises the texts' likelihood by gradient; `mean-difference` and `pca` read activations only.
        layer: 0-based block, or `auto`: a quarter of the depth for `learned`, else the layer that best tells held-out
            texts apart and, of several that do so equally well, the one at which they lie farthest apart for their
            spread.
        positions: where the direction is added (see `sample`), and learned, and its unit found. Default: `bos` for
            `learned` where the model has a start token, else `all`. Means are read over a text's own tokens whatever
            this is.
        calibrate: find the unit by a pilot of samples; else dose 1 stands for the natural gap.
        held_out: share of the texts kept from the direction, for the AUC and for the pilot's judge.
        seed: of the split, the learning and the pilot.
        progress: called as the work goes on.

    Raises:
        InputError: unusable texts, an unknown method, a layer the model does not have.
        VectorError: texts that look alike to the model.
    """
    if method not in METHODS:
        raise InputError(f"method is {method!r}: choose from {', '.join(METHODS)}")
    name = check_name(name)
    if calibrate and model.bos_id is None:
        raise InputError(
            f"model {model.name!r} has no start token, so that no pilot can sample it without a prompt: pass "
            "calibrate=False (--no-calibrate)"
        )
    has_bos = model.bos_id is not None
    added_at = check_positions(positions or ("bos" if method == "learned" and has_bos else "all"), bos=has_bos)
    contrast = ContrastSet(positive, background)
    fit, held = contrast.split(held_out=held_out, seed=seed)
    layers = _layers(model, method, layer)
    for side in (contrast.positive, contrast.background):
        check_texts(model, side)
    tell = progress or (lambda what, done, total: None)

    readings = _read(model, fit, layers, second=method == "pca", tell=tell)
    if method == "learned":
        found = {at: _learned(model, fit, at, added_at, seed, tell) for at in layers}
        gaps = {at: float(found[at].norm()) for at in layers}
        apart = {at: _gained(model, held, at, found[at], added_at) for at in layers}
    else:
        found = {at: (mean_difference if method == "mean-difference" else pca)(readings[at]) for at in layers}
    directions = {at: unit(found[at], what=f"the {method} direction at layer {at}") for at in layers}
    if method != "learned":
        gaps = {at: float(directions[at] @ readings[at].difference) for at in layers}
        apart = _projected(model, held, directions)
    best = max(layers, key=lambda at: apart[at])
    gap = gaps[best]
    if gap <= 0:
        raise VectorError(
            f"concept {name!r}: the direction found at layer {best} points away from its texts (gap {gap:.3g}): "
            "give more texts, another layer or another method"
        )
    vector = ConceptVector(
        name=name,
        model=model.name,
        model_hash=model.hash,
        layer=best,
        direction=directions[best].float(),
        mean=readings[best].background.mean.float(),
        gap=gap,
        method=method,
        positions=added_at,
        contrast_hash=contrast.hash,
        held_out=held_out,
        split_seed=seed,
        n_positive=len(contrast.positive),
        n_background=len(contrast.background),
        auc=apart[best][0],
    )
    if not calibrate:
        return vector
    return calibrated(model, vector, held, seed=seed, progress=lambda what: tell(what, 0, 0))


def auc(positive: Sequence[float], background: Sequence[float]) -> float:
    """Return the chance that a positive score exceeds a background one, ties counting half.

    >>> auc([2.0, 3.0], [1.0, 2.0])
    0.875
    """
    ranked = np.concatenate([np.asarray(positive, dtype=float), np.asarray(background, dtype=float)])
    _, places, counts = np.unique(ranked, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[places]
    n, m = len(positive), len(background)
    return float((ranks[:n].sum() - n * (n + 1) / 2) / (n * m))


def _layers(model: ResidualModel, method: str, layer: int | Literal["auto"]) -> list[int]:
    if layer == "auto":
        return [int(model.n_layers * LEARNED_DEPTH)] if method == "learned" else list(range(model.n_layers))
    return [model.check_layer(layer)]


def _read(
    model: ResidualModel, fit: ContrastSet, layers: list[int], *, second: bool, tell: Progress
) -> dict[int, Reading]:
    total = len(fit.positive) + len(fit.background)
    done = 0

    def more(n: int) -> None:
        nonlocal done
        done += n
        tell("reading texts", done, total)

    positive = moments(model, fit.positive, layers, second=second, progress=more)
    background = moments(model, fit.background, layers, progress=more)
    return {layer: Reading(positive[layer], background[layer]) for layer in layers}


def _learned(model: ResidualModel, fit: ContrastSet, layer: int, positions: str, seed: int, tell: Progress) -> Tensor:
    done = 0

    def more(n: int) -> None:
        nonlocal done
        done += n
        tell(f"learning at layer {layer}", done, STEPS)

    texts = [*fit.positive, *fit.background]
    has = np.array([[True]] * len(fit.positive) + [[False]] * len(fit.background))
    return learn(model, texts, has, layer, positions=positions, seed=seed, progress=more)[0]


def _gained(model: ResidualModel, held: ContrastSet, layer: int, shift: Tensor, positions: str) -> tuple[float, float]:
    """How well a shift tells held-out texts apart by how much likelier it makes them."""
    positive, background = (
        gains(model, side, layer=layer, shift=shift, positions=positions) for side in (held.positive, held.background)
    )
    return _separation(positive, background)


def _projected(
    model: ResidualModel, held: ContrastSet, directions: dict[int, Tensor]
) -> dict[int, tuple[float, float]]:
    """How well each direction tells held-out texts apart by their projections on it."""
    positive, background = (_projections(model, side, directions) for side in (held.positive, held.background))
    return {at: _separation(positive[at], background[at]) for at in directions}


def _separation(positive: Sequence[float], background: Sequence[float]) -> tuple[float, float]:
    """How well scores tell two sides apart: AUC, and how far apart the means lie for the spread (AUC ends at 1)."""
    spread = np.sqrt((np.var(positive) + np.var(background)) / 2)
    return auc(positive, background), float((np.mean(positive) - np.mean(background)) / max(spread, 1e-12))


def _projections(model: ResidualModel, texts: Sequence[str], directions: dict[int, Tensor]) -> dict[int, list[float]]:
    found: dict[int, list[float]] = {at: [] for at in directions}
    for _, means in text_means(model, texts, list(directions)):
        for at, direction in directions.items():
            found[at] += (means[at].cpu().double() @ direction).tolist()
    return found
