"""The figures of runs as HTML: tables by section, each figure with its interval, a drawing and its sentence."""

from collections.abc import Mapping, Sequence

import numpy as np

from steer.metrics.fidelity import Fidelity
from steer.reports.glossary import COLUMNS, FIDELITY_COLUMNS, SECTIONS, label, meaning
from steer.reports.html.svg_charts import draw_histogram, draw_intervals
from steer.reports.report import Report
from steer.runs.sample_set import SampleSet
from steer.statistics.estimate import Estimate
from steer.statistics.intervals import rate
from vectors.common.html import definition_list, escape_html, format_number, table

_BINS = 20


def metric_tables(reports: Sequence[Report]) -> str:
    """Return a table for each section of the reports, folded, with a column for each run."""
    return "".join(
        _folded_section(name, [{figure.name: figure for figure in report.sections.get(name, ())} for report in reports])
        for name in dict.fromkeys(name for report in reports for name in report.sections)
    )


def _folded_section(section: str, by_run: Sequence[Mapping[str, Estimate]]) -> str:
    labels = [str(number) for number in range(1, len(by_run) + 1)] if len(by_run) > 1 else []
    rows = []
    for name in dict.fromkeys(name for figures in by_run for name in figures):
        estimates = [figures.get(name) for figures in by_run]
        values = [escape_html(estimate) if estimate else "not measured" for estimate in estimates]
        head = f"{escape_html(label(name))}<small>{escape_html(meaning(name))}</small>"
        row = [head, *values, draw_intervals(estimates, labels=labels)]
        if len(by_run) == 1 and (only := estimates[0]) is not None:
            row += [format_number(only.perfect), format_number(only.empty), str(only.n)]
        rows.append(row)
    heads = ["figure", "value (95 % interval)", "drawn", "real texts", "failure", "texts"]
    if labels:
        heads = ["figure", *(f"run {number}" for number in labels), "drawn"]
    return folded(section, SECTIONS.get(section, ""), table(heads, rows, caption=section))


def folded(title: str, sentence: str, inner: str) -> str:
    """Return a part of the page that opens when its title is clicked."""
    return f"<details><summary><h3>{escape_html(title)}</h3> {escape_html(sentence)}</summary>\n{inner}</details>\n"


def legend() -> str:
    """Return what the columns and the drawings show."""
    columns = "; ".join(f"<em>{name}</em>: {text}" for name, text in COLUMNS.items() if name != "n")
    return (
        "<p>Each line is a 95&nbsp;% interval with its value as a dot; the upright mark stands for real texts, the "
        f"cross for failure ({columns}).</p>\n"
    )


def fidelity_tables(fidelity: Fidelity) -> str:
    """Return how close each attribute that was not steered stays to the truth, and the shares of its values."""
    parts = []
    events = {event.event for event in fidelity.events}
    rows = [
        [
            escape_html(row.attribute), escape_html(row.tv), draw_intervals([row.tv]),
            *map(format_number, (row.tv.perfect, row.ceiling, row.tv.empty)), _moved(row.kept),
        ]
        for row in fidelity.attributes
        if row.attribute not in events
    ]  # fmt: skip
    if rows:
        heads = ["attribute", "TV (95 % interval)", "drawn", "by chance", "at most", "one value", "moved?"]
        parts.append(table(heads, rows, caption="attributes that were not steered: total variation"))
        parts.append(_explained(["TV", "by chance", "at most", "one value"]))
    rates = [
        [
            escape_html(event.event), escape_html(event.observed), draw_intervals([event.observed]),
            format_number(event.truth[0]), format_number(event.p), _moved(event.kept),
        ]
        for event in fidelity.events
    ]  # fmt: skip
    if rates:
        heads = ["event", "rate (95 % interval)", "drawn", "truth", "p", "moved?"]
        parts.append(table(heads, rates, caption="events that were not steered"))
        parts.append(_explained(["truth", "p"]))
    for row in fidelity.attributes:
        if row.attribute in events or not row.counts:
            continue
        shares = []
        for name in sorted(row.truth, key=lambda value: -row.truth[value]):
            value, low, high = rate(row.counts.get(name, 0), row.tv.n)
            share = Estimate(
                name=str(name), value=value, low=low, high=high, n=row.tv.n, perfect=min(1.0, row.truth[name])
            )
            shares.append(
                [escape_html(name), escape_html(share), draw_intervals([share]), format_number(row.truth[name])]
            )
        title = f"{row.attribute}, value by value"
        inner = table(["value", "share (95 % interval)", "drawn", "truth"], shares, caption=title)
        parts.append(f"<details><summary>{escape_html(title)}</summary>{inner}</details>\n")
    return "".join(parts)


def _moved(is_unchanged: bool) -> str:
    return "no" if is_unchanged else "yes"


def _explained(columns: Sequence[str]) -> str:
    return definition_list((column, FIDELITY_COLUMNS[column]) for column in columns)


def pressure_histogram(name: str, samples: SampleSet, *, top: float) -> str:
    """Return a plot of the texts' mean pressures, from 0 to `top`, and its numbers."""
    pressures = np.array([sample.pressure["mean"] for sample in samples if sample.pressure is not None])
    if len(pressures) < 2 or not top > 0:
        return ""
    counts, edges = np.histogram(pressures, bins=min(_BINS, max(6, len(pressures) // 4)), range=(0.0, top))
    shares = (counts / len(pressures)).tolist()
    title = f"Texts by their pressure: {name}" if name else "Texts by their pressure"
    axes = {"across": "mean pressure, nats per token", "up": "share of the texts"}
    drawn = draw_histogram(edges.tolist(), shares, title=title, **axes)
    rows = [
        [f"{edges[index]:.3f} to {edges[index + 1]:.3f}", str(int(count)), f"{count / len(pressures):.3f}"]
        for index, count in enumerate(counts)
    ]
    numbers = table(["nats per token", "texts", "share"], rows, caption="texts by their mean pressure")
    return figure(title, drawn, numbers)


def figure(title: str, drawn: str, numbers: str, notes: str = "") -> str:
    """Return a plot with its title, notes, and its numbers, folded."""
    return (
        f"<figure><figcaption>{escape_html(title)}</figcaption>\n{drawn}{notes}"
        f"<details><summary>Numbers</summary>{numbers}</details></figure>\n"
    )
