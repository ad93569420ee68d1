"""Layers as a user names them: `3`, `3,5,9`, `8-20` or `8:20` with both ends, `1-` up to the last."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from vectors.common.errors import InputError, SteerError
from vectors.common.validation import check_integer, quote

MAX_LAYER = 99_999
_RANGE = re.compile(r"([0-9]{1,5})\s*(?:([-:])\s*([0-9]{1,5})?)?", re.ASCII)


@dataclass(frozen=True)
class LayerRanges:
    """Some layers by number and by range; `parse_layers` makes one.

    Attributes:
        ranges: first and last layer of each range; a last layer of None is the last there is.
    """

    ranges: tuple[tuple[int, int | None], ...]

    def __contains__(self, layer: int) -> bool:
        """Whether a layer is in one of the ranges."""
        return any(first <= layer and (last is None or layer <= last) for first, last in self.ranges)

    def __str__(self) -> str:
        """Return the ranges as `parse_layers` reads them."""
        return ",".join(
            f"{first}" if first == last else f"{first}-{'' if last is None else last}" for first, last in self.ranges
        )

    @property
    def only(self) -> int | None:
        """The layer, if it is a single one."""
        first, last = self.ranges[0]
        return first if len(self.ranges) == 1 and first == last else None

    def choose(self, available: Iterable[int], what: str, *, error: type[SteerError] = InputError) -> list[int]:
        """Return those of some layers that are in the ranges, in order; a range may reach beyond them.

        Raises:
            SteerError: (as `error`) a single layer that is not among them, or a range without any of them.
        """
        layers = sorted(set(available))
        for first, last in self.ranges:
            if not any(first <= layer and (last is None or layer <= last) for layer in layers):
                wanted = f"layer {first}" if first == last else f"layers {LayerRanges(((first, last),))}"
                raise error(f"{what} has no {wanted}: choose from {format_layers(layers) or 'none'}")
        return [layer for layer in layers if layer in self]


def parse_layers(value: "str | int | Iterable[int] | LayerRanges", what: str = "layers") -> LayerRanges:
    """Return the layers that a text, a number or several numbers name; `what` is their name in messages.

    Raises:
        InputError: anything else.

    >>> layers = parse_layers("1,8-20")
    >>> 8 in layers, 21 in layers, str(layers)
    (True, False, '1,8-20')
    >>> str(parse_layers(range(3, 6)))
    '3-5'
    """
    if isinstance(value, LayerRanges):
        return value
    if isinstance(value, str):
        return LayerRanges(tuple(_range(part.strip(), value, what) for part in value.split(",")))
    if isinstance(value, Iterable):
        numbers = sorted({check_integer(layer, what, high=MAX_LAYER) for layer in value})
        if not numbers:
            raise InputError(f"{what} is empty: give at least one layer, or leave it out for all")
        return parse_layers(format_layers(numbers))
    number = check_integer(value, what, high=MAX_LAYER)
    return LayerRanges(((number, number),))


def format_layers(layers: Iterable[int]) -> str:
    """Return layers as text, neighbours as a range.

    >>> format_layers([0, 1, 2, 5])
    '0-2,5'
    """
    runs: list[list[int]] = []
    for layer in sorted(set(layers)):
        if runs and layer == runs[-1][-1] + 1:
            runs[-1].append(layer)
        else:
            runs.append([layer])
    return ",".join(f"{run[0]}" if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def _range(part: str, text: str, what: str) -> tuple[int, int | None]:
    match = _RANGE.fullmatch(part)
    first, last = (int(match[1]), int(match[3]) if match[3] else None) if match else (0, None)
    if match and not match[2]:
        last = first
    if match is None or (last is not None and last < first):
        raise InputError(f"{what} is {quote(text)}: give layers counted from 0, such as 3 or 8-20 or 3,5,9")
    return first, last
