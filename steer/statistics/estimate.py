"""A figure: a value that never goes without its interval and the number of texts behind it."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from vectors.common.errors import InputError
from vectors.common.html import escape_html
from vectors.common.validation import check_integer, check_number

FEWEST_COUNTED = 20
"""Texts that shares are counted in, at least: fewer say nothing about them."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """One measured value.

    Attributes:
        name: what was measured.
        value: the measurement.
        low, high: its 95 % interval.
        n: how many texts it is from.
        perfect: what a perfect sampler would show at that n, where that is known.
        empty: what a sampler without any of it would show, where that is known.

    Raises:
        InputError: a value or bound that is no number, or an interval that is upside down.
    """

    name: str
    value: float
    low: float
    high: float
    n: int
    perfect: float | None = None
    empty: float | None = None

    def __post_init__(self) -> None:
        """Check every field, and turn numbers of other libraries into plain ones."""
        for key in ("value", "low", "high", "perfect", "empty"):
            given = getattr(self, key)
            if given is not None or key in ("value", "low", "high"):
                object.__setattr__(self, key, check_number(given, f"{key} of {self.name}"))
        object.__setattr__(self, "n", check_integer(self.n, f"n of {self.name}", low=1))
        if self.low > self.high:
            raise InputError(
                f"the interval of {self.name} is {self.low:g} to {self.high:g}: give the lower bound first"
            )

    def __str__(self) -> str:
        """Return the value and its interval, to as many digits as the interval warrants.

        >>> str(Estimate(name="success", value=0.9375, low=0.8497, high=0.9754, n=64))
        '0.94 (0.85 to 0.98)'
        """
        digits = _digits(self.high - self.low)
        value, low, high = (f"{round(each, digits) + 0.0:.{digits}f}" for each in (self.value, self.low, self.high))
        return f"{value} ({low} to {high})"  # + 0.0: a zero has no sign

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


def _digits(width: float) -> int:
    """How many decimals show an interval of that width to two digits, from 0 to 6."""
    return 2 if width <= 0 else min(6, max(0, 1 - math.floor(math.log10(width))))


def _figures(found: Sequence[Estimate | None]) -> list[str]:
    return ["" if each is None else escape_html(each) for each in found]
