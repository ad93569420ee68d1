"""The ways to find a direction: one function a method, and one line in `METHODS`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from torch import Tensor

from vectors.activations.contrast_moments import Direction, mean_difference
from vectors.activations.text_likelihood import BATCH, likelihood_gains
from vectors.common.errors import VectorError
from vectors.data.contrast import pick_texts, shuffle_key
from vectors.decoding.prompt_free_samples import sample_prompt_free
from vectors.extraction import gradient, linear, token_direction
from vectors.extraction.extraction_input import ExtractionInput
from vectors.extraction.learned_shift import STEPS, learn, scale
from vectors.extraction.linear import logistic
from vectors.model.residual_model import check_finite

OWN = 32
"""Texts that the model writes for methods that have no other texts to look at."""

_LENGTHS = [2.0**power for power in range(-5, 3)]  # of the typical activation's: tried for what has a direction only
_ASIDE = 0.125  # of the positive texts, kept to say when learning is to end
_FEWEST_ASIDE = 8  # fewer say little, and may end it at once

LEARNED_DEPTH = 0.25
"""Layer of a learned direction, as a share of the depth (see benchmarks/RESULTS.md)."""

Found = dict[int, Direction]


@dataclass(frozen=True)
class Method:
    """A way to find a direction.

    Attributes:
        find: from the material to a direction at each of its layers.
        shift: whether what it finds is a shift of a certain length, to be judged by what it does to texts' likelihood;
            else its length says nothing, and texts are ranked by their projections on it.
        positions: where its directions are added unless otherwise said; where the model has no start token, `all`.
        depths: layers that `auto` looks at, as shares of the depth, the first of them where no pilot can choose; all
            layers, or some all over the depth, where nothing is said.
        needs_texts: whether it looks at the texts that it is given.
    """

    find: Callable[[ExtractionInput], Found]
    shift: bool = False
    positions: str = "all"
    depths: tuple[float, ...] = ()
    needs_texts: bool = True


def _mean_difference(material: ExtractionInput) -> Found:
    return {layer: mean_difference(reading) for layer, reading in material.readings().items()}


def _pca(material: ExtractionInput) -> Found:
    if material.fit.paired:
        return {layer: linear.pca_of_pairs(moments) for layer, moments in material.differences().items()}
    return {layer: linear.pca(reading) for layer, reading in material.readings(second=True).items()}


def _pca_centred(material: ExtractionInput) -> Found:
    return {layer: linear.pca_centred(reading) for layer, reading in material.readings(second=True).items()}


def _lda(material: ExtractionInput) -> Found:
    return {layer: linear.lda(reading) for layer, reading in material.readings(second=True).items()}


def _probe(material: ExtractionInput) -> Found:
    sides = material.chosen()
    weights = None
    if material.fit.weights:
        positive, background = (
            np.array([material.fit.weights.get(text, 1.0) for text in side], dtype=np.float64) for side in sides
        )
        weights = (positive, background)
    return {layer: logistic(*rows, weights) for layer, rows in material.rows().items()}


def _learned(material: ExtractionInput) -> Found:
    fit, aside = material.fit, None
    positive: Sequence[str] = fit.positive
    if material.how.patience is not None:
        ranked = sorted(set(positive), key=lambda text: shuffle_key(text, material.seed + 1))
        kept = set(ranked[: round(_ASIDE * len(ranked))])
        if len(kept) >= _FEWEST_ASIDE:
            positive = [text for text in positive if text not in kept]
            aside = (sorted(kept), np.ones((len(kept), 1), dtype=bool))
    texts = [*positive, *fit.background]
    has = np.array([[True]] * len(positive) + [[False]] * len(fit.background))
    weights = np.array([fit.weights.get(text, 1.0) for text in texts]) if fit.weights else None
    found = {}
    for layer in material.layers:
        more = material.counter(f"learning at layer {layer}", STEPS)
        found[layer] = learn(
            material.model, texts, has, layer, positions=material.positions, seed=material.seed, how=material.how,
            aside=aside, weights=weights, progress=more,
        )[0]  # fmt: skip
    return found


def _gradient(material: ExtractionInput) -> Found:
    found: Found = {}
    sides = []
    for side, what in ((material.fit.positive, "positive"), (material.fit.background, "background")):
        more = material.counter(f"reading the gradients of {what} texts", len(side))
        sides.append(
            gradient.mean_gradient(
                material.model, side, material.layers, positions=material.positions, weights=material.fit.weights,
                progress=more,
            )
        )  # fmt: skip
    some = pick_texts(set(material.fit.positive), BATCH, material.seed)
    for layer in material.layers:

        def gained(shift: Float64[Tensor, " d_model"], layer: int = layer) -> float:
            return float(
                np.mean(likelihood_gains(material.model, some, layer=layer, shift=shift, positions=material.positions))
            )

        found[layer] = _sized(material, layer, sides[0][layer] - sides[1][layer], some, gained)
    return found


def _weighted(material: ExtractionInput) -> Found:
    sides = []
    for side, what in ((material.fit.positive, "positive"), (material.fit.background, "background")):
        more = material.counter(f"weighing the positions of {what} texts", len(side))
        sides.append(
            gradient.weighted_means(material.model, side, material.layers, weights=material.fit.weights, progress=more)
        )
    return {layer: sides[0][layer] - sides[1][layer] for layer in material.layers}


def _token(material: ExtractionInput) -> Found:
    tokens = token_direction.token_ids(material.model, material.words)
    texts = sample_prompt_free(material.model, OWN, seed=material.seed) if material.model.bos_id is not None else []
    texts = texts or list(material.fit.background[:OWN])
    found = token_direction.towards_tokens(material.model, tokens, texts, material.layers, positions=material.positions)
    for layer in material.layers:
        share = token_direction.token_share(material.model, tokens, texts, layer=layer, positions=material.positions)
        found[layer] = _sized(material, layer, found[layer], texts, share)
    return found


def _sized(
    material: ExtractionInput,
    layer: int,
    direction: Direction,
    texts: Sequence[str],
    score: Callable[[Direction], float],
) -> Direction:
    """The direction at the shortest of some lengths that scores best."""
    typical = scale(material.model, texts, layer) * material.model.d_model**0.5
    along = linear.unit(direction, what=f"the gradient at layer {layer}")
    scores = [score(along * typical * length) for length in _LENGTHS]
    check_finite(
        material.model, scores, f"likelihoods under a shift along the gradient at layer {layer}", error=VectorError
    )
    longest: Direction = along * (typical * _LENGTHS[int(np.argmax(scores))])
    return longest


METHODS = {
    "learned": Method(_learned, shift=True, positions="bos", depths=(LEARNED_DEPTH, 0.0, 0.5)),
    "mean-difference": Method(_mean_difference),
    "mean-centred": Method(_mean_difference),
    "weighted-difference": Method(_weighted),
    "pca": Method(_pca),
    "pca-centred": Method(_pca_centred),
    "lda": Method(_lda),
    "probe": Method(_probe),
    "gradient": Method(_gradient, shift=True, positions="bos"),
    "token": Method(_token, shift=True, needs_texts=False),
}
"""Every method by its name. `mean-centred` differs by its background alone: the model's own texts."""
