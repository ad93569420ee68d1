"""Linear methods agree with numpy and scikit-learn."""

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
from vectors.extraction.linear import INVERSE_REGULARISATION, lda, logistic, normalise, pca, pca_centred, pca_of_pairs


def contrast_moments(positive: np.ndarray, background: np.ndarray) -> ContrastMoments:
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
    assert np.allclose(mean_difference(contrast_moments(*planted)), positive.mean(axis=0) - background.mean(axis=0))


def test_pca_is_the_first_singular_vector_of_the_differences(planted):
    positive, background = planted
    svd = TruncatedSVD(n_components=1, algorithm="arpack", random_state=0).fit(positive - background.mean(axis=0))
    cosine = float(pca(contrast_moments(*planted)).numpy() @ svd.components_[0])
    assert abs(cosine) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("method", [mean_difference, pca, pca_centred, lda])
def test_directions_point_towards_the_concept(planted, method):
    towards = normalise(method(contrast_moments(*planted)), what="it")
    assert towards[2] > 0.95
    positive, background = planted
    away = normalise(method(contrast_moments(background, positive)), what="it")
    assert away[2] < -0.9


def test_a_direction_of_length_zero_is_refused():
    with pytest.raises(VectorError, match="look alike"):
        normalise(torch.zeros(3, dtype=torch.float64), what="the direction")


def test_pca_centred_is_numpys_axis_of_both_sides_around_their_midpoint(planted):
    positive, background = planted
    midpoint = (positive.mean(axis=0) + background.mean(axis=0)) / 2
    sides = [(side - midpoint) / len(side) ** 0.5 for side in planted]
    axis = np.linalg.svd(np.concatenate(sides))[2][0]
    direction = pca_centred(contrast_moments(*planted)).numpy()
    assert abs(direction @ axis) == pytest.approx(1, abs=1e-6) and direction[2] > 0


def test_pca_of_pairs_is_numpys_axis_of_their_differences():
    random = np.random.default_rng(3)
    differences = random.normal(size=(50, 6)) * [1, 1, 4, 1, 1, 1] + [0, 0, 3, 0, 0, 0]
    moments = Moments.empty(6, second=True)
    moments.add(torch.from_numpy(differences))
    direction = pca_of_pairs(moments).numpy()
    assert abs(direction @ np.linalg.svd(differences)[2][0]) == pytest.approx(1, abs=1e-6) and direction[2] > 0


@pytest.mark.parametrize("n", [6, 40, 4000])
def test_lda_is_scikit_learns(n):
    random = np.random.default_rng(n)
    mix = random.normal(size=(8, 8))
    positive, background = random.normal(size=(n, 8)) @ mix + 1.0, random.normal(size=(n, 8)) @ mix
    within = np.concatenate([positive - positive.mean(axis=0), background - background.mean(axis=0)])
    covariance = OAS(assume_centered=True).fit(within).covariance_
    expected = np.linalg.solve(covariance, positive.mean(axis=0) - background.mean(axis=0))
    assert np.allclose(lda(contrast_moments(positive, background)), expected, rtol=1e-6)


def test_lda_finds_a_shift_that_noise_hides_from_the_mean_difference():
    """The shift is along a coordinate of low variance; another coordinate has high variance on both sides."""
    random = np.random.default_rng(5)
    noise = random.normal(size=(2, 60, 1)) * 30
    shifted = random.normal(size=(2, 60, 1)) + np.array([2.0, 0.0])[:, None, None]
    sides = np.concatenate([noise, shifted], axis=2)
    by_lda, by_mean = (normalise(method(contrast_moments(*sides)), what="it") for method in (lda, mean_difference))
    assert by_lda[1] > 0.99 > abs(float(by_mean[1]))


@pytest.mark.parametrize("weighted", [False, True])
def test_a_probe_is_scikit_learns_with_one_of_the_regularisation_strengths(weighted):
    random = np.random.default_rng(7)
    positive, background = (
        random.normal(size=(80, 5)) + np.array([1, 0, 0, 0, 2]),
        random.normal(size=(120, 5)) * [1, 9, 1, 1, 1],
    )
    weights = (random.uniform(0.1, 3, 80), random.uniform(0.1, 3, 120)) if weighted else None
    direction = logistic(torch.from_numpy(positive), torch.from_numpy(background), weights).numpy()
    rows, labels = np.concatenate([positive, background]), np.repeat([1, 0], [80, 120])
    scaled = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=2000))
    sample_weight = None if weights is None else np.concatenate(weights)
    cosines = []
    for inverse_regularisation in INVERSE_REGULARISATION:
        scaled.set_params(logisticregression__C=inverse_regularisation)
        scaled.fit(rows, labels, logisticregression__sample_weight=sample_weight)
        expected = scaled[-1].coef_[0] / scaled[0].scale_
        cosines.append(direction @ expected / np.linalg.norm(direction) / np.linalg.norm(expected))
    assert max(cosines) == pytest.approx(1, abs=1e-4)
    assert np.argmax(np.abs(direction)) == 4


def test_a_probe_needs_two_rows_of_each_side():
    with pytest.raises(InputError, match="two texts of each side"):
        logistic(torch.ones(1, 3, dtype=torch.float64), torch.zeros(4, 3, dtype=torch.float64))


@pytest.mark.parametrize("method", [pca, pca_centred, lda])
def test_methods_without_their_second_moments_are_refused(method):
    side = Moments.empty(2)
    side.add(torch.ones(3, 2))
    with pytest.raises(VectorError, match="second"):
        method(ContrastMoments(side, side))
