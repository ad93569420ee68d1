"""From activations of a contrast set to a direction: one function a method."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from vectors.activations.contrast_moments import ContrastMoments, Direction
from vectors.activations.moments import Moments
from vectors.common.errors import InputError, VectorError


def pca(reading: ContrastMoments) -> Direction:
    """Return the first principal axis of the positives' differences from the background mean, signed towards them.

    The differences are not centred, so that the axis carries both the shift and the spread of the positives.
    Source: Zou et al., "Representation engineering" (2023), with the background mean in place of a paired text.

    Raises:
        VectorError: moments without second moments.
    """
    shift = reading.difference
    return towards(_first_axis(scatter_of(reading.positive, about=reading.background.mean)), shift)


def pca_centred(reading: ContrastMoments) -> Direction:
    """Return the first principal axis of both sides around the midpoint of their means, signed towards the positives.

    Each side counts as much as the other, however many texts it has.
    Source: as `pca`; the centring is that of repeng's `pca_center`.

    Raises:
        VectorError: moments without second moments.
    """
    middle = (reading.positive.mean + reading.background.mean) / 2
    sides = [scatter_of(side, about=middle) / side.count for side in (reading.positive, reading.background)]
    return towards(_first_axis(sides[0] + sides[1]), reading.difference)


def pca_of_pairs(differences: Moments) -> Direction:
    """Return the first principal axis of the differences of pairs, not centred, signed towards the first of each.

    Raises:
        VectorError: moments without second moments.
    """
    return towards(_first_axis(scatter_of(differences, about=0 * differences.mean)), differences.mean)


def lda(reading: ContrastMoments) -> Direction:
    """Return the whitened mean difference: Fisher's discriminant with a covariance that is shrunk.

    The covariance is that within the two sides, each by its number of texts, shrunk towards a multiple of the identity
    by Chen et al., "Shrinkage algorithms for MMSE covariance estimation" (2010, the oracle approximation).

    Raises:
        VectorError: moments without second moments.
    """
    within = scatter_of(reading.positive, about=reading.positive.mean)
    within = within + scatter_of(reading.background, about=reading.background.mean)
    n = reading.positive.count + reading.background.count
    found: Tensor = torch.linalg.solve(shrunk(within / n, n), reading.difference)
    return found


def shrunk(covariance: Float64[Tensor, "d_model d_model"], n: float) -> Float64[Tensor, "d_model d_model"]:
    """Return a covariance of `n` rows shrunk towards its mean variance times the identity.

    >>> shrunk(torch.diag(torch.tensor([3.0, 1.0], dtype=torch.float64)), 1e9).diagonal().round(decimals=3).tolist()
    [3.0, 1.0]
    """
    d_model = len(covariance)
    variance = covariance.diagonal().mean()
    alpha = covariance.square().mean()
    above, below = alpha + variance**2, (n + 1) * (alpha - variance**2 / d_model)
    share = min(float(above / below), 1.0) if below > 0 else 1.0
    shared: Tensor = (1 - share) * covariance
    return shared + share * variance * torch.eye(d_model, dtype=torch.float64)


def scatter_of(side: Moments, *, about: Direction) -> Float64[Tensor, "d_model d_model"]:
    """Return the sum of the outer products of a side's deviations from any point.

    Raises:
        VectorError: moments without second moments.
    """
    if side.scatter is None:
        raise VectorError("this method needs second moments: read the texts with second=True")
    step = side.mean - about
    return side.scatter + side.count * torch.outer(step, step)


def towards(axis: Direction, shift: Direction) -> Direction:
    """Return the axis, turned round if it points away from where the shift goes."""
    return axis if float(axis @ shift) >= 0 else -axis


def _first_axis(scatter: Float64[Tensor, "d_model d_model"]) -> Direction:
    axis: Tensor = torch.linalg.eigh(scatter).eigenvectors[:, -1]
    return axis


def unit(direction: Direction, *, what: str) -> Direction:
    """Return the direction at length one.

    Raises:
        VectorError: a direction without length or with NaN in it.
    """
    length = float(direction.norm())
    if not 0 < length < float("inf"):
        raise VectorError(f"{what} has length {length:g}: the texts of both sides look alike here; give others")
    return direction / length


INVERSE_REGULARISATION = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""How little the weights are held back, of which the best on folds is taken."""

_FOLDS = 5
_STEPS = 2000


def logistic(
    positive: Float64[Tensor, "n d_model"],
    background: Float64[Tensor, "m d_model"],
    weights: tuple[Float64[np.ndarray, " n"], Float64[np.ndarray, " m"]] | None = None,
) -> Float64[Tensor, " d_model"]:
    """Return the direction that the log odds of a logistic regression rise along, by scikit-learn.

    The coordinates are standardised first; both sides count alike; how far the weights are held back is chosen by the
    folds' own likelihood.

    Raises:
        InputError: a side has fewer than two rows.

    >>> east = torch.tensor([[3.0, 0.0], [4.0, 1.0], [3.5, -1.0]], dtype=torch.float64)
    >>> found = logistic(east, -east)
    >>> bool(found[0] > abs(found[1]))
    True
    """
    from sklearn.linear_model import LogisticRegression  # slow to import
    from sklearn.model_selection import StratifiedKFold, cross_val_score

    sides = positive.numpy(), background.numpy()
    folds = min(_FOLDS, *map(len, sides))
    if folds < 2:
        raise InputError(f"a probe needs two texts of each side at least: given {len(positive)} and {len(background)}")
    rows = np.concatenate(sides)
    centre, spread = rows.mean(axis=0), rows.std(axis=0)
    spread[spread == 0] = 1.0
    seen, known = (rows - centre) / spread, np.repeat([1, 0], [len(side) for side in sides])

    def held_back(strength: float) -> Any:
        return LogisticRegression(C=strength, class_weight="balanced", max_iter=_STEPS)

    def likelihood(strength: float) -> float:
        scores = cross_val_score(
            held_back(strength), seen, known, cv=StratifiedKFold(folds), scoring="neg_log_loss", error_score="raise"
        )
        return float(scores.mean())

    counts = None if weights is None else np.concatenate(weights)
    fit = held_back(max(INVERSE_REGULARISATION, key=likelihood)).fit(seen, known, sample_weight=counts)
    return torch.from_numpy(fit.coef_.reshape(-1) / spread)
