"""The smooth curve through a pilot's rows finds the curve that the rows were drawn from, and stays sane elsewhere."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vectors.calibration.success_curve import fit_success


@pytest.mark.parametrize(("base", "top", "middle", "power"), [(0.02, 0.9, 3.0, 4.0), (0.2, 0.7, 1.5, 8.0)])
def test_the_curve_that_the_rows_were_drawn_from_is_found(base: float, top: float, middle: float, power: float) -> None:
    shifts, random = np.linspace(0, 6, 13), np.random.default_rng(0)
    true = base + (top - base) * shifts**power / (shifts**power + middle**power)
    rows = [
        {"shift": shift, "success": base if not shift else random.binomial(2000, share) / 2000, "n": 2000}
        for shift, share in zip(shifts, true, strict=True)
    ]
    assert np.abs(fit_success(rows)(shifts) - true).max() < 0.03


@given(st.lists(st.integers(0, 20), min_size=2, max_size=9), st.floats(1e-3, 1e3))
def test_the_curve_rises_within_the_range_of_shares(hits: list[int], step: float) -> None:
    rows = [{"shift": step * index, "success": hit / 20, "n": 20} for index, hit in enumerate(hits)]
    found = fit_success(rows)(np.linspace(0, step * len(hits), 50))
    assert np.isfinite(found).all() and (np.diff(found) >= -1e-12).all()
    assert found[0] == pytest.approx(hits[0] / 20) and found.max() <= 1 + 1e-9
