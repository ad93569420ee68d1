"""The pilot's arithmetic: intervals, how far the budget reaches, where the unit lies."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from vectors.calibration import calibrate as module
from vectors.calibration.calibrate import BUDGET, Company
from vectors.common.statistics import wilson
from vectors.concepts.vector import ConceptVector
from vectors.data.contrast import ContrastSet
from vectors.decoding.prompt_free_samples import ShiftedSamples, sample_shifted
from vectors.decoding.token_sampling import Settings


@pytest.mark.parametrize("scale", [1e-3, 1.0, 40.0])
@pytest.mark.parametrize("start", [0.1, 3.0, 1000.0])
def test_reach_finds_the_shift_at_the_budget(scale, start):
    found = module.reach(lambda shift: (shift / scale) ** 2, start, 2.0**24)
    assert 0.8 * scale <= found <= scale  # (shift / scale)^2 is 1 at the scale


def test_reach_stops_where_nothing_ever_costs():
    assert module.reach(lambda shift: 0.0, 1.5, 4.0) == 6.0


def row(shift: float, success: float, n: int = 64, p95: float = 0.5) -> dict:
    low, high = wilson(round(success * n), n)
    return {"shift": shift, "success": success, "low": low, "high": high, "p95": p95}


def test_the_unit_is_the_first_shift_at_nine_tenths_of_the_best():
    curve = [row(0, 0.1), row(1, 0.5), row(2, 0.95), row(3, 1.0), row(4, 0.6)]
    assert module._unit(curve) == pytest.approx(1 + (0.9 - 0.5) / 0.45)


def test_a_curve_that_never_rises_has_no_unit():
    assert module._unit([row(0, 0.1), row(1, 0.15), row(2, 0.12)]) is None


def test_rows_above_the_budget_do_not_count():
    curve = [row(0, 0.1), row(1, 0.5), row(2, 0.6), row(3, 1.0, p95=1.2)]
    assert module._unit(curve) == pytest.approx(1 + (0.9 * 0.6 - 0.5) / 0.1)


def test_a_row_a_little_over_the_budget_does_not_hide_where_success_began():
    """What a shift in the middle costs may lie above the budget, and what a longer one costs within it."""
    curve = [row(0, 0.1), row(1, 0.5), row(2, 0.9, p95=1.04), row(3, 1.0, p95=1.1), row(4, 1.0, p95=0.98)]
    assert module._unit(curve) == pytest.approx(2)


def test_a_concept_that_is_there_anyway_has_no_unit():
    assert module._unit([row(0, 116 / 128, n=128), row(1, 116 / 128, n=128), row(2, 1.0, n=128)]) is None


def test_a_pilot_measures_its_own_samples(llama_model):
    made = sample_shifted(
        llama_model, {1: torch.ones(llama_model.d_model)}, n=6, settings=Settings(max_tokens=10), seed=1
    )
    again = sample_shifted(
        llama_model, {1: torch.ones(6, llama_model.d_model)}, n=6, settings=Settings(max_tokens=10), seed=1
    )
    assert made.texts == again.texts and len(made.texts) == 6
    assert np.allclose(made.kl, again.kl) and (made.kl > 0).all()
    assert made.p95 == pytest.approx(np.percentile(made.kl, 95))
    nothing = sample_shifted(
        llama_model, {1: torch.zeros(llama_model.d_model)}, n=6, settings=Settings(max_tokens=10), seed=1
    )
    assert nothing.p95 == 0


@pytest.fixture
def cat(llama_model, monkeypatch) -> Callable[..., ConceptVector]:
    """Calibrate on a stand-in: every sample has the concept from a threshold on, and past a limit costs too much."""

    def calibrated(
        threshold: float, limit: float = np.inf, company: Company | None = None, balanced: bool = True
    ) -> ConceptVector:
        def stand_in(_model, deltas, *, n, **_):
            (delta,) = deltas.values()
            shift = float(delta.norm()) / (n**0.5 if delta.ndim == 2 else 1)
            kl = np.full(4 * n, 0.1 if shift < limit else 2.0)
            return ShiftedSamples(["cat" if shift >= threshold else "dog"] * n, kl)

        monkeypatch.setattr(module, "sample_shifted", stand_in)
        monkeypatch.setattr(module, "check_steering", lambda *_: None)
        direction = torch.nn.functional.one_hot(torch.tensor(3), llama_model.d_model).float()
        vector = ConceptVector(
            name="cat", model=llama_model.name, model_hash=llama_model.hash, layer=1, direction=direction,
            mean=torch.zeros(llama_model.d_model), gap=1.0, method="learned", positions="bos", contrast_hash="0",
            n_positive=2, n_background=2, auc=1.0,
        )  # fmt: skip
        contrast = ContrastSet(["a cat", "my cat", "the cat"], ["a dog", "my dog", "the dog"])
        beside = company and (lambda shift, n: {1: company(shift, n) * direction})
        return module.calibrate(
            llama_model, vector, contrast, company=beside, balanced=company is not None and balanced
        )

    return calibrated


@pytest.mark.parametrize("threshold", [0.07, 0.4, 1.1, 1.9])
def test_the_curve_is_finest_around_the_unit(cat, threshold):
    found = cat(threshold)
    shifts = [row["shift"] for row in found.unit_curve]
    assert shifts == sorted(shifts) and len(shifts) == 1 + module._STEPS + module._CLOSER
    assert shifts[-1] == module.FARTHEST
    finest = module.FARTHEST / module._STEPS / 2**module._CLOSER
    assert found.unit_judge is not None and found.unit_judge[0][0] <= found.unit_judge[0][1]
    assert found.unit is not None and threshold - finest <= found.unit <= threshold + finest


@pytest.mark.parametrize(
    ("threshold", "limit", "unit"), [(0.3, np.inf, 1.0), (1.4, np.inf, 1.0), (0.3, 0.8, 0.75), (9.0, np.inf, None)]
)
def test_in_company_the_unit_is_the_gap_or_what_the_budget_allows(cat, threshold, limit, unit):
    def alone(shift: float, n: int) -> torch.Tensor:
        return torch.full((n, 1), shift)

    assert cat(threshold, limit, alone).unit == (None if unit is None else pytest.approx(unit))


def test_where_company_leaves_no_room_the_unit_is_found_alone(cat):
    def dear(shift: float, n: int) -> torch.Tensor:
        return torch.full((n, 1), 5.0)  # past the limit, whatever the concept adds

    found = cat(0.4, 3.0, dear, balanced=False)
    assert found.unit == pytest.approx(cat(0.4, 3.0, balanced=False).unit) and found.unit > 0.3


def test_the_budget_is_one_nat():
    assert BUDGET == 1.0 and module.ENOUGH == 0.9
