"""Exact tests of a rate against SciPy's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, fisher_exact

from steer.statistics.exact_tests import of_rate, of_two_rates


@given(data=st.data(), n=st.integers(1, 400), share=st.floats(0.001, 0.999))
def test_a_known_rate_is_tested_as_scipy_does(data, n, share):
    hits = data.draw(st.integers(0, n))
    assert of_rate(hits, n, share) == pytest.approx(binomtest(hits, n, share).pvalue, rel=1e-5, abs=1e-9)


@given(data=st.data(), n=st.integers(1, 80), other_n=st.integers(1, 80))
def test_two_rates_are_tested_as_scipy_does(data, n, other_n):
    hits, others = data.draw(st.integers(0, n)), data.draw(st.integers(0, other_n))
    wanted = fisher_exact([[hits, n - hits], [others, other_n - others]]).pvalue
    assert of_two_rates(hits, n, others, other_n) == pytest.approx(wanted, rel=1e-5, abs=1e-9)


def test_what_never_or_always_happens():
    assert of_rate(0, 9, 0.0) == of_rate(9, 9, 1.0) == 1.0
    assert of_rate(1, 9, 0.0) == of_rate(8, 9, 1.0) == 0.0
    assert of_rate(200, 5000, 0.02) < 1e-10
