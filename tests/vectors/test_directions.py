"""Directions against numpy and scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import TruncatedSVD

from vectors.activations import Moments
from vectors.directions import Reading, mean_difference, pca, unit
from vectors.errors import VectorError


def reading(positive: np.ndarray, background: np.ndarray) -> Reading:
    sides = []
    for rows in (positive, background):
        side = Moments.empty(rows.shape[1], second=True)
        side.add(torch.from_numpy(rows))
        sides.append(side)
    return Reading(*sides)


@pytest.fixture
def planted():
    random = np.random.default_rng(0)
    background = random.normal(size=(400, 8))
    positive = random.normal(size=(300, 8))
    positive[:, 2] += 6
    return positive, background


def test_mean_difference_is_the_difference_of_means(planted):
    positive, background = planted
    assert np.allclose(mean_difference(reading(*planted)), positive.mean(axis=0) - background.mean(axis=0))


def test_pca_is_the_first_singular_vector_of_the_differences(planted):
    positive, background = planted
    svd = TruncatedSVD(n_components=1, algorithm="arpack", random_state=0).fit(positive - background.mean(axis=0))
    cosine = float(pca(reading(*planted)).numpy() @ svd.components_[0])
    assert abs(cosine) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("method", [mean_difference, pca])
def test_directions_point_towards_the_concept(planted, method):
    towards = unit(method(reading(*planted)), what="it")
    assert towards[2] > 0.95
    positive, background = planted
    away = unit(method(reading(background, positive)), what="it")
    assert away[2] < -0.9


def test_pca_needs_second_moments():
    side = Moments.empty(2)
    side.add(torch.ones(3, 2))
    with pytest.raises(VectorError, match="second"):
        pca(Reading(side, side))


def test_a_direction_without_length_is_refused():
    with pytest.raises(VectorError, match="look alike"):
        unit(torch.zeros(3, dtype=torch.float64), what="the direction")
