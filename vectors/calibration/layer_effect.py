"""What a direction does at a layer: how often samples show the concept, at a pressure that is the same for all."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from vectors.activations.contrast_moments import Direction
from vectors.calibration.calibrate import FARTHEST, SMALLEST, reach
from vectors.calibration.word_judge import Judge
from vectors.decoding.prompt_free_samples import ShiftedSamples, fitting_length, sample_shifted
from vectors.decoding.token_sampling import Settings
from vectors.model.residual_model import ResidualModel

BUDGET = 0.5
"""p95 pressure, in nats per token, that layers are compared at."""

SAMPLES = 48
"""At each layer."""

_PROBE = 16  # that find how far the pressure reaches
_MAX_TOKENS = 64


@dataclass(frozen=True)
class Effect:
    """Samples under a shift at one layer.

    Attributes:
        shift: its length, the longest within the pressure.
        success: share of samples that have the concept, by a judge of words.
        p95: their pressure, nats per token.
        n: how many there were.
    """

    shift: float
    success: float
    p95: float
    n: int


def effects(
    model: ResidualModel,
    found: Mapping[int, Direction],
    judge: Judge,
    *,
    starts: Mapping[int, float],
    positions: str,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> dict[int, Effect]:
    """Return what each layer's direction does at a p95 pressure of half a nat, by samples without a prompt.

    Args:
        model: the model.
        found: a unit direction by layer.
        judge: tells which samples have the concept; it reads words, and is to be fit on texts of its own.
        starts: by layer the length that the search begins with.
        positions: where directions are added.
        seed: of the samples.
        progress: called with 1 at each layer that is done.
    """
    settings = Settings(max_tokens=fitting_length(model, _MAX_TOKENS), positions=positions)
    farthest = FARTHEST if positions == "bos" else 1 / SMALLEST
    made: dict[int, Effect] = {}
    for layer, direction in found.items():

        def tried(shift: float, n: int, layer: int = layer, direction: Direction = direction) -> ShiftedSamples:
            return sample_shifted(model, {layer: (direction * shift).float()}, n=n, settings=settings, seed=seed)

        def pressure(shift: float, tried: Callable[[float, int], ShiftedSamples] = tried) -> float:
            return tried(shift, _PROBE).p95

        most = reach(pressure, starts[layer], farthest, budget=BUDGET)
        samples = tried(most, SAMPLES)
        hits = sum(judge.accepts(text) for text in samples.texts)
        made[layer] = Effect(shift=most, success=hits / SAMPLES, p95=samples.p95, n=SAMPLES)
        if progress:
            progress(1)
    return made


def best_layer(effects: Mapping[int, Effect]) -> int:
    """Return the layer with the most success, and of equal ones the least pressure."""
    return max(effects, key=lambda layer: (effects[layer].success, -effects[layer].p95))
