"""Pressure budget: the largest multiple of a point whose pressure stays within a number of nats per token."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from steer.composition.steering_point import SteeringPoint
from vectors.common.errors import InputError
from vectors.common.validation import check_number

PILOT = 32
"""Pilot samples per scale."""

OFFSET = 1 << 62
"""Added to the indices of pilot samples, so that they differ from those of the run."""

_LOG = logging.getLogger(__name__)
_HALVINGS = 7  # the scale is found to within 1/128
_DIGITS = 4  # scales are rounded, so that the recorded scale is the one that was used

Pressures = Callable[[SteeringPoint], np.ndarray]
"""Samples a pilot batch for a point and returns the pressure of every token, in nats."""


@dataclass(frozen=True)
class ScaledPoint:
    """A point within its budget, and the scales that were tried.

    Attributes:
        point: the scaled point; its `scale` is the factor.
        trace: pairs of a tried scale and the 95th percentile of the pressure over its pilot's tokens.
    """

    point: SteeringPoint
    trace: tuple[tuple[float, float], ...]


def scale_to_pressure(point: SteeringPoint, max_pressure: float, pressures: Pressures) -> ScaledPoint:
    """Scale a point down so that the 95th percentile of the pressure per token stays within a budget.

    The scale is bisected between 0 and 1, on pilot samples that share their random numbers. Where pressure rises with
    the scale, the result is the largest scale within the budget, up to 1/128.

    Args:
        point: the point at scale 1.
        max_pressure: limit for the 95th percentile over all tokens of a pilot, nats per token.
        pressures: samples a pilot batch.

    Raises:
        InputError: a budget that is not positive, or is exceeded at the smallest scale.
    """
    budget = check_number(max_pressure, "max_pressure")
    if budget <= 0:
        raise InputError(f"max_pressure is {budget:g}: give nats per token above 0, such as 0.5 (dose 0 pays nothing)")
    trace: list[tuple[float, float]] = []

    def fits(scale: float) -> bool:
        token_pressures = pressures(point.scaled(scale) if scale != 1.0 else point)
        trace.append((scale, float(np.percentile(token_pressures, 95))))
        _LOG.info("at %g of the point, p95 pressure is %.3g nats per token", *trace[-1])
        return trace[-1][1] <= budget

    if fits(1.0):
        return ScaledPoint(point, tuple(trace))
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = round((low + high) / 2, _DIGITS)
        low, high = (middle, high) if fits(middle) else (low, middle)
    if low == 0.0:
        lowest = min(trace)[1]
        raise InputError(
            f"max_pressure is {budget:g}, and {high:.2g} of this point already pays {lowest:.3g} nats per token: allow "
            "more, or leave a concept out"
        )
    return ScaledPoint(point.scaled(low), tuple(trace))
