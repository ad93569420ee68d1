"""The pilot: the largest shift within the budget, the curve of success by shift, and the unit."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from vectors.calibration import calibrate as module
from vectors.calibration.calibrate import BUDGET, CompanionShifts
from vectors.common.statistics import wilson
from vectors.concepts.vector import ConceptVector
from vectors.data.contrast import ContrastSet
from vectors.decoding.prompt_free_samples import ShiftedSamples


@pytest.mark.parametrize("scale", [1e-3, 1.0, 40.0])
@pytest.mark.parametrize("start", [0.1, 3.0, 1000.0])
def test_the_largest_shift_is_just_within_the_budget(scale, start):
    shift = module.largest_shift(lambda shift: (shift / scale) ** 2, start, 2.0**24)
    assert 0.8 * scale <= shift <= scale  # the pressure is 1 at the scale


def test_the_search_for_the_largest_shift_ends_if_no_shift_has_pressure():
    assert module.largest_shift(lambda shift: 0.0, 1.5, 4.0) == 6.0


def row(shift: float, success: float, n: int = 64, mean: float = 0.3) -> dict:
    low, high = wilson(round(success * n), n)
    return {"shift": shift, "success": success, "low": low, "high": high, "mean": mean, "p95": 5 * mean, "n": n}


def test_the_unit_is_the_smallest_shift_close_to_the_best_success():
    curve = [row(0, 0.1), row(1, 0.5), row(2, 0.95), row(3, 0.97), row(4, 0.97), row(5, 0.97)]
    assert 1.9 < module._unit(curve) < 3
    steep = [row(0, 0.1), row(1, 0.1), row(2, 0.15), row(3, 0.4), row(4, 0.7)]
    assert 3.9 < module._unit(steep) <= 4
    falling = [row(0, 0.1), row(1, 0.5), row(2, 0.95), row(3, 1.0), row(4, 0.6)]
    assert 1.9 < module._unit(falling) <= 3


def test_a_lucky_row_does_not_move_the_unit_to_the_end_of_a_flat_curve():
    curve = [row(0, 0.0), row(1, 0.84), row(2, 0.9), row(3, 0.86), row(4, 0.88), row(5, 0.92)]
    assert module._unit(curve) < 3


def test_a_curve_that_never_rises_has_no_unit():
    assert module._unit([row(0, 0.1), row(1, 0.15), row(2, 0.12)]) is None


def test_rows_above_the_budget_do_not_count():
    within = [row(0, 0.1), row(1, 0.5), row(2, 0.6)]
    assert module._unit([*within, row(3, 1.0, mean=0.7)]) == module._unit(within) <= 2


def test_the_unit_keeps_the_budget_where_pressure_rises_faster_than_success():
    curve = [row(0, 0.1), row(1, 0.5, mean=0.4), row(2, 0.9, mean=0.56)]
    assert module._unit(curve) <= 1 + (0.5 - 0.4) / 0.16 + 1e-9


def test_pressure_may_fall_again_before_the_last_row():
    curve = [row(0, 0.1), row(1, 0.5), row(2, 0.9, mean=0.62), row(3, 1.0, mean=0.66), row(4, 1.0, mean=0.49)]
    assert 2 < module._unit(curve) <= 4


def test_a_concept_that_unsteered_samples_have_gets_no_unit():
    assert module._unit([row(0, 116 / 128, n=128), row(1, 116 / 128, n=128), row(2, 1.0, n=128)]) is None


@pytest.fixture
def cat(llama_model, monkeypatch) -> Callable[..., ConceptVector]:
    """Calibrate on fake samples: all have the concept from a threshold on, and exceed the budget from a limit on."""

    def calibrated(
        threshold: float, limit: float = np.inf, company: CompanionShifts | None = None, balanced: bool = True
    ) -> ConceptVector:
        def fake_samples(_model, deltas, *, n, **_):
            (delta,) = deltas.values()
            shifts = (delta if delta.ndim == 2 else delta.expand(n, -1)).norm(dim=1).tolist()
            kl = [np.full(4, 0.1 if shift < limit else 2.0) for shift in shifts]
            return ShiftedSamples(["cat" if shift >= threshold else "dog" for shift in shifts], kl)

        monkeypatch.setattr(module, "sample_shifted", fake_samples)
        monkeypatch.setattr(module, "check_steering", lambda *_: None)
        direction = torch.nn.functional.one_hot(torch.tensor(3), llama_model.d_model).float()
        vector = ConceptVector(
            name="cat", model=llama_model.name, model_hash=llama_model.hash, layer=1, direction=direction,
            mean=torch.zeros(llama_model.d_model), gap=1.0, method="learned", positions="bos", contrast_hash="0",
            n_positive=2, n_background=2, auc=1.0,
        )  # fmt: skip
        contrast = ContrastSet(["a cat", "my cat", "the cat"], ["a dog", "my dog", "the dog"])
        shifts = company and (lambda shift, n: {1: company(shift, n) * direction})
        return module.calibrate(
            llama_model, vector, contrast, company=shifts, balanced=company is not None and balanced
        )

    return calibrated


@pytest.mark.parametrize("threshold", [0.07, 0.4, 1.1, 1.9])
def test_the_curve_is_finest_around_the_unit(cat, threshold):
    vector = cat(threshold)
    shifts = [row["shift"] for row in vector.unit_curve]
    assert shifts == sorted(shifts) and len(shifts) >= 1 + module._STEPS + module._BISECTIONS
    assert shifts[module._STEPS + module._BISECTIONS] == module.MAX_GAPS_AT_START
    finest = module.MAX_GAPS_AT_START / module._STEPS / 2**module._BISECTIONS
    assert vector.unit_judge is not None and vector.unit_judge[0][0] <= vector.unit_judge[0][1]
    assert vector.unit is not None and threshold - finest <= vector.unit <= threshold + finest


@pytest.mark.parametrize(
    ("threshold", "limit", "unit"), [(0.3, np.inf, 1.0), (1.4, np.inf, 1.0), (0.3, 0.8, 0.75), (9.0, np.inf, None)]
)
def test_the_unit_of_balanced_concepts_is_the_gap_or_the_largest_shift_within_the_budget(cat, threshold, limit, unit):
    def alone(shift: float, n: int) -> torch.Tensor:
        return torch.full((n, 1), shift)

    assert cat(threshold, limit, alone).unit == (None if unit is None else pytest.approx(unit))


def test_if_companions_use_up_the_budget_the_unit_is_found_without_them(cat):
    def over_budget(shift: float, n: int) -> torch.Tensor:
        return torch.full((n, 1), 5.0)  # above the limit, whatever the concept adds

    vector = cat(0.4, 3.0, over_budget, balanced=False)
    assert vector.unit == pytest.approx(cat(0.4, 3.0, balanced=False).unit) and vector.unit > 0.3


def test_the_budget_is_half_a_nat_a_token():
    assert BUDGET == 0.5 and module.TARGET == 0.98


def test_the_curve_goes_on_to_twice_the_unit(cat):
    vector = cat(0.3)
    assert vector.unit is not None and vector.unit_curve[-1]["shift"] >= 1.9 * vector.unit


def test_the_curve_ends_where_the_budget_does_and_beyond_it_at_twice_the_unit(cat):
    vector = cat(0.6, 1.0)
    assert vector.unit is not None and 0.5 < vector.unit <= 0.8
    last = vector.unit_curve[-1]
    assert last["mean"] > BUDGET and last["shift"] == pytest.approx(2 * vector.unit, rel=1e-4)
