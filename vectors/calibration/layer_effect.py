"""Compare layers by effect: how often samples show the concept when each layer is steered at the same pressure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from vectors.activations.contrast_moments import Direction
from vectors.calibration.calibrate import MAX_GAPS_AT_START, MIN_GAPS, largest_shift
from vectors.calibration.word_judge import Judge
from vectors.decoding.prompt_free_samples import ShiftedSamples, fitting_length, sample_shifted
from vectors.decoding.token_sampling import Settings
from vectors.model.residual_model import ResidualModel

BUDGET = 0.5
"""p95 pressure at which layers are compared, in nats per token."""

SAMPLES = 48
"""Number of samples at each layer."""

_BUDGET_SAMPLES = 16  # samples at each shift while searching for the largest within the budget
_MAX_TOKENS = 64


@dataclass(frozen=True)
class Effect:
    """Success and pressure of samples that are steered at one layer.

    Attributes:
        shift: length of the shift, the largest within the budget.
        success: share of samples with the concept, by a word judge.
        p95: 95th percentile of the pressure, in nats per token.
        n: number of samples.
    """

    shift: float
    success: float
    p95: float
    n: int


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
    """Return the effect of the direction of each layer on prompt-free samples, at a p95 pressure of half a nat.

    Args:
        model: the model.
        directions: unit directions by layer.
        judge: decides which samples have the concept; fit it on texts that the directions were not found in.
        starts: by layer the first shift that the search for the budget tries.
        positions: where the directions are added.
        seed: of the samples.
        progress: called with 1 after each layer.
    """
    settings = Settings(max_tokens=fitting_length(model, _MAX_TOKENS), positions=positions)
    max_gaps = MAX_GAPS_AT_START if positions == "bos" else 1 / MIN_GAPS

    def sample(layer: int, shift: float, n: int) -> ShiftedSamples:
        return sample_shifted(model, {layer: (directions[layer] * shift).float()}, n=n, settings=settings, seed=seed)

    effects = {}
    for layer in directions:

        def pressure(shift: float, layer: int = layer) -> float:
            return sample(layer, shift, _BUDGET_SAMPLES).p95

        shift = largest_shift(pressure, starts[layer], max_gaps, budget=BUDGET)
        samples = sample(layer, shift, SAMPLES)
        hits = sum(judge.accepts(text) for text in samples.texts)
        effects[layer] = Effect(shift=shift, success=hits / SAMPLES, p95=samples.p95, n=SAMPLES)
        if progress:
            progress(1)
    return effects


def best_layer(effects: Mapping[int, Effect]) -> int:
    """Return the layer with the highest success; of equal ones, the layer with the lowest pressure.

    >>> best_layer({2: Effect(9.0, 0.5, 0.4, 48), 5: Effect(8.0, 0.7, 0.5, 48), 7: Effect(8.0, 0.7, 0.3, 48)})
    7
    """
    return max(effects, key=lambda layer: (effects[layer].success, -effects[layer].p95))
