"""Forecasts, against known curves and covariances."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import steer
from cli.terminal.run_notes import forecast_lines
from steer.composition.forecast import forecast
from vectors.activations.covariance import LowRankCovariance
from vectors.activations.natural_covariance import natural_covariance
from vectors.concepts.vector import ConceptVector


def concept(name: str, direction: list[float], *, rates: tuple[float, ...] = (0.0, 0.4, 0.8), n: int = 200):
    row = torch.tensor(direction)
    return ConceptVector(
        name=name, model="m", model_hash="0", layer=0, direction=row / row.norm(), mean=torch.zeros(len(direction)),
        gap=1.0, unit=2.0, method="mean", positions="all",
        unit_judge=((10**6, 10**6), (0, 10**6)),
        unit_curve=tuple({"shift": float(at), "success": rate, "n": n} for at, rate in enumerate(rates)),
    )  # fmt: skip


CAT, SEA = concept("cat", [1.0, 0.0, 0.0]), concept("sea", [0.6, 0.8, 0.0])


@pytest.mark.parametrize("others", [("bos",), ("decay:4",), ("bos", "decay:4"), ("first:3", "generated")])
def test_a_concept_at_several_positions_is_read_at_its_dose(others):
    random = torch.Generator().manual_seed(0)
    rows = {(CAT.layer, where): torch.randn(len(CAT.direction), generator=random) for where in others}
    several = replace(CAT, positions="all", other_shifts=rows)
    for dose in (0.4, 0.9):  # between two rows of the curve
        alone = forecast(steer.compose({replace(CAT, positions="all"): dose}))
        found = forecast(steer.compose({several: dose})).success["cat"]
        assert found.value == pytest.approx(alone.success["cat"].value, abs=1e-5)


def test_a_concept_without_a_unit_has_no_forecast():
    silent = replace(CAT, unit=None)  # its pilot saw no effect: the curve shows the errors of its judge
    expected = forecast(steer.compose({silent: 1.0, SEA: 0.75}))
    assert set(expected.success) == {"sea"} and expected.joint is None


def test_success_is_read_off_each_curve_and_multiplied():
    expected = forecast(steer.compose({CAT: 1.0, SEA: 0.75}))
    assert expected.success["cat"].value == pytest.approx(0.8, abs=0.01) and expected.success[
        "sea"
    ].value == pytest.approx(0.6, abs=0.01)
    assert expected.joint is not None and expected.joint.value == pytest.approx(0.48, abs=0.01)
    assert expected.joint.low < 0.48 < expected.joint.high and expected.joint.n == 200
    assert expected.cosines == {("cat", "sea"): pytest.approx(0.6)}


def test_success_is_corrected_for_the_judges_errors():
    blurred = replace(CAT, unit_judge=((900, 1000), (200, 1000)))  # an acceptance of 0.8 is a rate of 6 in 7
    expected = forecast(steer.compose({blurred: 1.0})).joint
    assert expected is not None and expected.value == pytest.approx((0.8 - 0.2) / (0.9 - 0.2), abs=0.01)
    few = forecast(steer.compose({replace(CAT, unit_judge=((9, 10), (2, 10))): 1.0})).joint
    assert few is not None and abs(few.value - expected.value) < 0.1 and few.low < expected.low - 0.1
    for none in (None, ((60, 100), (50, 100)), ((0, 9), (9, 9))):
        assert forecast(steer.compose({replace(CAT, unit_judge=none): 1.0})).joint is None


def test_a_dose_that_shows_less_than_a_smaller_one_is_named():
    rows = concept("cat", [1.0, 0.0, 0.0], rates=(0.0, 0.6, 0.9, 0.88, 0.2)).unit_curve
    curve = tuple(row | {"low": row["success"] - 0.06, "high": row["success"] + 0.06} for row in rows)
    turning = replace(CAT, unit_curve=curve)
    assert forecast(steer.compose({replace(CAT, unit_curve=rows): 2.0})).falling == {}  # without intervals
    assert forecast(steer.compose({turning: 1.0})).falling == {}
    assert forecast(steer.compose({turning: 1.5})).falling == {}  # 0.88 is not clearly less
    found = forecast(steer.compose({turning: 2.0}))
    assert found.falling == {"cat": pytest.approx(1.0)} and found.to_dict()["falling"] == found.falling
    assert any("'cat' shows most at dose 1; at this dose" in line for line in forecast_lines(found, ["cat"]))


@pytest.mark.slow
def test_the_interval_covers_the_truth_nine_times_in_ten():
    random, hits = np.random.default_rng(0), 0
    for _ in range(200):
        rates = [float(random.binomial(64, rate)) / 64 for rate in (0.9, 0.8)]
        points = {concept(name, row, rates=(0.0, 0.0, rate), n=64): 1.0 for name, row, rate in
                  (("a", [1.0, 0.0, 0.0], rates[0]), ("b", [0.0, 1.0, 0.0], rates[1]))}  # fmt: skip
        joint = forecast(steer.compose(points)).joint
        assert joint is not None
        hits += joint.low <= 0.72 <= joint.high
    assert hits >= 180


def test_a_sum_of_correlated_concepts_raises_both():
    exact, added = (steer.compose({CAT: 0.5, SEA: 0.5}, method=method) for method in ("exact", "sum"))
    one, other = forecast(exact).joint, forecast(added).joint
    assert one is not None and other is not None and other.value > one.value == pytest.approx(0.16, abs=0.01)


def test_doses_beyond_the_curve_have_no_forecast():
    assert forecast(steer.compose({CAT: 1.5})).joint is None  # beyond the curve
    assert forecast(steer.compose({replace(CAT, unit_curve=(), unit=None): 1.0})).joint is None
    assert forecast(steer.compose({CAT: 1.0, SEA: -0.5})).joint is not None  # negative doses do not count
    assert forecast(steer.compose({CAT: -1.0})).joint is None
    odd = replace(CAT, unit_curve=({"shift": 2.0, "success": 0.5, "n": 9}, {"shift": 1.0, "success": 0.5, "n": 9}))
    assert forecast(steer.compose({odd: 0.75})).joint is None


def test_exclusive_concepts_have_no_joint_success():
    forms = {replace(CAT, name=name, model="almanac", direction=row): 1.0 for name, row in
             (("sonnet", torch.eye(3)[0]), ("haiku", torch.eye(3)[1]), ("cat", torch.eye(3)[2]))}  # fmt: skip
    expected = forecast(steer.compose(forms))
    assert expected.joint is None and expected.rivals == {"form": ("sonnet", "haiku")} and len(expected.success) == 3


def test_a_dose_beyond_the_pilot_is_named():
    assert forecast(steer.compose({CAT: 1.5})).beyond == {"cat": 1.0}
    assert forecast(steer.compose({CAT: 1.0})).beyond == {}


@pytest.mark.parametrize(
    "row", [{"shift": None}, {"n": 0}, {"n": [1]}, {"success": 2}, {"success": -1}, {"n": 10**400}, {"shift": "x"}]
)
def test_invalid_curve_rows_give_no_forecast(row):
    curve = [dict(each) for each in CAT.unit_curve]
    curve[1] |= row
    assert forecast(steer.compose({replace(CAT, unit_curve=tuple(curve)): 1.0})).joint is None


def test_outlying_is_the_share_of_natural_texts_within_the_shift():
    shape = LowRankCovariance(
        layer=0, mean=torch.zeros(3).double(), basis=torch.eye(3).double()[:1], deviations=torch.tensor([4.0]).double(),
        rest=0.5, distances=np.arange(10.0), count=10,
    )  # fmt: skip
    assert forecast(steer.compose({CAT: 1.0}), {0: shape}).outlying == {0: 0.1}  # half a deviation
    up = concept("up", [0.0, 0.0, 1.0])
    assert forecast(steer.compose({up: 1.0}), {0: shape}).outlying == {0: 0.5}  # four
    assert forecast(steer.compose({up: 1.0})).outlying == {}


def test_a_forecast_uses_the_natural_covariance(llama_model, tmp_path, monkeypatch):
    monkeypatch.setenv("STEER_HOME", str(tmp_path))
    row = torch.nn.functional.normalize(torch.randn(llama_model.d_model), dim=0)
    there = replace(
        CAT, model=llama_model.name, model_hash=llama_model.hash, direction=row, mean=torch.zeros(len(row)), layer=1
    )
    expected = forecast(steer.compose({there: 1.0}, llama_model), natural_covariance(llama_model, [1]))
    assert list(expected.outlying) == [1] and 0 <= expected.outlying[1] <= 1
    assert expected.to_dict()["joint"]["value"] == pytest.approx(0.8, abs=0.01)


def test_pilots_without_companions_are_named():
    told = tuple(row | {"mean": 0.02} for row in SEA.unit_curve)
    accompanied = replace(SEA, unit_curve=told)
    expected = forecast(steer.compose({CAT: 1.0, accompanied: 1.0}))
    assert expected.alone == ("cat",) and expected.to_dict()["alone"] == ["cat"]
    assert forecast(steer.compose({CAT: 1.0})).alone == ()
    assert "or fewer: 'cat' measured alone only" in forecast_lines(expected, ["cat", "sea"])[0]
