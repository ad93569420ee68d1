"""Compare layers by effect: how often samples show the concept when each layer is steered at the same pressure."""

from collections.abc import Callable, Mapping

from vectors.activations.contrast_moments import Direction
from vectors.calibration.calibrate import MAX_GAPS_AT_START
from vectors.calibration.equal_pressure import Effect, measure_effect, rank
from vectors.calibration.word_judge import Judge
from vectors.model.residual_model import ResidualModel

SAMPLES = 48
"""Number of samples at each layer."""

_MOST_GAPS = 16.0


def measure_effects(
    model: ResidualModel,
    directions: Mapping[int, Direction],
    judge: Judge,
    *,
    starts: Mapping[int, float],
    positions: str,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> dict[int, Effect]:
    """Return the effect of the direction of each layer on prompt-free samples, at equal mean pressure.

    Args:
        model: the model.
        directions: unit directions by layer.
        judge: decides which samples have the concept; fit it on texts that the directions were not found in.
        starts: by layer the length that a scale of 1 stands for.
        positions: where the directions are added. At the start token, where pressure saturates, the largest scale is 2.
        seed: of the samples.
        progress: called with 1 after each layer.
    """
    effects = {}
    for layer, direction in directions.items():
        shifts = {(layer, positions): (direction * starts[layer]).float()}
        most = MAX_GAPS_AT_START if positions == "bos" else _MOST_GAPS
        effects[layer] = measure_effect(model, shifts, judge, most=most, n=SAMPLES, seed=seed)
        if progress:
            progress(1)
    return effects


def best_layer(effects: Mapping[int, Effect]) -> int:
    """Return the layer with the highest success; of equal ones, the layer with the lowest pressure.

    >>> best_layer({2: Effect(1.0, 0.5, 0.4, 48), 5: Effect(1.0, 0.7, 0.5, 48), 7: Effect(1.0, 0.7, 0.3, 48)})
    7
    """
    return max(effects, key=lambda layer: rank(effects[layer]))
