"""A pressure budget: how much of a point may be added so that steering stays within so many nats a token."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from steer.composition.steering_point import SteeringPoint
from vectors.common.errors import InputError
from vectors.common.validation import check_number

PILOT = 32
"""Samples at each scale that is tried."""

OFFSET = 1 << 62
"""Added to the index of a pilot's samples: they are none of those that are sampled afterwards."""

_LOG = logging.getLogger(__name__)
_HALVINGS = 7  # of the scale: the budget is met within a hundredth of the whole point
_DIGITS = 4  # of a scale: what is recorded is what was used

Pressures = Callable[[SteeringPoint], np.ndarray]
"""From a point to the pressure of every token of a pilot batch, nats."""


@dataclass(frozen=True)
class Budgeted:
    """A point within its budget, and how it was found.

    Attributes:
        point: what may be added; its `scale` says how much of what was asked for that is.
        trace: each scale that was tried, with the 95th percentile of the pressure of its pilot's tokens.
    """

    point: SteeringPoint
    trace: tuple[tuple[float, float], ...]


def scale_to_pressure(point: SteeringPoint, max_pressure: float, pressures: Pressures) -> Budgeted:
    """Return as much of a point as keeps the 95th percentile of the pressure per token within a budget.

    The scale is bisected between nothing and all of the point, on samples that share their random numbers, so that it
    is the largest within the budget up to a hundredth of the point where pressure rises with the scale.

    Args:
        point: what was asked for.
        max_pressure: nats per token, at the 95th percentile over all tokens of a pilot.
        pressures: samples a pilot batch.

    Raises:
        InputError: a budget that is not positive, or one that not even a hundredth of the point stays within.
    """
    budget = check_number(max_pressure, "max_pressure")
    if budget <= 0:
        raise InputError(f"max_pressure is {budget:g}: give nats per token above 0, such as 0.5 (dose 0 pays nothing)")
    trace: list[tuple[float, float]] = []

    def fits(scale: float) -> bool:
        found = pressures(point.scaled(scale)) if scale != 1.0 else pressures(point)
        trace.append((scale, float(np.percentile(found, 95))))
        _LOG.info("at %g of the point, p95 pressure is %.3g nats per token", *trace[-1])
        return trace[-1][1] <= budget

    if fits(1.0):
        return Budgeted(point, tuple(trace))
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = round((low + high) / 2, _DIGITS)
        low, high = (middle, high) if fits(middle) else (low, middle)
    if low == 0.0:
        least = min(trace)[1]
        raise InputError(
            f"max_pressure is {budget:g}, and {high:.2g} of this point already pays {least:.3g} nats per token: allow "
            "more, or leave a concept out"
        )
    return Budgeted(point.scaled(low), tuple(trace))
