"""Small plots as SVG: series differ by dashes and labels as well as by colour, and each plot is described in words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from steer.statistics.estimate import Estimate
from vectors.common.html import attribute_value, format_number
from vectors.common.validation import escape_invisible

WIDTH, HEIGHT = 560, 200
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 130, 12, 34
_ROW, _SPAN, _EDGE = 16, 160, 6


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Return about `count` round numbers from low to high.

    >>> ticks(0, 1)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    rough = (high - low) / count
    unit = 10.0 ** np.floor(np.log10(rough))
    step = unit * next(factor for factor in (1, 2, 5, 10) if unit * factor >= rough * 0.99)
    first, last = int(np.ceil(low / step - 1e-9)), int(np.floor(high / step + 1e-9))
    return [float(round(multiple * step, 12)) for multiple in range(first, last + 1)]


def draw_intervals(figures: Sequence[Estimate | None], *, labels: Sequence[str] = ()) -> str:
    """Draw a figure of each run as a dot on its interval, with a bar at real texts and a cross at failure."""
    known = [figure for figure in figures if figure is not None]
    marks = [
        mark for figure in known for mark in (figure.low, figure.high, figure.perfect, figure.empty) if mark is not None
    ]
    low, high = min(0.0, *marks), max(*marks, 1e-9)
    if high <= 1.0 and low >= 0.0 and any(1.0 in (figure.perfect, figure.empty) for figure in known):
        high = 1.0
    side = 14 if labels else 0

    def x(value: float) -> str:
        return f"{side + _EDGE + (value - low) / (high - low) * (_SPAN - 2 * _EDGE - side):.1f}"

    parts, descriptions = [], []
    for row, figure in enumerate(figures):
        y = _ROW * row + _ROW // 2
        label = labels[row] if labels else ""
        if label:
            parts.append(f'<text x="0" y="{y + 4}">{label}</text>')
        if figure is None:
            descriptions.append(f"{label} not measured")
            continue
        named = (("real texts", figure.perfect), ("failure", figure.empty))
        beside = [f"{name} {format_number(mark)}" for name, mark in named if mark is not None]
        descriptions.append(", ".join([f"{label} {figure}".strip(), *beside]))
        parts.append(f'<line class="rule" x1="{x(low)}" x2="{x(high)}" y1="{y}" y2="{y}"/>')
        parts.append(f'<line class="span" x1="{x(figure.low)}" x2="{x(figure.high)}" y1="{y}" y2="{y}"/>')
        if figure.perfect is not None:
            bar = x(figure.perfect)
            parts.append(f'<line class="mark" x1="{bar}" x2="{bar}" y1="{y - 6}" y2="{y + 6}"/>')
        if figure.empty is not None:
            cross = f"M{float(x(figure.empty)) - 3:.1f} {y - 3}l6 6m0 -6l-6 6"
            parts.append(f'<path class="mark" d="{cross}"/>')
        parts.append(f'<circle class="dot" cx="{x(figure.value)}" cy="{y}" r="3.5"/>')
    return (
        f'<svg role="img" aria-label={attribute_value("; ".join(descriptions))} width="{_SPAN}" '
        f'height="{_ROW * len(figures)}">{"".join(parts)}</svg>'
    )


@dataclass(frozen=True)
class Series:
    """A line with its band: x values, and y values with lower and upper ends."""

    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]


def draw_lines(
    series: Mapping[str, Series],
    *,
    title: str,
    across: str,
    up: str,
    labels: Sequence[tuple[float, float, str]] = (),
) -> str:
    """Draw lines with their bands.

    Args:
        series: by name.
        title: of the plot, for its description.
        across: name of the x axis.
        up: name of the y axis.
        labels: texts above points, each with its x and y.
    """
    left, right = min(line.x[0] for line in series.values()), max(line.x[-1] for line in series.values())
    right = max(right, left + 1)
    top = max(max(line.high) for line in series.values()) or 1.0
    x, y = _x_scale(left, right), _y_scale(top)
    parts = _frame(left, right, top, across, up)
    for index, (name, line) in enumerate(series.items()):
        upper = [f"{x(at):.1f} {y(value):.1f}" for at, value in zip(line.x, line.high, strict=True)]
        lower = [f"{x(at):.1f} {y(value):.1f}" for at, value in zip(line.x, line.low, strict=True)]
        parts.append(f'<path class="band s{index % 4}" d="M{"L".join([*upper, *reversed(lower)])}Z"/>')
        middle = "L".join(f"{x(at):.1f} {y(value):.1f}" for at, value in zip(line.x, line.y, strict=True))
        parts.append(f'<path class="line s{index % 4}" d="M{middle}"/>')
        if len(series) > 1 or name:
            key_x, key_y = WIDTH - _RIGHT + 6, _TOP + 8 + _ROW * index
            parts.append(f'<path class="line s{index % 4}" d="M{key_x} {key_y}h26"/>')
            parts.append(f'<text x="{key_x + 31}" y="{key_y + 4}">{_shorten(name)}</text>')
    for at, value, text in labels:
        parts.append(f'<circle class="dot" cx="{x(at):.1f}" cy="{y(value):.1f}" r="3.5"/>')
        parts.append(
            f'<text class="peak" x="{x(at) + 6:.1f}" y="{max(_TOP + 8, y(value) - 5):.1f}">{_shorten(text)}</text>'
        )
    descriptions = "; ".join(
        f"{name}: highest {format_number(max(line.y))} at {format_number(line.x[int(np.argmax(line.y))])}, "
        f"{format_number(line.y[-1])} at the end"
        for name, line in series.items()
    )
    return _svg(parts, f"{title}: {descriptions}")


def draw_histogram(edges: Sequence[float], shares: Sequence[float], *, title: str, across: str, up: str) -> str:
    """Draw the share of texts between every two neighbouring edges."""
    top = max(shares) or 1.0
    x, y = _x_scale(edges[0], edges[-1]), _y_scale(top)
    parts = _frame(edges[0], edges[-1], top, across, up)
    for index, share in enumerate(shares):
        left, width = x(edges[index]) + 1, x(edges[index + 1]) - x(edges[index]) - 2
        if share:
            parts.append(
                f'<rect class="bar" x="{left:.1f}" y="{y(share):.1f}" width="{width:.1f}" '
                f'height="{y(0) - y(share):.1f}"/>'
            )
    mode = int(np.argmax(shares))
    span = f"from {format_number(edges[mode])} to {format_number(edges[mode + 1])}"
    return _svg(parts, f"{title}: most texts, a share of {format_number(shares[mode])}, {span}")


def _x_scale(low: float, high: float) -> "Scale":
    return Scale(low, high, _LEFT, WIDTH - _RIGHT)


def _y_scale(high: float) -> "Scale":
    return Scale(0.0, high, HEIGHT - _BOTTOM, _TOP)


class Scale:
    """A linear map from values to coordinates of the picture."""

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        self.low, self.per_unit, self.start = low, (end - start) / (high - low), start

    def __call__(self, value: float) -> float:
        """Return the coordinate of a value."""
        return self.start + (value - self.low) * self.per_unit


def _frame(low: float, high: float, top: float, across: str, up: str) -> list[str]:
    """Return the grid lines, tick labels and axis names."""
    x, y = _x_scale(low, high), _y_scale(top)
    parts = []
    for tick in ticks(0.0, top, 4):
        parts.append(f'<line class="rule" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>')
        parts.append(f'<text class="end" x="{_LEFT - 5}" y="{y(tick) + 4:.1f}">{tick:g}</text>')
    for tick in ticks(low, high, 6):
        parts.append(f'<text class="middle" x="{x(tick):.1f}" y="{HEIGHT - _BOTTOM + 15}">{tick:g}</text>')
    parts.append(f'<text class="middle" x="{(_LEFT + WIDTH - _RIGHT) / 2}" y="{HEIGHT - 3}">{across}</text>')
    parts.append(f'<text x="{_LEFT}" y="{_TOP - 10}">{up}</text>')
    return parts


def _svg(parts: Sequence[str], description: str) -> str:
    return (
        f'<svg class="plot" role="img" aria-label={attribute_value(description)} viewBox="0 -12 {WIDTH} {HEIGHT + 12}" '
        f'width="{WIDTH}" height="{HEIGHT + 12}">{"".join(parts)}</svg>\n'
    )


def _shorten(name: str) -> str:
    # escape_html marks control characters by a span, which must not stand inside an SVG
    return escape(escape_invisible(name if len(name) <= 14 else f"{name[:6]}…{name[-7:]}"))
