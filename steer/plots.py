"""Plots of a sweep: figures against the radius, and radius and temperature on the plane of success and diversity."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steer.figures.cells import Row
from steer.figures.figure import Figure
from vectors.checks import shown
from vectors.errors import InputError
from vectors.files import check_place, write_atomically

if TYPE_CHECKING:
    from steer.dosed import DoseCurve, DoseRow
    from steer.sweeping import Sweep

FORMATS = (".png", ".svg", ".pdf")
WIDTH, HEIGHT = 7.2, 4.6  # inches: at 100 dots an inch as wide as a README
DIVERSITY = "diversity of successes"
PANELS = (
    ("success", "success", (0.0, 1.0)),
    ("diversity", DIVERSITY, None),
    ("typical", "typical (share)", (0.0, 1.0)),
    ("pressure", "pressure (nats/token)", None),
)
DOSE_PANELS = (
    ("success", "success", (0.0, 1.0)),
    ("probe", "probe (real texts: 1)", None),
    ("typical", "typical (share)", (0.0, 1.0)),
    ("pressure", "pressure (nats/token)", None),
)
# Okabe and Ito's colours, told apart by colour-blind eyes, each with a marker and a dash of its own
_STYLES = {
    "light": (("#0072B2", "o", "-"), ("#D55E00", "s", "--")),
    "dark": (("#56B4E9", "o", "-"), ("#E69F00", "s", "--")),
}
_LABELS = ((6, 5), (-22, -12))  # points of the two lines may coincide, their labels do not
_THEMES = {"light": ("white", "#222222", "#dddddd"), "dark": ("#0d1117", "#e6edf3", "#30363d")}


def plot_radius(sweep: "Sweep", path: str | Path | None = None, *, theme: str = "light", force: bool = False) -> Any:
    """Draw success, diversity, typicality and pressure against the radius, with 95 % bands, and return the axes.

    A dotted line says what real texts show; an upright one marks the suggested radius. With a path, the picture is
    written there; without, it is one of pyplot's, which a notebook shows by itself.

    Raises:
        InputError: an unknown theme or kind of file, a sweep of one radius.
        OutputError: a file that exists (unless `force`) or cannot be written.
    """
    rows = sweep.line("radius")
    if len(rows) < 2:
        raise InputError(f"the sweep has {len(rows)} radius: a plot against it needs two or more")
    with _figure(path, theme, force, shape=(2, 2)) as (figure, axes):
        suggested = sweep.suggested_radius()
        for panel, (name, label, limits) in zip(axes.flat, PANELS, strict=True):
            _line(panel, [row.cell.radius for row in rows], rows, name, _STYLES[theme][0])
            real = [_drawn(row, name).perfect for row in rows if name in row.figures]
            if real and real[0] is not None:
                panel.axhline(real[0], linestyle=":", linewidth=1, color=_THEMES[theme][1])
            if suggested is not None:
                panel.axvline(suggested.radius, linestyle="--", linewidth=1, color=_STYLES[theme][1][0])
            panel.set_ylabel(_label(rows, name, label))
            panel.set_xlim(*_margins([row.cell.radius for row in rows]))
            if limits:
                panel.set_ylim(limits[0] - 0.02, limits[1] + 0.02)
        for panel in axes[-1]:
            panel.set_xlabel("radius")
        note = "" if suggested is None else f"; dashed: suggested radius {suggested}"
        _title(figure, sweep, f"bands: 95 %; dotted: real texts{note}")
    return axes


def plot_doses(curve: "DoseCurve", path: str | Path | None = None, *, theme: str = "light", force: bool = False) -> Any:
    """Draw success, the probe's score, typicality and pressure against the dose, with 95 % bands; return the axes.

    A dotted line says what real texts show; an upright one marks where the probe rises and the texts get worse.

    Raises:
        InputError: an unknown theme or kind of file, a curve of one dose.
        OutputError: a file that exists (unless `force`) or cannot be written.
    """
    if len(curve.rows) < 2:
        raise InputError(f"the curve has {len(curve.rows)} dose: a plot against it needs two or more")
    doses = [row.dose for row in curve.rows]
    with _figure(path, theme, force, shape=(2, 2)) as (figure, axes):
        for panel, (name, label, limits) in zip(axes.flat, DOSE_PANELS, strict=True):
            _line(panel, doses, curve.rows, name, _STYLES[theme][0])
            real = [row.figures[name].perfect for row in curve.rows if name in row.figures]
            if real and real[0] is not None:
                panel.axhline(real[0], linestyle=":", linewidth=1, color=_THEMES[theme][1])
            if curve.alarm is not None:
                panel.axvline(curve.alarm, linestyle="--", linewidth=1, color=_STYLES[theme][1][0])
            panel.set_ylabel(label)
            panel.set_xlim(*_margins(doses))
            if limits:
                panel.set_ylim(limits[0] - 0.02, limits[1] + 0.02)
        for panel in axes[-1]:
            panel.set_xlabel("dose")
        note = "" if curve.alarm is None else f"; dashed: over-optimised from {curve.alarm:g}"
        title = f"{curve.name}   |   {curve.n} samples a dose\nbands: 95 %; dotted: real texts{note}"
        figure.suptitle(title, fontsize=10, parse_math=False)
    return axes


def plot_plane(sweep: "Sweep", path: str | Path | None = None, *, theme: str = "light", force: bool = False) -> Any:
    """Draw what more radius buys and what more temperature does, on the plane of success and diversity.

    Raises:
        InputError: an unknown theme or kind of file, no success to draw.
        OutputError: a file that exists (unless `force`) or cannot be written.
    """
    lines = [(axis, sweep.line(axis)) for axis in ("radius", "temperature")]
    if not any(row.success and row.diversity for _, rows in lines for row in rows):
        raise InputError("no cell has both success and diversity: they need a judge, and eight successful texts")
    with _figure(path, theme, force, shape=(1, 1)) as (figure, axes):
        panel = axes[0][0]
        for (axis, rows), (colour, marker, dash), aside in zip(lines, _STYLES[theme], _LABELS, strict=True):
            points = [(row, row.success, _drawn(row, "diversity")) for row in rows if row.success and row.diversity]
            if len(points) < 2:
                continue
            x = [success.value for _, success, _ in points]
            y = [diversity.value for _, _, diversity in points]
            panel.errorbar(
                x, y, color=colour, marker=marker, linestyle=dash, label=axis, capsize=2, linewidth=1.5, markersize=5,
                xerr=[[s.value - s.low for _, s, _ in points], [s.high - s.value for _, s, _ in points]],
                yerr=[[d.value - d.low for _, _, d in points], [d.high - d.value for _, _, d in points]],
                elinewidth=0.6,
            )  # fmt: skip
            for row, success, diversity in points:
                text = f"{getattr(row.cell, axis):g}"
                panel.annotate(
                    text, (success.value, diversity.value), xytext=aside, textcoords="offset points", fontsize=8,
                    color=colour,
                )  # fmt: skip
        panel.set_xlabel("success")
        panel.set_ylabel(_label([row for _, rows in lines for row in rows], "diversity", DIVERSITY))
        panel.legend(frameon=False)
        _title(figure, sweep, "bars: 95 %")
    return axes[0][0]


def _title(figure: Any, sweep: "Sweep", key: str) -> None:
    """What was swept, and below it what the marks mean."""
    title = f"{sweep.grid.expression}   |   {sweep.grid.n} samples a cell\n{key}"
    figure.suptitle(title, fontsize=10, parse_math=False)


def _drawn(row: "Row | DoseRow", name: str) -> Figure:
    """A figure as it is drawn: diversity, which grows with the number of texts, as a share of as many real texts'."""
    found = row.figures[name]
    if name != "diversity" or not found.perfect:
        return found
    value, low, high = (each / found.perfect for each in (found.value, found.low, found.high))
    return replace(found, value=value, low=low, high=high, perfect=1.0)


