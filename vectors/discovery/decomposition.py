"""From rows of activations to directions, without labels: principal, independent or sparsely coded components."""

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
"""What a unit of code costs a dictionary, whose rows have unit variance along every axis."""

_TURNS = 40  # of FastICA, at most: more find nothing more
_CLOSE = 1e-2  # how little its directions must turn in the last of them
_EPOCHS = 4  # over the rows, of a dictionary
_BATCH = 256
_FLAT = 1e-9  # of the largest deviation: an axis along which nothing varies


@dataclass(frozen=True, eq=False)
class Components:
    """What rows are made of: `rows - mean` is about `scores @ parts`, with `scores = (rows - mean) @ filters.T`.

    A part is what a component adds to the stream, a filter is how much of it is read there: the two differ wherever
    components are not at right angles to each other. Source: Haufe et al., "On the interpretation of weight vectors of
    linear models in multivariate neuroimaging" (2014).

    Attributes:
        mean: of the rows, "d_model".
        parts: what a score of one adds, "components d_model".
        filters: what reads the score, at unit variance over the rows, "components d_model".
        shares: share of the rows' variance that each part has by itself; of parts that overlap they may add up to more
            than one, "components".
    """

    mean: Float64[Tensor, " d_model"] = field(repr=False)
    parts: Float64[Tensor, "components d_model"] = field(repr=False)
    filters: Float64[Tensor, "components d_model"] = field(repr=False)
    shares: Float64[Tensor, " components"] = field(repr=False)


def components(
    rows: Float[Tensor, "rows d_model"], count: int, *, method: str = "ica", width: int | None = None, seed: int = 0
) -> Components:
    """Return what rows of activations are made of.

    `pca` finds the axes of largest variance. `ica` turns the `width` first of them, at unit variance, until their
    scores are as far from normal as can be: what some rows have and most lack is. `dictionary` looks there for atoms
    of which few at a time make up a row.

    Sources: Hyvärinen, "Fast and robust fixed-point algorithms for independent component analysis" (1999); Mairal et
    al., "Online dictionary learning for sparse coding" (2009); both as in scikit-learn.

    Args:
        rows: activations.
        count: components.
        method: `pca`, `ica` or `dictionary`.
        width: principal axes that `ica` and `dictionary` work in; by default as many as components.
        seed: of where the search begins.

    Raises:
        InputError: an unknown method, more components than rows vary along.

    >>> square = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]]) * torch.tensor([3.0, 1.0])
    >>> components(square, 1, method="pca").filters.abs().round(decimals=3).tolist()
    [[0.333, 0.0]]
    """
    if method not in METHODS:
        raise InputError(f"method is {quote(method)}: choose from {', '.join(METHODS)}")
    check_integer(count, "components", low=1)
    values = rows.double().numpy()
    mean = values.mean(axis=0)
    axes, deviations = _principal(values - mean)
    if count > len(axes) and method != "dictionary":
        raise InputError(
            f"{count} components of {len(rows)} rows that vary along {len(axes)} directions: ask for at most "
            f"{len(axes)}, or give more texts"
        )
    wide = min(len(axes), max(count, width or 0)) if method != "pca" else count
    axes, deviations = axes[:wide], deviations[:wide]
    to_white, from_white = axes / deviations[:, None], axes * deviations[:, None]
    white = (values - mean) @ to_white.T
    total = float((values - mean).var(axis=0).sum())
    if method == "pca":
        turned = np.eye(wide)
    elif method == "ica":
        turned = _independent(white, seed)
    else:
        turned = _atoms(white, count, seed)
    filters, parts = turned @ to_white, turned @ from_white
    if method == "dictionary":  # its atoms are not of unit variance
        spread = np.maximum((white @ turned.T).std(axis=0), _FLAT)[:, None]
        filters, parts = filters / spread, parts / spread
    found = (mean, parts, filters, (parts**2).sum(axis=1) / total)
    return Components(*(torch.from_numpy(np.ascontiguousarray(each)) for each in found))


def _principal(centred: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The axes along which rows vary, and their standard deviations, falling."""
    from sklearn import decomposition  # slow to import

    pca = decomposition.PCA(svd_solver="full").fit(centred)
    deviations = np.sqrt(np.maximum(pca.explained_variance_, 0) * (len(centred) - 1) / len(centred))
    alive = deviations > _FLAT * max(float(deviations.max(initial=0.0)), np.finfo(float).tiny)
    return pca.components_[alive], deviations[alive]


def _independent(white: np.ndarray, seed: int) -> np.ndarray:
    """The rotation of white rows to the least normal scores."""
    from sklearn import decomposition

    ica = decomposition.FastICA(whiten=False, random_state=seed, max_iter=_TURNS, tol=_CLOSE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # where it has not settled, it is as near as it came
        found: np.ndarray = ica.fit(white).components_
    return found


def _atoms(white: np.ndarray, count: int, seed: int) -> np.ndarray:
    from sklearn import decomposition

    learner = decomposition.MiniBatchDictionaryLearning(
        n_components=count, alpha=ALPHA, batch_size=_BATCH, max_iter=_EPOCHS, random_state=seed, fit_algorithm="lars"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found: np.ndarray = learner.fit(white).components_
    return found
