"""Samples, sweeps and dose curves as a notebook shows them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from steer.figures.figure import Figure
from vectors.markup import number, safe, table

if TYPE_CHECKING:
    from steer.dosed import DoseCurve
    from steer.samples import SampleSet
    from steer.sweeping import Sweep

_SHOWN = 20  # texts: a cell of a notebook is no page


def samples_html(samples: "SampleSet") -> str:
    """Return the first texts of a run with what each cost."""
    if not len(samples):
        return "<p>no samples</p>"
    first = samples[0]
    asked = " ".join(f"{dose:+g} {name}" for name, dose in first.doses.items()) or "nothing"
    rows = [
        [
            str(each.index),
            f'<div style="white-space: pre-wrap; text-align: left">{safe(each.prompt + each.text)}</div>',
            "" if each.pressure is None else f"{each.pressure['mean']:.2f}",
            number(each.logprob_base),
            number(each.logprob_steered),
        ]
        for each in samples[:_SHOWN]
    ]
    caption = f"{len(samples)} samples of {first.model}: {asked}, radius {first.radius:g}, seed {first.seed}"
    heads = ["", "text", "pressure, nats/token", "log p base", "log p steered"]
    more = len(samples) - len(rows)
    return table(heads, rows, caption=caption) + (f"<p>and {more} more</p>" if more else "")


def sweep_html(sweep: "Sweep") -> str:
    """Return a row of figures for each cell, and the suggested radius."""
    rows = [
        [
            f"{row.cell.radius:g}", f"{row.cell.dose:g}", f"{row.cell.temperature:g}", safe(row.cell.layer or ""),
            *_figures([row.success, row.diversity, row.typical, row.pressure, row.frontier]),
        ]
        for row in sweep.rows
    ]  # fmt: skip
    heads = ["radius", "dose", "temperature", "layer", "success", "diversity", "typical", "pressure", "frontier"]
    found = sweep.suggested_radius()
    told = "" if found is None else f"<p>suggested radius: {safe(found)}</p>"
    caption = f"{sweep.grid.expression}: {sweep.grid.n} samples a cell, seed {sweep.grid.seed}, 95 % intervals"
    return table(heads, rows, caption=caption) + told


def curve_html(curve: "DoseCurve") -> str:
    """Return a row of figures for each dose."""
    rows = [[f"{row.dose:g}", *_figures([row.success, row.probe, row.typical, row.pressure])] for row in curve.rows]
    told = "" if curve.alarm is None else f"<p>past dose {curve.alarm:g}, only the direction gains</p>"
    caption = f"{curve.name}: {curve.n} samples a dose, 95 % intervals"
    return table(["dose", "success", "probe", "typical", "pressure"], rows, caption=caption) + told


def _figures(found: Sequence[Figure | None]) -> list[str]:
    return ["" if each is None else safe(each) for each in found]
