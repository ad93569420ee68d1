"""Directions against numpy and scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.covariance import OAS
from sklearn.decomposition import TruncatedSVD
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from vectors.activations.contrast_moments import ContrastMoments, mean_difference
from vectors.activations.moments import Moments
from vectors.common.errors import InputError, VectorError
from vectors.extraction.linear import INVERSE_REGULARISATION, lda, logistic, pca, pca_centred, pca_of_pairs, unit


def reading(positive: np.ndarray, background: np.ndarray) -> ContrastMoments:
    sides = []
    for rows in (positive, background):
        side = Moments.empty(rows.shape[1], second=True)
        side.add(torch.from_numpy(rows))
        sides.append(side)
    return ContrastMoments(*sides)


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


@pytest.mark.parametrize("method", [mean_difference, pca, pca_centred, lda])
def test_directions_point_towards_the_concept(planted, method):
    towards = unit(method(reading(*planted)), what="it")
    assert towards[2] > 0.95
    positive, background = planted
    away = unit(method(reading(background, positive)), what="it")
    assert away[2] < -0.9


def test_a_direction_without_length_is_refused():
    with pytest.raises(VectorError, match="look alike"):
        unit(torch.zeros(3, dtype=torch.float64), what="the direction")


def test_pca_centred_is_numpys_axis_of_both_sides_around_their_midpoint(planted):
    positive, background = planted
    middle = (positive.mean(axis=0) + background.mean(axis=0)) / 2
    sides = [(side - middle) / len(side) ** 0.5 for side in planted]
    axis = np.linalg.svd(np.concatenate(sides))[2][0]
    found = pca_centred(reading(*planted)).numpy()
    assert abs(found @ axis) == pytest.approx(1, abs=1e-6) and found[2] > 0


def test_pca_of_pairs_is_numpys_axis_of_their_differences():
    random = np.random.default_rng(3)
    differences = random.normal(size=(50, 6)) * [1, 1, 4, 1, 1, 1] + [0, 0, 3, 0, 0, 0]
    side = Moments.empty(6, second=True)
    side.add(torch.from_numpy(differences))
    found = pca_of_pairs(side).numpy()
    assert abs(found @ np.linalg.svd(differences)[2][0]) == pytest.approx(1, abs=1e-6) and found[2] > 0


@pytest.mark.parametrize("n", [6, 40, 4000])
def test_lda_is_scikit_learns(n):
    random = np.random.default_rng(n)
    mix = random.normal(size=(8, 8))
    positive, background = random.normal(size=(n, 8)) @ mix + 1.0, random.normal(size=(n, 8)) @ mix
    within = np.concatenate([positive - positive.mean(axis=0), background - background.mean(axis=0)])
    covariance = OAS(assume_centered=True).fit(within).covariance_
    expected = np.linalg.solve(covariance, positive.mean(axis=0) - background.mean(axis=0))
    assert np.allclose(lda(reading(positive, background)), expected, rtol=1e-6)


def test_lda_finds_what_the_mean_difference_is_blind_to():
    """A shift along a quiet coordinate, beside a loud one that both sides share."""
    random = np.random.default_rng(5)
    loud = random.normal(size=(2, 60, 1)) * 30
    quiet = random.normal(size=(2, 60, 1)) + np.array([2.0, 0.0])[:, None, None]
    sides = np.concatenate([loud, quiet], axis=2)
    found, plain = (unit(method(reading(*sides)), what="it") for method in (lda, mean_difference))
    assert found[1] > 0.99 > abs(float(plain[1]))


@pytest.mark.parametrize("weighed", [False, True])
def test_a_probe_is_scikit_learns_at_the_best_of_its_strengths(weighed):
    random = np.random.default_rng(7)
    positive, background = (
        random.normal(size=(80, 5)) + np.array([1, 0, 0, 0, 2]),
        random.normal(size=(120, 5)) * [1, 9, 1, 1, 1],
    )
    weights = (random.uniform(0.1, 3, 80), random.uniform(0.1, 3, 120)) if weighed else None
    found = logistic(torch.from_numpy(positive), torch.from_numpy(background), weights).numpy()
    rows, known = np.concatenate([positive, background]), np.repeat([1, 0], [80, 120])
    scaled = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=2000))
    counts = None if weights is None else np.concatenate(weights)
    cosines = []
    for strength in INVERSE_REGULARISATION:
        scaled.set_params(logisticregression__C=strength).fit(rows, known, logisticregression__sample_weight=counts)
        other = scaled[-1].coef_[0] / scaled[0].scale_
        cosines.append(found @ other / np.linalg.norm(found) / np.linalg.norm(other))
    assert max(cosines) == pytest.approx(1, abs=1e-4)
    assert np.argmax(np.abs(found)) == 4


def test_a_probe_needs_two_rows_of_each_side():
    with pytest.raises(InputError, match="two texts of each side"):
        logistic(torch.ones(1, 3, dtype=torch.float64), torch.zeros(4, 3, dtype=torch.float64))


@pytest.mark.parametrize("method", [pca, pca_centred, lda])
def test_what_needs_second_moments_says_so(method):
    side = Moments.empty(2)
    side.add(torch.ones(3, 2))
    with pytest.raises(VectorError, match="second"):
        method(ContrastMoments(side, side))
