"""Decompose activations into directions without labels: PCA, ICA or dictionary learning."""

import warnings
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from vectors.common.errors import InputError
from vectors.common.validation import check_integer, quote

METHODS = ("pca", "ica", "dictionary")

ALPHA = 2.0
"""L1 penalty of dictionary learning, for rows that were whitened."""

_ICA_ITERATIONS = 40  # at most: more find nothing more
_ICA_TOLERANCE = 1e-2
_EPOCHS = 4  # of dictionary learning
_BATCH = 256
_FLAT = 1e-9  # axes with a smaller standard deviation, relative to the largest, are dropped


@dataclass(frozen=True, eq=False)
class Components:
    """A linear decomposition: `rows - mean` is about `scores @ parts`, where `scores = (rows - mean) @ filters.T`.

    A part is what a component adds to the residual stream; a filter reads its score. They differ in direction wherever
    components are not orthogonal. Source: Haufe et al., "On the interpretation of weight vectors of linear models in
    multivariate neuroimaging" (2014).

    Attributes:
        mean: of the rows, "d_model".
        parts: shift of the stream for a score of one, "components d_model".
        filters: readers of the scores, which have unit variance over the rows, "components d_model".
        shares: fraction of the rows' variance that each part explains by itself, "components"; the sum may exceed 1
            where parts overlap.
    """

    mean: Float64[Tensor, " d_model"] = field(repr=False)
    parts: Float64[Tensor, "components d_model"] = field(repr=False)
    filters: Float64[Tensor, "components d_model"] = field(repr=False)
    shares: Float64[Tensor, " components"] = field(repr=False)


def components(
    rows: Float[Tensor, "rows d_model"], count: int, *, method: str = "ica", width: int | None = None, seed: int = 0
) -> Components:
    """Return the components of rows of activations.

    `pca` returns the axes of largest variance. `ica` rotates the first `width` principal axes, whitened, so that the
    scores are as far from normal as possible, which favours features that few rows have. `dictionary` learns atoms in
    the same whitened space such that few of them make up each row.

    Sources: Hyvärinen, "Fast and robust fixed-point algorithms for independent component analysis" (1999); Mairal et
    al., "Online dictionary learning for sparse coding" (2009); both as in scikit-learn.

    Args:
        rows: activations.
        count: number of components; `ica` returns one for each of the `width` axes.
        method: `pca`, `ica` or `dictionary`.
        width: number of principal axes that `ica` and `dictionary` work in. Default: `count`.
        seed: of the initialisation.

    Raises:
        InputError: an unknown method, or more components than directions along which the rows vary.

    >>> square = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]]) * torch.tensor([3.0, 1.0])
    >>> components(square, 1, method="pca").filters.abs().round(decimals=3).tolist()
    [[0.333, 0.0]]
    """
    if method not in METHODS:
        raise InputError(f"method is {quote(method)}: choose from {', '.join(METHODS)}")
    check_integer(count, "components", low=1)
    values = rows.double().numpy()
    mean = values.mean(axis=0)
    axes, deviations = _principal_axes(values - mean)
    if count > len(axes) and method != "dictionary":
        raise InputError(
            f"{count} components of {len(rows)} rows that vary along {len(axes)} directions: ask for at most "
            f"{len(axes)}, or give more texts"
        )
    n_axes = min(len(axes), max(count, width or 0)) if method != "pca" else count
    axes, deviations = axes[:n_axes], deviations[:n_axes]
    to_white, from_white = axes / deviations[:, None], axes * deviations[:, None]
    white = (values - mean) @ to_white.T
    total = float((values - mean).var(axis=0).sum())
    if method == "pca":
        white_components = np.eye(n_axes)
    elif method == "ica":
        white_components = _independent_components(white, seed)
    else:
        white_components = _dictionary(white, count, seed)
    filters, parts = white_components @ to_white, white_components @ from_white
    if method == "dictionary":  # the scores of its atoms do not have unit variance
        std = np.maximum((white @ white_components.T).std(axis=0), _FLAT)[:, None]
        filters, parts = filters / std, parts / std
    arrays = (mean, parts, filters, (parts**2).sum(axis=1) / total)
    return Components(*(torch.from_numpy(np.ascontiguousarray(array)) for array in arrays))


def _principal_axes(centred: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the principal axes and the standard deviations along them, largest first."""
    from sklearn import decomposition  # slow to import

    pca = decomposition.PCA(svd_solver="full").fit(centred)
    deviations = np.sqrt(np.maximum(pca.explained_variance_, 0) * (len(centred) - 1) / len(centred))
    varies = deviations > _FLAT * max(float(deviations.max(initial=0.0)), np.finfo(float).tiny)
    return pca.components_[varies], deviations[varies]


def _independent_components(white: np.ndarray, seed: int) -> np.ndarray:
    from sklearn import decomposition

    ica = decomposition.FastICA(whiten=False, random_state=seed, max_iter=_ICA_ITERATIONS, tol=_ICA_TOLERANCE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an estimate that has not converged is used as it is
        rotation: np.ndarray = ica.fit(white).components_
    return rotation


def _dictionary(white: np.ndarray, count: int, seed: int) -> np.ndarray:
    from sklearn import decomposition

    learner = decomposition.MiniBatchDictionaryLearning(
        n_components=count, alpha=ALPHA, batch_size=_BATCH, max_iter=_EPOCHS, random_state=seed, fit_algorithm="lars"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        atoms: np.ndarray = learner.fit(white).components_
    return atoms