def _label(rows: Sequence[Row], name: str, label: str) -> str:
    """What an axis is called, and that it is a share where it is one."""
    shares = name == "diversity" and any(row.diversity and row.diversity.perfect for row in rows)
    return f"{label}\n(of real texts')" if shares else label


def _margins(values: Sequence[float]) -> tuple[float, float]:
    """Limits of an axis with a little room on either side."""
    room = 0.04 * (max(values) - min(values))
    return min(values) - room, max(values) + room


def _line(
    panel: Any, x: Sequence[float], rows: "Sequence[Row | DoseRow]", name: str, style: tuple[str, str, str]
) -> None:
    found = [(place, _drawn(row, name)) for place, row in zip(x, rows, strict=True) if name in row.figures]
    if not found:
        panel.text(0.5, 0.5, "not measured", ha="center", va="center", transform=panel.transAxes)
        return
    colour, marker, dash = style
    places = [place for place, _ in found]
    panel.plot(places, [each.value for _, each in found], color=colour, marker=marker, linestyle=dash, markersize=4)
    panel.fill_between(
        places, [each.low for _, each in found], [each.high for _, each in found], color=colour, alpha=0.2, linewidth=0
    )


@contextmanager
def _figure(path: str | Path | None, theme: str, force: bool, *, shape: tuple[int, int]) -> Iterator[tuple[Any, Any]]:
    """Yield a figure and its axes, afterwards written and no concern of pyplot's; without a path, one of pyplot's."""
    if theme not in _THEMES:
        raise InputError(f"theme is {shown(theme)}: choose from {', '.join(_THEMES)}")
    if path is not None and Path(path).suffix.lower() not in FORMATS:
        raise InputError(f"{shown(path)} is no picture: end its name with {', '.join(FORMATS)}")
    place = None if path is None else check_place(path, force=force)
    from matplotlib import rc_context  # slow to import
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas

    back, ink, grid = _THEMES[theme]
    looks: Any = dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color", "axes.edgecolor"), ink)
    looks |= dict.fromkeys(("figure.facecolor", "axes.facecolor", "savefig.facecolor"), back)
    looks |= {
        "grid.color": grid,
        "axes.grid": True,
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
    with rc_context(looks):
        size: Any = {"figsize": (WIDTH, HEIGHT), "layout": "constrained"}
        if place is None:
            from matplotlib import pyplot

            figure = pyplot.figure(**size)
        else:
            figure = Canvas(**size)
            FigureCanvasAgg(figure)
        yield figure, figure.subplots(*shape, squeeze=False)
        if place is not None:
            drawn = BytesIO()
            figure.savefig(drawn, dpi=150, format=place.suffix[1:].lower())
            write_atomically(place, drawn.getvalue(), force=force)
