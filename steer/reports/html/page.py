"""The page itself: what was asked for, the figures, the plots, and the texts."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from importlib.resources import files

from steer.composition.expression import format_doses
from steer.reports.html import metric_section
from steer.reports.html.text_section import texts_section
from steer.reports.report import Report, notes_by_run
from steer.runs.sample_set import SampleSet
from steer.sampling.replay import priced
from vectors.common.errors import InputError
from vectors.common.html import attribute_value, definition_list, escape_html, table
from vectors.model.residual_model import ResidualModel

_NAVIGATION = (
    '<nav aria-label="Parts of this page"><a href="#summary">Summary</a> <a href="#figures">Figures</a> '
    '<a href="#fidelity">What else moved</a> <a href="#texts">Texts</a></nav>\n'
)


def page(runs: Mapping[str, SampleSet], reports: Sequence[Report], *, model: ResidualModel | None = None) -> str:
    """Return one or several runs as a page of HTML that needs no network.

    Args:
        runs: by name, as the page is to call them.
        reports: their reports, in the same order; `steer.report(run, model=model)` knows what each token cost.
        model: the model of the runs, whose tokenizer cuts the texts into tokens; without it they are not shaded.

    Raises:
        InputError: no run, or another number of reports.

    >>> import steer, vectors
    >>> model = vectors.load_model()
    >>> runs = steer.sample(model, "cat", n=8, seed=7)
    >>> html = page({"cats": runs}, [steer.report(runs, model=model)], model=model)
    >>> html.startswith("<!doctype html>")
    True
    """
    if not runs or len(runs) != len(reports):
        raise InputError(f"there are {len(runs)} runs and {len(reports)} reports: give a report for each run")
    runs = {
        name: run if made.costs is None else priced(run, made.costs)
        for (name, run), made in zip(runs.items(), reports, strict=True)
    }
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
        f"{_summary(runs, reports)}{_figures(runs, reports)}{texts_section(runs, reports, model)}</main>\n"
        f'<div id="told" hidden></div><div id="said" role="status" aria-live="polite"></div>\n'
        f"<script>{script}</script>\n</body>\n</html>\n"
    )


def _asked(run: SampleSet) -> str:
    """What a run was steered to, as an expression."""
    return format_doses(run[0].doses) if run[0].doses else "nothing"


def _summary(runs: Mapping[str, SampleSet], reports: Sequence[Report]) -> str:
    heads = ["run", "asked for", "texts", "success (95 %)", "pressure, nats/token (95 %)", "radius", "seed", "model"]
    rows = []
    for at, ((name, run), made) in enumerate(zip(runs.items(), reports, strict=True), 1):
        found = {figure.name: figure for figure in made.figures}
        first = run[0]
        cells = [escape_html(found[each]) if each in found else "not measured" for each in ("success", "pressure")]
        rows.append([
            escape_html(f"{at}  {name}" if len(runs) > 1 else name), escape_html(_asked(run)), str(len(run)), *cells,
            f"{first.radius:g}", str(first.seed), escape_html(first.model),
        ])  # fmt: skip
    told = "".join(f"<li>{escape_html(text)}</li>" for text in notes_by_run(list(runs), reports))
    return (
        f'<section aria-labelledby="summary"><h2 id="summary">Summary</h2>\n{table(heads, rows, caption="runs")}'
        + (f"<ul>{told}</ul>\n" if told else "")
        + _plots(runs, reports)
        + "".join(_settings(name if len(runs) > 1 else "", run) for name, run in runs.items())
        + "</section>\n"
    )


def _settings(name: str, run: SampleSet) -> str:
    first = run[0]
    kept = {key: each for key, each in first.settings.items() if each is not None and not isinstance(each, dict | list)}
    pairs = [("geometry", first.geometry), ("layers", ", ".join(map(str, first.layer))), *kept.items()]
    head = f"Settings of {name}" if name else "Settings"
    return f"<details><summary>{escape_html(head)}</summary>{definition_list(pairs)}</details>\n"


def _plots(runs: Mapping[str, SampleSet], reports: Sequence[Report]) -> str:
    costs = {name: made.costs for name, made in zip(runs, reports, strict=True) if made.costs is not None}
    most = max((each.pressure["mean"] for run in runs.values() for each in run if each.pressure), default=0.0)
    spreads = [metric_section.spread(name if len(runs) > 1 else "", run, most=most) for name, run in runs.items()]
    return (metric_section.along(costs) if costs else "") + "".join(spreads)


def _figures(runs: Mapping[str, SampleSet], reports: Sequence[Report]) -> str:
    faithful = "".join(
        (f"<h3>{escape_html(name)}</h3>\n" if len(runs) > 1 else "") + metric_section.fidelity(made.fidelity)
        for name, made in zip(runs, reports, strict=True)
        if made.fidelity is not None
    )
    return (
        f'<section aria-labelledby="figures"><h2 id="figures">Figures</h2>\n<p>Each line is a 95&nbsp;% interval with '
        "its value as a dot; an upright mark is what a perfect sampler would show, a cross what an empty one would."
        f"</p>\n{metric_section.figures(reports)}</section>\n"
        '<section aria-labelledby="fidelity"><h2 id="fidelity">What else moved</h2>\n'
        f"{faithful or '<p>Not known: there is no world to compare with, or too few texts.</p>'}</section>\n"
    )


def _resource(name: str) -> str:
    return files("steer.reports.html").joinpath(name).read_text(encoding="utf-8")


def _digest(inline: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()}'"
