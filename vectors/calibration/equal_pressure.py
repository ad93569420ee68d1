"""Judge shifts by samples at equal mean pressure, the only fair comparison between them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vectors.calibration.word_judge import Judge
from vectors.decoding.prompt_free_samples import ShiftedSamples, fitting_length, sample_shifted
from vectors.decoding.token_sampling import Settings
from vectors.model.positions import Site
from vectors.model.residual_model import ResidualModel

PRESSURE = 0.5
"""Mean pressure at which shifts are compared, in nats per token."""

SAMPLES = 24
"""Texts that are judged."""

MAX_TOKENS = 40
"""Length limit of a text."""

_PROBES = 8  # texts with a scale of their own each, to see how pressure grows
_OCTAVES = 2.0  # their scales lie within this many factors of two
_TOLERANCE = 1.1  # factor by which the pressure may miss
_CORRECTIONS = 3  # further scales that are tried
_FAR = 1.25  # scale from which the natural length is judged too
_GROWTH = 1.5  # of the log-pressure with the log-scale, as it is for most shifts

Shifts = Mapping[Site, Float[Tensor, " d_model"]]


@dataclass(frozen=True)
class Effect:
    """What samples show at one scale of some shifts.

    Attributes:
        scale: factor of all shifts.
        success: share of samples with the concept.
        pressure: mean pressure, in nats per token.
        n: number of samples.
        texts: the first two of them.
    """

    scale: float
    success: float
    pressure: float
    n: int
    texts: tuple[str, ...] = ()

    @property
    def hits(self) -> int:
        """Number of samples with the concept."""
        return round(self.success * self.n)


def measure_effect(
    model: ResidualModel,
    shifts: Shifts,
    judge: Judge,
    *,
    pressure: float = PRESSURE,
    most: float = 16.0,
    n: int = SAMPLES,
    seed: int = 0,
) -> Effect:
    """Return the effect of shifts at the scale where their samples have a given mean pressure.

    `find_scale` finds the scale, and the texts there are judged. If the natural length has far less pressure, it is
    judged as well, and the better of the two counts: a shift that was learned, or one at the start token, may show the
    concept at little pressure and overshoot at more.

    Args:
        model: the model.
        shifts: by site; a scale of 1 is about their natural length.
        judge: decides which samples have the concept; fit it on texts that the shifts were not found in.
        pressure: the mean pressure.
        most: the largest scale. Shifts that stay below the pressure there are judged there.
        n: number of samples that are judged.
        seed: of the samples.
    """
    settings = Settings(max_tokens=fitting_length(model, MAX_TOKENS))

    def sample(scales: Sequence[float]) -> ShiftedSamples:
        factors = torch.tensor(scales)[:, None]
        rows = {site: factors * shift.float()[None] for site, shift in shifts.items()}
        return sample_shifted(model, rows, n=len(scales), settings=settings, seed=seed)

    scale, samples = find_scale(sample, pressure, most=most, n=n)
    effect = _effect(scale, samples, judge)
    if scale < _FAR:
        return effect
    natural = _effect(1.0, sample([1.0] * n), judge)
    return max(natural, effect, key=rank)


def find_scale(
    sample: Callable[[Sequence[float]], ShiftedSamples],
    pressure: float,
    *,
    most: float,
    n: int,
    probes: int = _PROBES,
) -> tuple[float, ShiftedSamples]:
    """Return the scale at which samples have a mean pressure, and the samples there.

    A few texts, each at a scale of its own, show how pressure grows; `n` texts check the scale that follows, which is
    corrected while their pressure is off.

    Args:
        sample: returns a text for each of some scales.
        pressure: the mean pressure, in nats per token.
        most: the largest scale; shifts that stay below the pressure there get this scale.
        n: number of texts that check a scale.
        probes: number of the first texts.
    """
    top = min(_OCTAVES, float(np.log2(most)))
    scales = (2.0 ** np.linspace(top - 2 * _OCTAVES, top, probes)).tolist()
    scale = scale_at(scales, [float(cost.mean()) for cost in sample(scales).costs], pressure, most=most)
    known = list[tuple[float, float]]()
    while True:
        samples = sample([scale] * n)
        known.append((scale, max(float(samples.kl.mean()), 1e-9)))
        off = pressure / known[-1][1]
        close = 1 / _TOLERANCE <= off <= _TOLERANCE or (scale >= most and off > 1)
        if close or len(known) > _CORRECTIONS:
            return scale, samples
        scale = min(most, _corrected_scale(known, pressure))


def rank(effect: Effect) -> tuple[float, float]:
    """Return a key that is larger for a better effect: more success, then less pressure."""
    return effect.success, -effect.pressure


def _effect(scale: float, samples: ShiftedSamples, judge: Judge) -> Effect:
    hits, n = sum(judge.accepts(text) for text in samples.texts), len(samples.texts)
    return Effect(scale=scale, success=hits / n, pressure=float(samples.kl.mean()), n=n, texts=tuple(samples.texts[:2]))


def _corrected_scale(known: Sequence[tuple[float, float]], pressure: float) -> float:
    """Return the scale at which a pressure is expected.

    Args:
        known: scales and pressures measured so far, the last one last.
        pressure: the one to reach.

    >>> _corrected_scale([(1.0, 0.25), (2.0, 1.0)], 0.5)
    1.4142135623730951
    """
    low = max((pair for pair in known if pair[1] <= pressure), default=None)
    high = min((pair for pair in known if pair[1] > pressure), default=None)
    if low is not None and high is not None and low[0] < high[0]:
        share = np.log(pressure / low[1]) / np.log(high[1] / low[1])
        return float(low[0] * (high[0] / low[0]) ** share)
    scale, found = known[-1]
    return float(scale * np.clip(pressure / found, 0.02, 50) ** (1 / _GROWTH))


def more_samples(
    model: ResidualModel, shifts: Shifts, judge: Judge, effect: Effect, *, n: int, seed: int = 0
) -> Effect:
    """Return the effect at the same scale with `n` further samples."""
    settings = Settings(max_tokens=fitting_length(model, MAX_TOKENS))
    scaled = {site: effect.scale * shift.float() for site, shift in shifts.items()}
    samples = sample_shifted(model, scaled, n=n, settings=settings, seed=seed, first=effect.n)
    hits, total = effect.hits + sum(judge.accepts(text) for text in samples.texts), effect.n + n
    mean = (effect.n * effect.pressure + n * float(samples.kl.mean())) / total
    return Effect(scale=effect.scale, success=hits / total, pressure=mean, n=total, texts=effect.texts)


def scale_at(scales: Sequence[float], pressures: Sequence[float], pressure: float, *, most: float) -> float:
    """Return the scale at which a rising curve through single texts reaches a pressure.

    Args:
        scales: of the texts, rising.
        pressures: of the texts, which scatter.
        pressure: the one to reach.
        most: largest result, also where the curve ends below the pressure.

    >>> round(scale_at([0.5, 1.0, 2.0, 4.0], [0.1, 0.2, 0.4, 0.8], 0.3, most=16.0), 3)
    1.5
    >>> scale_at([0.5, 1.0], [0.1, 0.1], 0.5, most=2.0)
    2.0
    """
    from scipy.optimize import isotonic_regression  # slow to import

    x, y = np.log(np.asarray(scales)), np.log(np.maximum(pressures, 1e-6))
    rising = isotonic_regression(y).x
    wanted = float(np.log(pressure))
    if rising[-1] < wanted:
        beyond = x[-1] + (wanted - rising[-1]) / _GROWTH
        return float(min(most, np.exp(min(beyond, x[-1] + _OCTAVES * np.log(2)))))
    if rising[0] >= wanted:
        return float(np.exp(x[0] - (rising[0] - wanted) / _GROWTH))
    after = int(np.argmax(rising >= wanted))
    share = (wanted - rising[after - 1]) / (rising[after] - rising[after - 1])
    return float(np.exp(x[after - 1] + share * (x[after] - x[after - 1])))
