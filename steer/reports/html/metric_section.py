"""The figures of runs as HTML: every one with its interval, and a mark beside what it could at best be."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from steer.metrics.fidelity import Fidelity
from steer.reports.glossary import meaning
from steer.reports.html.svg_charts import draw_histogram, draw_intervals, draw_lines
from steer.runs.sample_set import SampleSet
from steer.statistics.estimate import Estimate
from steer.statistics.intervals import rate
from vectors.common.html import definition_list, escape_html, format_number, table
from vectors.decoding.token_costs import Cost

if TYPE_CHECKING:
    from steer.reports.report import Report

_FEWEST_REACH = 0.1  # share of the texts, and at least two, that reach a place of the plot along them
_BINS = 20


def figures(made: Sequence["Report"]) -> str:
    """Return a table of figures for each section, with a column for each run."""
    return "".join(
        _section(name, [{figure.name: figure for figure in each.sections.get(name, ())} for each in made])
        for name in dict.fromkeys(name for each in made for name in each.sections)
    )


def _section(section: str, found: Sequence[Mapping[str, Estimate]]) -> str:
    labels = [str(place) for place in range(1, len(found) + 1)] if len(found) > 1 else []
    rows = []
    for name in dict.fromkeys(name for each in found for name in each):
        each = [figures.get(name) for figures in found]
        cells = [escape_html(figure) if figure else "not measured" for figure in each]
        drawn = draw_intervals(each, labels=labels)
        if len(found) == 1 and each[0] is not None:
            only = each[0]
            rows.append(
                [escape_html(name), *cells, drawn, format_number(only.perfect), format_number(only.empty), str(only.n)]
            )
        else:
            rows.append([escape_html(name), *cells, drawn])
    heads = ["figure", "value (95 % interval)", "drawn", "perfect", "empty", "texts"]
    if len(found) > 1:
        heads = ["figure", *(f"run {label}" for label in labels), "drawn"]
    means = [(name, meaning(name)) for name in dict.fromkeys(name for each in found for name in each)]
    told = definition_list((name, text) for name, text in means if text)
    return table(heads, rows, caption=section) + f"<details><summary>What these mean</summary>{told}</details>\n"


def fidelity(found: Fidelity) -> str:
    """Return how close each attribute that was not steered stays to the truth, and the shares of its values."""
    parts = []
    events = {each.event for each in found.events}
    rows = [
        [
            escape_html(each.attribute), escape_html(each.tv), draw_intervals([each.tv]),
            format_number(each.tv.perfect), format_number(each.ceiling), "kept" if each.kept else "moved",
        ]
        for each in found.attributes
        if each.attribute not in events
    ]  # fmt: skip
    if rows:
        heads = ["attribute", "total variation (95 %)", "drawn", "perfect", "perfect, at most", ""]
        parts.append(table(heads, rows, caption="attributes that were not steered"))
    rates = [
        [escape_html(each.event), escape_html(each.observed), draw_intervals([each.observed]),
         format_number(each.truth[0]), format_number(each.p), "kept" if each.kept else "moved"]
        for each in found.events
    ]  # fmt: skip
    if rates:
        heads = ["event", "rate (95 %)", "drawn", "truth", "p", ""]
        parts.append(table(heads, rates, caption="events that were not steered"))
    for each in found.attributes:
        if each.attribute in events or not each.counts:
            continue
        shown = []
        for name in sorted(each.truth, key=lambda one: -each.truth[one]):
            share, low, high = rate(each.counts.get(name, 0), each.tv.n)
            seen = Estimate(
                name=str(name), value=share, low=low, high=high, n=each.tv.n, perfect=min(1.0, each.truth[name])
            )
            shown.append(
                [escape_html(name), escape_html(seen), draw_intervals([seen]), format_number(each.truth[name])]
            )
        inner = table(["value", "share (95 %)", "drawn", "truth"], shown, caption=f"{each.attribute}, value by value")
        parts.append(f"<details><summary>{escape_html(each.attribute)}, value by value</summary>{inner}</details>\n")
    return "".join(parts)


def along(runs: Mapping[str, Sequence[Cost]]) -> str:
    """Return a plot of the mean pressure at each token of the texts, and its numbers."""
    series = {name: _course([cost.kl for cost in found]) for name, found in runs.items()}
    series = {name: course for name, course in series.items() if len(course[0]) > 1}
    if not series:
        return ""
    title = "Pressure along the texts"
    drawn = draw_lines(series, title=title, across="token", up="nats, mean and 95 % band")
    rows = [
        [str(int(at)), escape_html(name), f"{mean:.3f} ({low:.3f} to {high:.3f})"]
        for name, course in series.items()
        for at, mean, low, high in zip(*course, strict=True)
    ]
    numbers = table(["token", "run", "pressure (95 %)"], rows, caption="pressure at each token, nats")
    return _plot(title, drawn, numbers)


def _course(kl: Sequence[np.ndarray]) -> tuple[list[float], list[float], list[float], list[float]]:
    """Places, and the mean with a band of two standard errors at each, as far as a tenth of the texts reach."""
    reach = max(2, round(_FEWEST_REACH * len(kl)))
    places, means, lows, highs = list[float](), list[float](), list[float](), list[float]()
    for at in range(max((len(each) for each in kl), default=0)):
        here = np.array([each[at] for each in kl if len(each) > at])
        if len(here) < reach:
            break
        mean, half = float(here.mean()), float(1.96 * here.std(ddof=1) / len(here) ** 0.5)
        places.append(float(at + 1))
        means.append(mean)
        lows.append(max(0.0, mean - half))
        highs.append(mean + half)
    return places, means, lows, highs


def spread(name: str, samples: SampleSet, *, most: float) -> str:
    """Return a plot of how many texts of a run bear which mean pressure, up to the most of any run, and its numbers."""
    paid = np.array([sample.pressure["mean"] for sample in samples if sample.pressure is not None])
    if len(paid) < 2 or not most > 0:
        return ""
    counts, edges = np.histogram(paid, bins=min(_BINS, max(6, len(paid) // 4)), range=(0.0, most))
    shares = (counts / len(paid)).tolist()
    title = f"Texts by their pressure: {name}" if name else "Texts by their pressure"
    axes = {"across": "mean pressure, nats per token", "up": "share of the texts"}
    drawn = draw_histogram(edges.tolist(), shares, title=title, **axes)
    rows = [
        [f"{edges[at]:.3f} to {edges[at + 1]:.3f}", str(int(count)), f"{count / len(paid):.3f}"]
        for at, count in enumerate(counts)
    ]
    numbers = table(["nats per token", "texts", "share"], rows, caption="texts by their mean pressure")
    return _plot(title, drawn, numbers)


def _plot(title: str, drawn: str, numbers: str) -> str:
    return (
        f"<figure><figcaption>{escape_html(title)}</figcaption>\n{drawn}"
        f"<details><summary>Numbers</summary>{numbers}</details></figure>\n"
    )
