"""Directions of a classifier: what best tells rows of two sides apart."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from vectors.errors import InputError

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
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
    fit = held_back(max(STRENGTHS, key=likelihood)).fit(seen, known, sample_weight=counts)
    return torch.from_numpy(fit.coef_.reshape(-1) / spread)
