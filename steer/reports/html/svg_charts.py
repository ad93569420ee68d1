"""Small plots as SVG: told apart by dashes and labels as well as by colour, and each said in words."""

from collections.abc import Mapping, Sequence

import numpy as np

from steer.statistics.estimate import Estimate
from vectors.common.html import attribute_value, escape_html, format_number

WIDTH, HEIGHT = 560, 200
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 130, 12, 34
_ROW, _SPAN, _EDGE = 16, 160, 6


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Return round numbers from low to high, about so many.

    >>> ticks(0, 1)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    rough = (high - low) / count
    unit = 10.0 ** np.floor(np.log10(rough))
    step = unit * next(factor for factor in (1, 2, 5, 10) if unit * factor >= rough * 0.99)
    first, last = int(np.ceil(low / step - 1e-9)), int(np.floor(high / step + 1e-9))
    return [float(round(each * step, 12)) for each in range(first, last + 1)]


def draw_intervals(figures: Sequence[Estimate | None], *, labels: Sequence[str] = ()) -> str:
    """Draw a figure of each run as a dot on its interval, a bar for a perfect sampler, a cross for an empty."""
    there = [each for each in figures if each is not None]
    marks = [mark for each in there for mark in (each.low, each.high, each.perfect, each.empty) if mark is not None]
    low, high = min(0.0, *marks), max(*marks, 1e-9)
    if high <= 1.0 and low >= 0.0 and any(1.0 in (each.perfect, each.empty) for each in there):
        high = 1.0
    side = 14 if labels else 0

    def x(at: float) -> str:
        return f"{side + _EDGE + (at - low) / (high - low) * (_SPAN - 2 * _EDGE - side):.1f}"

    parts, told = [], []
    for row, each in enumerate(figures):
        y = _ROW * row + _ROW // 2
        label = labels[row] if labels else ""
        if label:
            parts.append(f'<text x="0" y="{y + 4}">{label}</text>')
        if each is None:
            told.append(f"{label} not measured")
            continue
        beside = [f"{name} {format_number(mark)}" for name, mark in (("perfect", each.perfect), ("empty", each.empty))
                  if mark is not None]  # fmt: skip
        told.append(f"{label} {each}{', ' if beside else ''}{', '.join(beside)}".strip())
        parts.append(f'<line class="rule" x1="{x(low)}" x2="{x(high)}" y1="{y}" y2="{y}"/>')
        parts.append(f'<line class="span" x1="{x(each.low)}" x2="{x(each.high)}" y1="{y}" y2="{y}"/>')
        if each.perfect is not None:
            bar = x(each.perfect)
            parts.append(f'<line class="mark" x1="{bar}" x2="{bar}" y1="{y - 6}" y2="{y + 6}"/>')
        if each.empty is not None:
            cross = f"M{float(x(each.empty)) - 3:.1f} {y - 3}l6 6m0 -6l-6 6"
            parts.append(f'<path class="mark" d="{cross}"/>')
        parts.append(f'<circle class="dot" cx="{x(each.value)}" cy="{y}" r="3.5"/>')
    return (
        f'<svg class="draw_intervals" role="img" aria-label={attribute_value("; ".join(told))} width="{_SPAN}" '
        f'height="{_ROW * len(figures)}">{"".join(parts)}</svg>'
    )


