"""Plots of estimates: panels against an axis with 95 % bands, and two estimates on a plane."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

from steer.statistics.estimate import Estimate
from vectors.common.errors import InputError
from vectors.common.files import check_output_path, write_atomically
from vectors.common.validation import quote

FORMATS = (".png", ".svg", ".pdf")
WIDTH, HEIGHT = 7.2, 4.6  # inches: at 100 dots an inch as wide as a README
PANELS: Mapping[str, tuple[str, tuple[float, float] | None]] = {
    "success": ("success", (0.0, 1.0)),
    "diversity": ("diversity of successes", None),
    "probe": ("probe (real texts: 1)", None),
    "typical": ("typical (share)", (0.0, 1.0)),
    "pressure": ("pressure (nats/token)", None),
}
"""Label and limits of the panel of each estimate."""

# Okabe and Ito's colours, distinguishable with colour blindness; each line also has its own marker and dash
_STYLES = {
    "light": (("#0072B2", "o", "-"), ("#D55E00", "s", "--")),
    "dark": (("#56B4E9", "o", "-"), ("#E69F00", "s", "--")),
}
_LABELS = ((6, 5), (-22, -12))  # offsets of the labels: the two lines may share points, their labels must not overlap
_THEMES = {"light": ("white", "#222222", "#dddddd"), "dark": ("#0d1117", "#e6edf3", "#30363d")}

PlanePoint = tuple[float, Estimate, Estimate]
"""A value of the swept axis, with the estimates on the x and y axes."""


def plot_panels(
    positions: Sequence[float],
    estimates: Sequence[Mapping[str, Estimate]],
    names: Sequence[str],
    *,
    axis: str,
    title: str,
    mark: float | None = None,
    path: str | Path | None = None,
    theme: str = "light",
    force: bool = False,
) -> Any:
    """Draw four estimates against an axis, with 95 % bands, and return the 2 by 2 axes.

    A dotted line shows the value of real texts. With a path, the picture is written there; without one, it is a
    pyplot figure, which a notebook shows by itself.

    Args:
        positions: the values on the axis.
        estimates: for each position, the estimates by name; a name may be missing.
        names: the four estimates to draw, keys of `PANELS`.
        axis: label of the axis.
        title: above the panels.
        mark: position of a dashed vertical line.
        path: picture to write.
        theme: `light` or `dark`.
        force: replace a picture that exists.

    Raises:
        InputError: an unknown theme or kind of file, fewer than two positions.
        OutputError: a file that exists (unless `force`) or cannot be written.
    """
    if len(positions) < 2:
        raise InputError(f"there is {len(positions)} {axis}: a plot against it needs two or more")
    with _figure(path, theme, force, shape=(2, 2)) as (figure, axes):
        for panel, name in zip(axes.flat, names, strict=True):
            label, limits = PANELS[name]
            line = [
                (position, _relative(row, name))
                for position, row in zip(positions, estimates, strict=True)
                if name in row
            ]
            _draw_line(panel, line, _STYLES[theme][0])
            if line and (real := line[0][1].perfect) is not None:
                panel.axhline(real, linestyle=":", linewidth=1, color=_THEMES[theme][1])
            if mark is not None:
                panel.axvline(mark, linestyle="--", linewidth=1, color=_STYLES[theme][1][0])
            panel.set_ylabel(_label(estimates, name, label))
            panel.set_xlim(*_limits(positions))
            if limits:
                panel.set_ylim(limits[0] - 0.02, limits[1] + 0.02)
        for panel in axes[-1]:
            panel.set_xlabel(axis)
        figure.suptitle(title, fontsize=10, parse_math=False)
    return axes


def plot_plane(
    lines: Mapping[str, Sequence[PlanePoint]],
    *,
    labels: tuple[str, str],
    title: str,
    path: str | Path | None = None,
    theme: str = "light",
    force: bool = False,
) -> Any:
    """Draw up to two lines on the plane of two estimates, with 95 % bars, and return the axes.

    Args:
        lines: by name, the points of each line; a line of fewer than two is left out.
        labels: of the two axes.
        title: above the plot.
        path: picture to write; without one, the plot is a pyplot figure.
        theme: `light` or `dark`.
        force: replace a picture that exists.

    Raises:
        InputError: an unknown theme or kind of file.
        OutputError: a file that exists (unless `force`) or cannot be written.
    """
    with _figure(path, theme, force, shape=(1, 1)) as (figure, axes):
        panel = axes[0][0]
        for (name, points), (colour, marker, dash), offset in zip(lines.items(), _STYLES[theme], _LABELS, strict=False):
            if len(points) < 2:
                continue
            xs, ys = [x for _, x, _ in points], [y for _, _, y in points]
            panel.errorbar(
                [x.value for x in xs], [y.value for y in ys], xerr=_error_bars(xs), yerr=_error_bars(ys), color=colour,
                marker=marker, linestyle=dash, label=name, capsize=2, linewidth=1.5, markersize=5, elinewidth=0.6,
            )  # fmt: skip
            for position, x, y in points:
                panel.annotate(
                    f"{position:g}", (x.value, y.value), xytext=offset, textcoords="offset points", fontsize=8,
                    color=colour,
                )  # fmt: skip
        panel.set_xlabel(labels[0])
        panel.set_ylabel(labels[1])
        panel.legend(frameon=False, loc="lower left")  # where few points lie; "best" can be slow
        figure.suptitle(title, fontsize=10, parse_math=False)
    return axes[0][0]


def share_of_real(estimate: Estimate) -> Estimate:
    """Divide an estimate and its interval by the value of as many real texts.

    >>> half = Estimate(name="diversity", value=2.0, low=1.0, high=3.0, n=9, perfect=4.0)
    >>> str(share_of_real(half))
    '0.50 (0.25 to 0.75)'
    """
    if not estimate.perfect:
        return estimate
    value, low, high = (number / estimate.perfect for number in (estimate.value, estimate.low, estimate.high))
    return replace(estimate, value=value, low=low, high=high, perfect=1.0)


def _relative(row: Mapping[str, Estimate], name: str) -> Estimate:
    """Return an estimate for the plot; diversity, which grows with the number of texts, relative to real texts."""
    return share_of_real(row[name]) if name == "diversity" else row[name]


def _label(rows: Sequence[Mapping[str, Estimate]], name: str, label: str) -> str:
    shares = name == "diversity" and any(name in row and row[name].perfect for row in rows)
    return f"{label}\n(of real texts')" if shares else label


def _error_bars(estimates: Sequence[Estimate]) -> list[list[float]]:
    below = [estimate.value - estimate.low for estimate in estimates]
    return [below, [estimate.high - estimate.value for estimate in estimates]]


def _limits(values: Sequence[float]) -> tuple[float, float]:
    """Return the limits of an axis with a small margin on either side."""
    margin = 0.04 * (max(values) - min(values))
    return min(values) - margin, max(values) + margin


def _draw_line(panel: Any, points: Sequence[tuple[float, Estimate]], style: tuple[str, str, str]) -> None:
    if not points:
        panel.text(0.5, 0.5, "not measured", ha="center", va="center", transform=panel.transAxes)
        return
    colour, marker, dash = style
    positions = [position for position, _ in points]
    panel.plot(
        positions, [estimate.value for _, estimate in points], color=colour, marker=marker, linestyle=dash, markersize=4
    )
    low, high = [estimate.low for _, estimate in points], [estimate.high for _, estimate in points]
    panel.fill_between(positions, low, high, color=colour, alpha=0.2, linewidth=0)


@contextmanager
def _figure(path: str | Path | None, theme: str, force: bool, *, shape: tuple[int, int]) -> Iterator[tuple[Any, Any]]:
    """Yield a figure and its axes and then write it; without a path, the figure is registered with pyplot."""
    if theme not in _THEMES:
        raise InputError(f"theme is {quote(theme)}: choose from {', '.join(_THEMES)}")
    if path is not None and Path(path).suffix.lower() not in FORMATS:
        raise InputError(f"{quote(path)} is not a picture: end its name with {', '.join(FORMATS)}")
    checked_path = None if path is None else check_output_path(path, force=force)
    from matplotlib import rc_context  # slow to import
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    background, ink, grid = _THEMES[theme]
    style: Any = dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color", "axes.edgecolor"), ink)
    style |= dict.fromkeys(("figure.facecolor", "axes.facecolor", "savefig.facecolor"), background)
    style |= {
        "grid.color": grid,
        "axes.grid": True,
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
    with rc_context(style):
        size: Any = {"figsize": (WIDTH, HEIGHT), "layout": "constrained"}
        if checked_path is None:
            from matplotlib import pyplot

            figure = pyplot.figure(**size)
        else:
            figure = Figure(**size)
            FigureCanvasAgg(figure)
        yield figure, figure.subplots(*shape, squeeze=False)
        if checked_path is not None:
            picture = BytesIO()
            figure.savefig(picture, dpi=150, format=checked_path.suffix[1:].lower())
            write_atomically(checked_path, picture.getvalue(), force=force)
