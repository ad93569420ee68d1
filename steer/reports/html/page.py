"""The page of a report: a summary of one sentence and four figures, the texts, and all other figures."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from importlib.resources import files

from steer.composition.expression import format_doses
from steer.reports.html.metric_section import fidelity_tables, legend, metric_tables, pressure_histogram
from steer.reports.html.pressure_plot import pressure_plot
from steer.reports.html.text_section import texts_section
from steer.reports.html.token_pieces import Piece, pieces
from steer.reports.report import Report, notes_by_run
from steer.reports.summary import summarise
from steer.runs.sample_set import SampleSet
from steer.sampling.replay import priced
from vectors.common.errors import InputError
from vectors.common.html import attribute_value, definition_list, escape_html, table
from vectors.model.residual_model import ResidualModel

_NAVIGATION = (
    '<nav aria-label="Parts of this page"><a href="#summary">Summary</a> <a href="#texts">Texts</a> '
    '<a href="#figures">Figures</a> <a href="#fidelity">What else moved</a></nav>\n'
)


def page(runs: Mapping[str, SampleSet], reports: Sequence[Report], *, model: ResidualModel | None = None) -> str:
    """Return one or several runs as an HTML page that loads nothing from the network.

    Args:
        runs: by the name that the page shows.
        reports: their reports, in the same order; `steer.report(run, model=model)` includes the cost of each token.
        model: the model of the runs; its tokenizer splits the texts into tokens, which are shaded by their pressure.

    Raises:
        InputError: no run, or another number of reports.

    >>> import steer, vectors
    >>> model = vectors.load_model()
    >>> runs = steer.sample(model, "cat", n=8, seed=7)
    >>> html = steer.page({"cats": runs}, [steer.report(runs)], model=model)
    >>> html.startswith("<!doctype html>")
    True
    """
    if not runs or len(runs) != len(reports):
        raise InputError(f"there are {len(runs)} runs and {len(reports)} reports: give a report for each run")
    runs = {
        name: run if report.costs is None else priced(run, report.costs)
        for (name, run), report in zip(runs.items(), reports, strict=True)
    }
    text_pieces = {name: _pieces(run, report, model) for (name, run), report in zip(runs.items(), reports, strict=True)}
    title = f"{', '.join(dict.fromkeys(_asked(run) for run in runs.values()))}: {sum(map(len, runs.values()))} texts"
    style, script = _resource("page.css"), _resource("page.js")
    policy = f"default-src 'none'; style-src {_digest(style)}; script-src {_digest(script)}"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content={attribute_value(policy)}>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape_html(title)}</title>\n<style>{style}</style>\n</head>\n<body>\n"
        '<a class="skip" href="#texts">Skip to the texts</a>\n'
        f"<header><h1>{escape_html(title)}</h1>\n{_NAVIGATION}</header>\n<main>\n"
        f"{_summary(runs, reports, text_pieces)}{texts_section(runs, reports, text_pieces)}{_figures(runs, reports)}"
        '</main>\n<div id="tooltip" hidden></div><div id="announcement" role="status" aria-live="polite"></div>\n'
        f"<script>{script}</script>\n</body>\n</html>\n"
    )


def _pieces(run: SampleSet, report: Report, model: ResidualModel | None) -> list[list[Piece] | None]:
    if model is None or report.costs is None:
        return [None] * len(run)
    return [pieces(model, sample, cost) for sample, cost in zip(run, report.costs, strict=True)]


def _asked(run: SampleSet) -> str:
    """Return the expression that a run was steered by."""
    return format_doses(run[0].doses) if run[0].doses else "nothing"


def _summary(
    runs: Mapping[str, SampleSet], reports: Sequence[Report], text_pieces: Mapping[str, list[list[Piece] | None]]
) -> str:
    """Return a sentence and four figures for each run, where pressure is spent, the notes, and the settings."""
    several = len(runs) > 1
    leads = []
    for number, ((name, run), report) in enumerate(zip(runs.items(), reports, strict=True), 1):
        summary = summarise(run, report)
        title = f"<h3>{escape_html(f'{number}  {name}')}</h3>\n" if several else ""
        rows = [
            [escape_html(figure.label), escape_html(figure.value), escape_html(figure.meaning)]
            for figure in summary.figures
        ]
        caption = f"{len(run)} texts of {name}"
        leads.append(
            f'{title}<p class="lead">{escape_html(summary.sentence)}.</p>\n'
            + table(["figure", "value (95 % interval)", "what it is"], rows, caption=caption)
        )
    notes = "".join(f"<li>{escape_html(note)}</li>" for note in notes_by_run(list(runs), reports))
    costs = {name: report.costs for name, report in zip(runs, reports, strict=True) if report.costs is not None}
    return (
        f'<section aria-labelledby="summary"><h2 id="summary">Summary</h2>\n{"".join(leads)}'
        + pressure_plot(costs, text_pieces)
        + (f"<ul>{notes}</ul>\n" if notes else "")
        + "".join(_settings(name if several else "", run) for name, run in runs.items())
        + "</section>\n"
    )


def _settings(name: str, run: SampleSet) -> str:
    first = run[0]
    plain = {
        key: setting
        for key, setting in first.settings.items()
        if setting is not None and not isinstance(setting, dict | list)
    }
    pairs = [
        ("model", first.model), ("steered by", _asked(run)), ("radius", f"{first.radius:g}"), ("seed", first.seed),
        ("geometry", first.geometry), ("layers", ", ".join(map(str, first.layer))), *plain.items(),
    ]  # fmt: skip
    title = f"Settings of {name}" if name else "Settings"
    return f"<details><summary>{escape_html(title)}</summary>{definition_list(pairs)}</details>\n"


def _figures(runs: Mapping[str, SampleSet], reports: Sequence[Report]) -> str:
    """Return all figures by section, the histogram of pressures, and what else moved, all folded."""
    top = max((sample.pressure["mean"] for run in runs.values() for sample in run if sample.pressure), default=0.0)
    histograms = "".join(pressure_histogram(name if len(runs) > 1 else "", run, top=top) for name, run in runs.items())
    unsteered = "".join(
        (f"<h3>{escape_html(name)}</h3>\n" if len(runs) > 1 else "") + fidelity_tables(report.fidelity)
        for name, report in zip(runs, reports, strict=True)
        if report.fidelity is not None
    )
    unknown = "<p>Not known: the true frequencies of attributes are not known, or there are too few texts.</p>"
    return (
        f'<section aria-labelledby="figures"><h2 id="figures">Figures</h2>\n{legend()}{metric_tables(reports)}'
        f'{histograms}</section>\n<section aria-labelledby="fidelity"><h2 id="fidelity">What else moved</h2>\n'
        f"{unsteered or unknown}</section>\n"
    )


def _resource(name: str) -> str:
    return files("steer.reports.html").joinpath(name).read_text(encoding="utf-8")


def _digest(inline: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()}'"