def draw_lines(
    series: Mapping[str, tuple[Sequence[float], Sequence[float], Sequence[float], Sequence[float]]],
    *,
    title: str,
    across: str,
    up: str,
) -> str:
    """Draw lines with their bands: places, values, lower and upper ends by name."""
    right = max(places[-1] for places, *_ in series.values())
    left = min(places[0] for places, *_ in series.values())
    high = max(max(above) for *_, above in series.values()) or 1.0
    x, y = _scale(left, max(right, left + 1)), _rise(high)
    parts = _frame(left, max(right, left + 1), high, across, up)
    for place, (name, (places, values, below, above)) in enumerate(series.items()):
        upper = [f"{x(at):.1f} {y(each):.1f}" for at, each in zip(places, above, strict=True)]
        lower = [f"{x(at):.1f} {y(each):.1f}" for at, each in zip(places, below, strict=True)]
        parts.append(f'<path class="band s{place % 4}" d="M{"L".join([*upper, *reversed(lower)])}Z"/>')
        middle = "L".join(f"{x(at):.1f} {y(each):.1f}" for at, each in zip(places, values, strict=True))
        parts.append(f'<path class="line s{place % 4}" d="M{middle}"/>')
        key = WIDTH - _RIGHT + 6, _TOP + 8 + _ROW * place
        parts.append(f'<path class="line s{place % 4}" d="M{key[0]} {key[1]}h26"/>')
        parts.append(f'<text x="{key[0] + 31}" y="{key[1] + 4}">{_short(name)}</text>')
    told = "; ".join(
        f"{name}: highest {format_number(max(values))} at {format_number(places[int(np.argmax(values))])}, "
        f"{format_number(values[-1])} at the end"
        for name, (places, values, _, _) in series.items()
    )
    return _picture(parts, f"{title}: {told}")


def draw_histogram(edges: Sequence[float], shares: Sequence[float], *, title: str, across: str, up: str) -> str:
    """Draw a histogram: the share of texts between every two edges."""
    high = max(shares) or 1.0
    x, y = _scale(edges[0], edges[-1]), _rise(high)
    parts = _frame(edges[0], edges[-1], high, across, up)
    for at, share in enumerate(shares):
        left, wide = x(edges[at]) + 1, x(edges[at + 1]) - x(edges[at]) - 2
        if share:
            parts.append(
                f'<rect class="bar" x="{left:.1f}" y="{y(share):.1f}" width="{wide:.1f}" '
                f'height="{y(0) - y(share):.1f}"/>'
            )
    most = int(np.argmax(shares))
    span = f"from {format_number(edges[most])} to {format_number(edges[most + 1])}"
    told = f"most texts, a share of {format_number(shares[most])}, {span}"
    return _picture(parts, f"{title}: {told}")


def _scale(low: float, high: float) -> "Scale":
    return Scale(low, high, _LEFT, WIDTH - _RIGHT)


def _rise(high: float) -> "Scale":
    return Scale(0.0, high, HEIGHT - _BOTTOM, _TOP)


class Scale:
    """Where values lie on a picture."""

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        self.low, self.per, self.start = low, (end - start) / (high - low), start

    def __call__(self, at: float) -> float:
        """Return the place of a value."""
        return self.start + (at - self.low) * self.per


def _frame(low: float, high: float, top: float, across: str, up: str) -> list[str]:
    x, y = _scale(low, high), _rise(top)
    parts = []
    for at in ticks(0.0, top, 4):
        parts.append(f'<line class="rule" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y(at):.1f}" y2="{y(at):.1f}"/>')
        parts.append(f'<text class="end" x="{_LEFT - 5}" y="{y(at) + 4:.1f}">{at:g}</text>')
    for at in ticks(low, high, 6):
        parts.append(f'<text class="middle" x="{x(at):.1f}" y="{HEIGHT - _BOTTOM + 15}">{at:g}</text>')
    parts.append(f'<text class="middle" x="{(_LEFT + WIDTH - _RIGHT) / 2}" y="{HEIGHT - 3}">{across}</text>')
    parts.append(f'<text x="{_LEFT}" y="{_TOP - 2}">{up}</text>')
    return parts


def _picture(parts: Sequence[str], told: str) -> str:
    return (
        f'<svg class="plot" role="img" aria-label={attribute_value(told)} viewBox="0 -8 {WIDTH} {HEIGHT + 8}" '
        f'width="{WIDTH}" height="{HEIGHT + 8}">{"".join(parts)}</svg>\n'
    )


def _short(name: str) -> str:
    return escape_html(name if len(name) <= 14 else f"{name[:6]}…{name[-7:]}")
