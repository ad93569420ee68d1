"""The AUC against scikit-learn, its interval against a plain bootstrap, and Wilson's interval against its formula."""

from math import sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from vectors.common.statistics import auc, auc_interval, standardised_difference, wilson

scores = st.lists(st.integers(0, 5), min_size=1, max_size=30)


@given(scores, scores)
def test_auc_equals_scikit_learns(positive, background):
    labels = [1] * len(positive) + [0] * len(background)
    assert auc(positive, background) == pytest.approx(roc_auc_score(labels, positive + background))


def test_auc_interval_equals_a_plain_bootstrap():
    random = np.random.default_rng(2)
    positive, background = random.normal(0.8, 1, 60).round(1), random.normal(0, 1, 90).round(1)
    low, high = auc_interval(positive, background)
    resampled = [
        auc(random.choice(positive, len(positive)), random.choice(background, len(background))) for _ in range(2000)
    ]
    assert (low, high) == pytest.approx(np.quantile(resampled, [0.025, 0.975]), abs=0.015)
    assert low < auc(positive, background) < high


def test_auc_interval_uses_the_first_2000_scores_of_each_group():
    positive, background = [1.0] * 2000, [0.0] * 2000
    assert auc_interval([*positive, -1.0], [*background, 2.0]) == auc_interval(positive, background) == (1.0, 1.0)


def test_standardised_difference_grows_where_the_auc_is_1():
    near, far = (standardised_difference([shift, shift + 1], [0.0, 1.0]) for shift in (2.0, 4.0))
    assert auc([2.0, 3.0], [0.0, 1.0]) == auc([4.0, 5.0], [0.0, 1.0]) == 1.0
    assert far == pytest.approx(2 * near)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_follows_its_formula(pair):
    hits, n = pair
    z, rate = 1.96, hits / n
    centre = (rate + z * z / (2 * n)) / (1 + z * z / n)
    half = z * sqrt(rate * (1 - rate) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    assert wilson(hits, n) == pytest.approx((max(0.0, centre - half), min(1.0, centre + half)), abs=1e-12)
    assert all(type(bound) is float for bound in wilson(hits, n))
