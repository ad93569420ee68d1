"""Samples are judged at a given mean pressure, whatever the shift."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vectors.calibration import equal_pressure
from vectors.calibration.equal_pressure import PRESSURE, Effect, measure_effect, more_samples, scale_at
from vectors.calibration.word_judge import MentionJudge
from vectors.decoding.prompt_free_samples import ShiftedSamples, sample_shifted
from vectors.decoding.token_sampling import Settings
from vectors.model.residual_model import ResidualModel

JUDGE = MentionJudge(["cat"])


@given(st.floats(0.05, 20.0), st.floats(0.7, 2.2), st.integers(0, 99))
def test_the_scale_is_found_however_pressure_grows(per_unit: float, power: float, seed: int) -> None:
    noise = np.random.default_rng(seed)

    def fake_samples(_model: object, shifts: dict, *, n: int, settings: Settings, seed: int) -> ShiftedSamples:
        (rows,) = shifts.values()
        means = per_unit * rows.norm(dim=1).double().numpy() ** power * noise.uniform(0.7, 1.3, size=n)
        texts = ["a cat" if index % 2 and mean > 0.5 * PRESSURE else "a dog" for index, mean in enumerate(means)]
        return ShiftedSamples(texts, [np.full(3, mean) for mean in means])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(equal_pressure, "sample_shifted", fake_samples)
        patch.setattr(equal_pressure, "fitting_length", lambda *_: 8)
        effect = measure_effect(None, {(0, "all"): torch.ones(1)}, JUDGE, n=200, most=1e6)  # type: ignore[arg-type]
    assert effect.pressure == pytest.approx(PRESSURE, rel=0.35) and effect.n == 200


@given(st.lists(st.floats(1e-9, 50.0), min_size=8, max_size=8), st.floats(0.01, 5.0))
def test_any_curve_has_a_scale_within_the_limit(pressures: list[float], pressure: float) -> None:
    scale = scale_at((2.0 ** np.linspace(-2, 2, 8)).tolist(), pressures, pressure, most=3.0)
    assert 0 < scale <= 4.0 and np.isfinite(scale)


def test_samples_have_the_pressure_and_can_be_continued(llama_model: ResidualModel) -> None:
    shifts = {
        (1, "all"): torch.randn(llama_model.d_model, generator=torch.Generator().manual_seed(0)),
        (0, "bos"): torch.ones(llama_model.d_model),
    }
    effect = measure_effect(llama_model, shifts, JUDGE, pressure=0.2, n=24, seed=3)
    assert effect.pressure == pytest.approx(0.2, rel=0.5)
    longer = more_samples(llama_model, shifts, JUDGE, effect, n=8, seed=3)
    settings = Settings(max_tokens=equal_pressure.MAX_TOKENS)
    scaled = {site: effect.scale * shift for site, shift in shifts.items()}
    whole = sample_shifted(llama_model, scaled, n=32, settings=settings, seed=3)
    last = sample_shifted(llama_model, scaled, n=8, first=24, settings=settings, seed=3)
    assert whole.texts[24:] == last.texts
    assert longer.n == 32 and longer.hits == sum(map(JUDGE.accepts, whole.texts))


def test_a_shift_that_overshoots_is_judged_at_its_natural_length_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def fake_samples(_model: object, shifts: dict, *, n: int, settings: Settings, seed: int) -> ShiftedSamples:
        (rows,) = shifts.values()
        lengths = rows.norm(dim=1).tolist()
        texts = ["a cat" if 0.9 < length < 1.1 else "a dog" for length in lengths]
        return ShiftedSamples(texts, [np.full(3, 0.03 if length < 1.1 else 0.25 * length) for length in lengths])

    monkeypatch.setattr(equal_pressure, "sample_shifted", fake_samples)
    monkeypatch.setattr(equal_pressure, "fitting_length", lambda *_: 8)
    effect = measure_effect(None, {(0, "all"): torch.ones(1)}, JUDGE, n=20)  # type: ignore[arg-type]
    assert (effect.scale, effect.success, effect.pressure) == (1.0, 1.0, pytest.approx(0.03))


def test_hits_are_counted() -> None:
    assert Effect(scale=1.0, success=7 / 24, pressure=0.5, n=24).hits == 7
