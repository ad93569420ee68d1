"""Exact tests of a rate against the enumeration of all possible counts, in exact fractions."""

from fractions import Fraction
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steer.statistics.exact_tests import binomial_p_value, fisher_p_value

TIE = 1 + Fraction(1, 10**7)  # probabilities that differ by less count as equal


def p_value(probabilities: list[Fraction], observed: int) -> float:
    """Return the total probability of all counts that are at most as likely as the observed one."""
    return float(sum(each for each in probabilities if each <= probabilities[observed] * TIE) / sum(probabilities))


@given(data=st.data(), n=st.integers(1, 60), percent=st.integers(1, 99))
def test_the_test_of_a_known_rate_sums_all_counts_that_are_as_unlikely(data, n, percent):
    hits, share = data.draw(st.integers(0, n)), Fraction(percent, 100)
    probabilities = [comb(n, count) * share**count * (1 - share) ** (n - count) for count in range(n + 1)]
    assert binomial_p_value(hits, n, float(share)) == pytest.approx(p_value(probabilities, hits), rel=1e-5, abs=1e-9)


@given(data=st.data(), n=st.integers(1, 80), other_n=st.integers(1, 80))
def test_the_test_of_two_rates_sums_all_tables_that_are_as_unlikely(data, n, other_n):
    hits, other_hits = data.draw(st.integers(0, n)), data.draw(st.integers(0, other_n))
    total = hits + other_hits
    lowest = max(0, total - other_n)
    tables = [Fraction(comb(n, count) * comb(other_n, total - count)) for count in range(lowest, min(n, total) + 1)]
    expected = p_value(tables, hits - lowest)
    assert fisher_p_value(hits, n, other_hits, other_n) == pytest.approx(expected, rel=1e-5, abs=1e-9)


def test_the_lady_tasting_tea():
    """Fisher, "The design of experiments" (1935): all four cups found, or three of four."""
    assert fisher_p_value(4, 4, 0, 4) == pytest.approx(2 / 70)
    assert fisher_p_value(3, 4, 1, 4) == pytest.approx(34 / 70)


def test_events_of_probability_zero_and_one():
    assert binomial_p_value(0, 9, 0.0) == binomial_p_value(9, 9, 1.0) == 1.0
    assert binomial_p_value(1, 9, 0.0) == binomial_p_value(8, 9, 1.0) == 0.0
    assert binomial_p_value(200, 5000, 0.02) < 1e-10
