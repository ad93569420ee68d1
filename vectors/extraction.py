"""From a contrast set to a concept: find its direction, say how sure we are, and calibrate its unit."""

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from torch import Tensor

from vectors.activations import moments, text_means
from vectors.checks import check_name
from vectors.concept import ConceptVector
from vectors.contrast import ContrastSet
from vectors.directions import Reading, leaning, mean_difference, pca, unit
from vectors.errors import InputError, VectorError
from vectors.learned import STEPS, learn
from vectors.model import ResidualModel
from vectors.pilot import calibrate as calibrated

METHODS = ("learned", "mean-difference", "pca")
READ_OVER = "text"
"""What positions means are read over: a text's own tokens, special ones left out."""

LEARNED_DEPTH = 0.25
"""Layer of a learned direction, as a share of the depth (see benchmarks/RESULTS.md)."""

_LEAST_COSINE = 0.02  # of a learned direction with the difference of means

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
    calibrate: bool = True,
    held_out: float = 0.25,
    seed: int = 0,
    progress: Progress | None = None,
) -> ConceptVector:
    """Find a concept's direction in texts that have it against texts that need not.

    The AUC is that of held-out texts; where `auto` chose among layers by it, it is the best of them, and a little
    high for that.

    Args:
        model: the model to look in.
        name: what expressions will call the concept.
        positive: texts that have the concept.
        background: texts of the same world that need not have it.
        method: `learned` raises the texts' likelihood by gradient; `mean-difference` and `pca` read activations only.
        layer: 0-based block, or `auto`: a quarter of the depth for `learned`, else the layer that best tells held-out
            texts apart.
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
    contrast = ContrastSet(positive, background)
    fit, held = contrast.split(held_out=held_out, seed=seed)
    layers = _layers(model, method, layer)
    tell = progress or (lambda what, done, total: None)

    readings = _read(model, fit, layers, second=method == "pca", tell=tell)
    directions = {at: _direction(model, method, fit, at, readings[at], seed, tell) for at in layers}
    scores = _held_out(model, held, directions)
    best = max(layers, key=lambda at: scores[at])
    gap = float(directions[best] @ readings[best].difference)
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
        positions=READ_OVER,
        contrast_hash=contrast.hash,
        n_positive=len(contrast.positive),
        n_background=len(contrast.background),
        auc=scores[best],
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
    model.check_layer(layer)
    return [layer]


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


def _direction(
    model: ResidualModel, method: str, fit: ContrastSet, layer: int, reading: Reading, seed: int, tell: Progress
) -> Tensor:
    if method == "learned":
        done = 0

        def more(n: int) -> None:
            nonlocal done
            done += n
            tell(f"learning at layer {layer}", done, STEPS)

        learned = learn(model, fit.positive, layer, seed=seed, progress=more)
        found = leaning(learned, reading.difference, cosine=_LEAST_COSINE)
    else:
        found = mean_difference(reading) if method == "mean-difference" else pca(reading)
    return unit(found, what=f"the {method} direction at layer {layer}")


def _held_out(model: ResidualModel, held: ContrastSet, directions: dict[int, Tensor]) -> dict[int, float]:
    positive, background = (_projections(model, side, directions) for side in (held.positive, held.background))
    return {at: auc(positive[at], background[at]) for at in directions}


def _projections(model: ResidualModel, texts: Sequence[str], directions: dict[int, Tensor]) -> dict[int, list[float]]:
    found: dict[int, list[float]] = {at: [] for at in directions}
    for _, means in text_means(model, texts, list(directions)):
        for at, direction in directions.items():
            found[at] += (means[at].cpu().double() @ direction).tolist()
    return found
