"""The methods of finding a direction: one function each, and one line each in `METHODS`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from torch import Tensor

from vectors.activations.contrast_moments import Direction, mean_difference
from vectors.activations.text_activations import TokenIds, encode_texts
from vectors.activations.text_likelihood import BATCH, likelihood_gains
from vectors.common.errors import VectorError
from vectors.data.contrast import pick_texts, shuffle_key
from vectors.decoding.prompt_free_samples import sample_prompt_free
from vectors.extraction import linear
from vectors.extraction.extraction_input import ExtractionInput
from vectors.extraction.linear import logistic
from vectors.extraction.shifts import gradient, token_direction
from vectors.extraction.shifts.learned_shift import STEPS, learn, typical_activation
from vectors.model.residual_model import check_finite

SAMPLED_TEXTS = 32
"""Texts that the model samples for a method that is given no texts."""

_LENGTHS = [2.0**power for power in range(-5, 3)]  # candidate shift lengths, relative to the typical activation norm
_VALIDATION_SHARE = 0.125  # of the positive texts, for early stopping
_MIN_VALIDATION = 8  # fewer texts are too noisy to decide when to stop

LEARNED_DEPTH = 0.25
"""Layer of a learned direction, as a share of the depth (see benchmarks/RESULTS.md)."""

DirectionByLayer = dict[int, Direction]


@dataclass(frozen=True)
class Method:
    """A way to find a direction.

    Attributes:
        find: computes a direction at each layer of its input.
        shift: whether the result is a shift, whose length has a meaning and which is evaluated by its effect on the
            likelihood of texts; otherwise texts are ranked by their projection on the direction.
        positions: default of where directions are added; `all` for a model without a start token.
        depths: candidate layers of `auto` as shares of the depth, the first of them if there is no pilot; if empty, all
            layers, or eight of them over the depth of a deep model.
        needs_texts: whether the method reads contrast texts.
    """

    find: Callable[[ExtractionInput], DirectionByLayer]
    shift: bool = False
    positions: str = "all"
    depths: tuple[float, ...] = ()
    needs_texts: bool = True


def _mean_difference(data: ExtractionInput) -> DirectionByLayer:
    return {layer: mean_difference(moments) for layer, moments in data.moments().items()}


def _pca(data: ExtractionInput) -> DirectionByLayer:
    if data.fit.paired:
        return {layer: linear.pca_of_pairs(moments) for layer, moments in data.pair_differences().items()}
    return {layer: linear.pca(moments) for layer, moments in data.moments(second=True).items()}


def _pca_centred(data: ExtractionInput) -> DirectionByLayer:
    return {layer: linear.pca_centred(moments) for layer, moments in data.moments(second=True).items()}


def _lda(data: ExtractionInput) -> DirectionByLayer:
    return {layer: linear.lda(moments) for layer, moments in data.moments(second=True).items()}


def _probe(data: ExtractionInput) -> DirectionByLayer:
    weights = None
    if data.fit.weights:
        positive, background = (
            np.array([data.fit.weights.get(text, 1.0) for text in side], dtype=np.float64)
            for side in data.sampled_texts()
        )
        weights = (positive, background)
    return {layer: logistic(*rows, weights) for layer, rows in data.activations().items()}


def _learned(data: ExtractionInput) -> DirectionByLayer:
    fit, validation = data.fit, None
    positive: Sequence[str] = fit.positive
    if data.objective.patience is not None:
        ranked = sorted(set(positive), key=lambda text: shuffle_key(text, data.seed + 1))
        chosen = set(ranked[: round(_VALIDATION_SHARE * len(ranked))])
        if len(chosen) >= _MIN_VALIDATION:
            positive = [text for text in positive if text not in chosen]
            validation = (sorted(chosen), np.ones((len(chosen), 1), dtype=bool))
    texts = [*positive, *fit.background]
    has = np.array([[True]] * len(positive) + [[False]] * len(fit.background))
    weights = np.array([fit.weights.get(text, 1.0) for text in texts]) if fit.weights else None
    shifts = {}
    for layer in data.layers:
        shifts[layer] = learn(
            data.model, texts, has, layer, positions=data.positions, seed=data.seed, objective=data.objective,
            validation=validation, weights=weights, tokens=data.tokens,
            progress=data.counter(f"learning at layer {layer}", STEPS),
        )[0]  # fmt: skip
    return shifts


def _gradient(data: ExtractionInput) -> DirectionByLayer:
    positive, background = (
        gradient.mean_gradient(
            data.model, data.rows(side), data.layers, positions=data.positions, weights=data.weights(side),
            progress=data.counter(f"reading the gradients of {what} texts", len(side)),
        )
        for side, what in ((data.fit.positive, "positive"), (data.fit.background, "background"))
    )  # fmt: skip
    rows = data.rows(pick_texts(set(data.fit.positive), BATCH, data.seed))
    shifts = {}
    for layer in data.layers:

        def mean_gain(shift: Float64[Tensor, " d_model"], layer: int = layer) -> float:
            return float(np.mean(likelihood_gains(data.model, rows, {(layer, data.positions): shift})))

        shifts[layer] = _best_length(data, layer, positive[layer] - background[layer], rows, mean_gain)
    return shifts


def _weighted_difference(data: ExtractionInput) -> DirectionByLayer:
    positive, background = (
        gradient.weighted_means(
            data.model, data.rows(side), data.layers, weights=data.weights(side),
            progress=data.counter(f"weighing the positions of {what} texts", len(side)),
        )
        for side, what in ((data.fit.positive, "positive"), (data.fit.background, "background"))
    )  # fmt: skip
    return {layer: positive[layer] - background[layer] for layer in data.layers}


def _token(data: ExtractionInput) -> DirectionByLayer:
    targets = token_direction.token_ids(data.model, data.words)
    samples = sample_prompt_free(data.model, SAMPLED_TEXTS, seed=data.seed) if data.model.bos_id is not None else []
    rows = encode_texts(data.model, samples) if samples else data.rows(data.fit.background[:SAMPLED_TEXTS])
    gradients = token_direction.towards_tokens(data.model, targets, rows, data.layers, positions=data.positions)
    shifts = {}
    for layer in data.layers:
        share = token_direction.token_share(data.model, targets, rows, layer=layer, positions=data.positions)
        shifts[layer] = _best_length(data, layer, gradients[layer], rows, share)
    return shifts


def _best_length(
    data: ExtractionInput,
    layer: int,
    direction: Direction,
    rows: Sequence[TokenIds],
    score: Callable[[Direction], float],
) -> Direction:
    """The direction at the candidate length with the best score, the shortest of equal ones."""
    norm = typical_activation(data.model, rows, layer) * data.model.d_model**0.5
    unit_direction = linear.normalise(direction, what=f"the gradient at layer {layer}")
    scores = [score(unit_direction * norm * length) for length in _LENGTHS]
    check_finite(
        data.model, scores, f"likelihoods under a shift along the gradient at layer {layer}", error=VectorError
    )
    shift: Direction = unit_direction * (norm * _LENGTHS[int(np.argmax(scores))])
    return shift


METHODS = {
    "learned": Method(_learned, shift=True, positions="bos", depths=(LEARNED_DEPTH, 0.0, 0.5)),
    "mean-difference": Method(_mean_difference),
    "mean-centred": Method(_mean_difference),
    "weighted-difference": Method(_weighted_difference),
    "pca": Method(_pca),
    "pca-centred": Method(_pca_centred),
    "lda": Method(_lda),
    "probe": Method(_probe),
    "gradient": Method(_gradient, shift=True, positions="bos"),
    "token": Method(_token, shift=True, needs_texts=False),
}
"""All methods by name. `mean-centred` is the mean difference to texts that the model samples itself."""
