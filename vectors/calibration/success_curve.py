"""A smooth curve of success by shift through the rows of a pilot, each of which scatters."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64

Curve = Callable[[Float64[np.ndarray, " shifts"]], Float64[np.ndarray, " shifts"]]
"""Success by shift."""

_STEEPEST = 64.0  # exponent: success then rises within a twentieth of the shift


def fit_success(rows: Sequence[Mapping[str, Any]]) -> Curve:
    """Return the likeliest rising curve `b + (t - b) s^k / (s^k + c^k)` of success by shift, for hits in `n` texts.

    `b` is the success of the row at shift 0; `t`, `c` and `k` are found by maximum likelihood.
    Source: Hill, "The possible effects of the aggregation of the molecules of haemoglobin" (1910).

    Args:
        rows: `shift`, `success` and `n` of each, the one at shift 0 first; at least two.

    >>> rows = [{"shift": float(s), "success": p, "n": 50} for s, p in enumerate([0.0, 0.1, 0.5, 0.82, 0.8, 0.84])]
    >>> fit_success(rows)(np.array([0.0, 2.0, 5.0])).round(1).tolist()
    [0.0, 0.5, 0.8]
    """
    from scipy.optimize import minimize  # slow to import

    shifts, success, n = (np.array([row[key] for row in rows], dtype=float) for key in ("shift", "success", "n"))
    base, hits = success[0], success * n

    def at(parameters: np.ndarray, shift: np.ndarray) -> np.ndarray:
        top, middle, power = parameters
        with np.errstate(divide="ignore"):
            rise = 1 / (1 + np.exp(np.clip(power * (middle - np.log(shift)), -50, 50)))
        return np.asarray(base + (top - base) * rise)

    def loss(parameters: np.ndarray) -> float:
        share = np.clip(at(parameters, shifts[1:]), 1e-6, 1 - 1e-6)
        return -float((hits[1:] * np.log(share) + (n - hits)[1:] * np.log(1 - share)).sum())

    highest = max(success.max(), base)
    bounds = [(base, 1.0), (np.log(shifts[1]) - 3, np.log(shifts[-1]) + 3), (0.5, _STEEPEST)]
    starts = [(highest, np.log(middle), power) for middle in shifts[1:] for power in (2.0, 8.0)]
    found = min((minimize(loss, start, bounds=bounds, method="L-BFGS-B") for start in starts), key=lambda fit: fit.fun)
    return lambda shift: at(found.x, np.asarray(shift, dtype=float))
