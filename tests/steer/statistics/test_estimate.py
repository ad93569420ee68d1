"""Estimates: their checks, and how many digits they show."""

import pytest

from steer.statistics.estimate import Estimate, html_cells
from vectors.common.errors import InputError


def test_bounds_that_are_not_an_interval_are_refused():
    with pytest.raises(InputError, match="lower bound first"):
        Estimate(name="success", value=0.5, low=0.7, high=0.3, n=4)
    with pytest.raises(InputError, match="finite"):
        Estimate(name="success", value=0.5, low=float("nan"), high=0.3, n=4)


def test_the_width_of_the_interval_gives_the_digits():
    assert str(Estimate(name="nats", value=12.345, low=12.1, high=12.6, n=4)) == "12.35 (12.10 to 12.60)"
    assert str(Estimate(name="nats", value=123.45, low=110.0, high=140.0, n=4)) == "123 (110 to 140)"
    assert str(Estimate(name="nats", value=-0.0001, low=-0.2, high=0.2, n=4)) == "0.00 (-0.20 to 0.20)"


def test_a_missing_estimate_is_an_empty_cell():
    assert html_cells([None, Estimate(name="nats", value=1.0, low=1.0, high=1.0, n=4)]) == ["", "1.00 (1.00 to 1.00)"]
