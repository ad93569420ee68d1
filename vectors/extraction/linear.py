"""Linear methods: directions computed from the moments or the activations of a contrast set, one function a method."""

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from vectors.activations.contrast_moments import ContrastMoments, Direction
from vectors.activations.moments import Moments
from vectors.common.errors import InputError, VectorError

INVERSE_REGULARISATION = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Inverse regularisation strengths C to try; the best by cross-validation is used."""

_FOLDS = 5
_MAX_ITERATIONS = 2000


def pca(moments: ContrastMoments) -> Direction:
    """Return the first principal axis of the positives' deviations from the background mean.

    The deviations are not centred, so the axis reflects both the shift and the spread of the positives. It points
    towards the positives.
    Source: Zou et al., "Representation engineering" (2023), with the background mean in place of a paired text.

    Raises:
        VectorError: moments without second moments.
    """
    scatter = scatter_about(moments.positive, moments.background.mean)
    return _oriented(_first_axis(scatter), moments.difference)


def pca_centred(moments: ContrastMoments) -> Direction:
    """Return the first principal axis of both sides about the midpoint of their means, pointing to the positives.

    Both sides have equal weight, however many texts they have.
    Source: as `pca`; the centring is that of repeng's `pca_center`.

    Raises:
        VectorError: moments without second moments.
    """
    midpoint = (moments.positive.mean + moments.background.mean) / 2
    scatters = [scatter_about(side, midpoint) / side.count for side in (moments.positive, moments.background)]
    return _oriented(_first_axis(scatters[0] + scatters[1]), moments.difference)


def pca_of_pairs(differences: Moments) -> Direction:
    """Return the first principal axis of the differences within pairs, not centred, pointing along their mean.

    Raises:
        VectorError: moments without second moments.
    """
    return _oriented(_first_axis(scatter_about(differences, 0 * differences.mean)), differences.mean)


def lda(moments: ContrastMoments) -> Direction:
    """Return the whitened mean difference: Fisher's linear discriminant with a shrunk covariance.

    The covariance is the pooled one within both sides, shrunk towards a multiple of the identity.
    Source: Chen et al., "Shrinkage algorithms for MMSE covariance estimation" (2010, oracle approximating shrinkage).

    Raises:
        VectorError: moments without second moments.
    """
    scatter = scatter_about(moments.positive, moments.positive.mean)
    scatter = scatter + scatter_about(moments.background, moments.background.mean)
    n = moments.positive.count + moments.background.count
    direction: Tensor = torch.linalg.solve(shrink_covariance(scatter / n, n), moments.difference)
    return direction


def logistic(
    positive: Float64[Tensor, "n d_model"],
    background: Float64[Tensor, "m d_model"],
    weights: tuple[Float64[np.ndarray, " n"], Float64[np.ndarray, " m"]] | None = None,
) -> Float64[Tensor, " d_model"]:
    """Return the gradient of the log odds of scikit-learn's logistic regression.

    Coordinates are standardised, both sides have equal weight, and the regularisation strength is chosen by the
    log-likelihood in cross-validation.

    Args:
        positive: activations of texts with the concept.
        background: activations of background texts.
        weights: weights of the rows of both sides.

    Raises:
        InputError: a side has fewer than two rows.

    >>> east = torch.tensor([[3.0, 0.0], [4.0, 1.0], [3.5, -1.0]], dtype=torch.float64)
    >>> direction = logistic(east, -east)
    >>> bool(direction[0] > abs(direction[1]))
    True
    """
    from sklearn.linear_model import LogisticRegression  # slow to import
    from sklearn.model_selection import StratifiedKFold, cross_val_score

    sides = positive.numpy(), background.numpy()
    n_folds = min(_FOLDS, *map(len, sides))
    if n_folds < 2:
        raise InputError(f"a probe needs two texts of each side at least: given {len(positive)} and {len(background)}")
    rows, labels = np.concatenate(sides), np.repeat([1, 0], [len(side) for side in sides])
    std = rows.std(axis=0)
    std[std == 0] = 1.0
    standardised = (rows - rows.mean(axis=0)) / std

    def classifier(inverse_regularisation: float) -> LogisticRegression:
        return LogisticRegression(C=inverse_regularisation, class_weight="balanced", max_iter=_MAX_ITERATIONS)

    def log_likelihood(inverse_regularisation: float) -> float:
        scores = cross_val_score(
            classifier(inverse_regularisation), standardised, labels, cv=StratifiedKFold(n_folds),
            scoring="neg_log_loss", error_score="raise",
        )  # fmt: skip
        return float(scores.mean())

    sample_weight = None if weights is None else np.concatenate(weights)
    best = max(INVERSE_REGULARISATION, key=log_likelihood)
    fitted = classifier(best).fit(standardised, labels, sample_weight=sample_weight)
    return torch.from_numpy(fitted.coef_.reshape(-1) / std)


def shrink_covariance(covariance: Float64[Tensor, "d_model d_model"], n: float) -> Float64[Tensor, "d_model d_model"]:
    """Return the covariance of `n` rows, shrunk towards its mean variance times the identity.

    Source: Chen et al., see `lda`.

    >>> covariance = torch.diag(torch.tensor([3.0, 1.0], dtype=torch.float64))
    >>> shrink_covariance(covariance, 1e9).diagonal().round(decimals=3).tolist()
    [3.0, 1.0]
    """
    d_model = len(covariance)
    variance = covariance.diagonal().mean()
    mean_square = covariance.square().mean()
    numerator, denominator = mean_square + variance**2, (n + 1) * (mean_square - variance**2 / d_model)
    shrinkage = min(float(numerator / denominator), 1.0) if denominator > 0 else 1.0
    shrunk: Tensor = (1 - shrinkage) * covariance + shrinkage * variance * torch.eye(d_model, dtype=torch.float64)
    return shrunk


def scatter_about(side: Moments, point: Direction) -> Float64[Tensor, "d_model d_model"]:
    """Return the sum of the outer products of a side's deviations from a point.

    Raises:
        VectorError: moments without second moments.
    """
    if side.scatter is None:
        raise VectorError("this method needs second moments: read the texts with second=True")
    deviation = side.mean - point
    return side.scatter + side.count * torch.outer(deviation, deviation)


def normalise(direction: Direction, *, what: str) -> Direction:
    """Return the direction scaled to length one; `what` names it in the error.

    Raises:
        VectorError: a direction of length zero, or with NaN or infinity.
    """
    length = float(direction.norm())
    if not 0 < length < float("inf"):
        raise VectorError(f"{what} has length {length:g}: the texts of both sides look alike here; give others")
    return direction / length


def _oriented(axis: Direction, shift: Direction) -> Direction:
    """The axis with the sign that gives it a positive projection on a shift."""
    return axis if float(axis @ shift) >= 0 else -axis


def _first_axis(scatter: Float64[Tensor, "d_model d_model"]) -> Direction:
    axis: Tensor = torch.linalg.eigh(scatter).eigenvectors[:, -1]
    return axis
