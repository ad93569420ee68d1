"""An estimate: a measured value with its 95 % interval and the number of texts it is from."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from vectors.common.errors import InputError
from vectors.common.validation import check_integer, check_number

MIN_COUNTED = 20
"""Minimum number of texts that shares are counted in."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """One measured value with its interval.

    Attributes:
        name: name of the metric.
        value: the measured value.
        low, high: bounds of its 95 % interval.
        n: number of texts it is from.
        perfect: expected value for a perfect sampler with as many texts, if known.
        empty: expected value for a sampler without any effect, if known.

    Raises:
        InputError: a value or bound that is not a finite number, or bounds in the wrong order.
    """

    name: str
    value: float
    low: float
    high: float
    n: int
    perfect: float | None = None
    empty: float | None = None

    def __post_init__(self) -> None:
        """Check every field and convert NumPy numbers to Python's."""
        for field in ("value", "low", "high", "perfect", "empty"):
            content = getattr(self, field)
            if content is not None or field in ("value", "low", "high"):
                object.__setattr__(self, field, check_number(content, f"{field} of {self.name}"))
        object.__setattr__(self, "n", check_integer(self.n, f"n of {self.name}", low=1))
        if self.low > self.high:
            raise InputError(
                f"the interval of {self.name} is {self.low:g} to {self.high:g}: give the lower bound first"
            )

    def __str__(self) -> str:
        """Return the value and its interval, with two significant digits of the interval's width.

        >>> str(Estimate(name="success", value=0.9375, low=0.8497, high=0.9754, n=64))
        '0.94 (0.85 to 0.98)'
        """
        digits = _decimals(self.high - self.low)
        value, low, high = (
            f"{round(number, digits) + 0.0:.{digits}f}"  # + 0.0: no minus sign before a zero
            for number in (self.value, self.low, self.high)
        )
        return f"{value} ({low} to {high})"

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return asdict(self)


def html_cells(estimates: Sequence[Estimate | None]) -> list[str]:
    """Return the estimates as escaped table cells; a missing one is empty."""
    from vectors.common.html import escape_html  # only notebooks need it

    return ["" if estimate is None else escape_html(estimate) for estimate in estimates]


def _decimals(width: float) -> int:
    """Return the number of decimals, 0 to 6, that show an interval of this width with two significant digits."""
    return 2 if width <= 0 else min(6, max(0, 1 - math.floor(math.log10(width))))
