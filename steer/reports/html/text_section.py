"""The texts of a page: sorted into groups, with what it takes to find, group and sort them otherwise."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from steer.reports.html.grouping import ALIKE, ASKED, group_keys, similarity_groups, text_groups
from steer.reports.html.text_article import entry, legend
from steer.reports.html.token_pieces import Piece, pieces
from steer.runs.sample_set import SampleSet
from vectors.common.html import attribute_value, escape_html
from vectors.model.residual_model import ResidualModel

if TYPE_CHECKING:
    from steer.reports.report import Report

RUN, ALL = "run", "all texts"
_SORTS = {
    "number": "number",
    "pressure": "pressure, mean",
    "peak": "pressure of the dearest token",
    "likely": "log p of the base model, a token",
    "tokens": "length",
}


def texts_section(runs: Mapping[str, SampleSet], reports: Sequence["Report"], model: ResidualModel | None) -> str:
    """Return the texts of all runs in groups: by how much of what was asked for they have, or else by likeness."""
    kinds: list[dict[str, str]] = []
    cuts: list[list[Piece] | None] = []
    for (name, run), made in zip(runs.items(), reports, strict=True):
        kinds += [each | ({RUN: name} if len(runs) > 1 else {}) for each in text_groups(run, made.evaluation_set)]
        cuts += _cuts(run, made, model)
    alike = similarity_groups([sample.text for run in runs.values() for sample in run])
    if alike is not None:
        kinds = [each | {ALIKE: name} for each, name in zip(kinds, alike, strict=True)]
    keys = group_keys(kinds)
    chosen = next((key for key in (ASKED, ALIKE) if key in keys), None)
    numbered = [(number, sample) for number, run in enumerate(runs.values(), 1) for sample in run]
    articles = [
        (each, entry(sample, cut, each, keys, name=f"t{number}-{sample.index}", run=number))
        for (number, sample), each, cut in zip(numbered, kinds, cuts, strict=True)
    ]
    shaded = any(cut is not None for cut in cuts)
    lead = legend() if shaded else "<p>What each token cost is not known: it needs the model of the run.</p>\n"
    return (
        f'<section aria-labelledby="texts"><h2 id="texts">Texts</h2>\n{lead}{_controls(keys, chosen)}'
        f'<div id="groups" data-keys={attribute_value(json.dumps(keys))}>\n{grouped(articles, chosen)}</div>'
        "</section>\n"
    )


def _cuts(run: SampleSet, made: "Report", model: ResidualModel | None) -> list[list[Piece] | None]:
    if model is None or made.costs is None:
        return [None] * len(run)
    return [pieces(model, sample, cost) for sample, cost in zip(run, made.costs, strict=True)]


def grouped(articles: Sequence[tuple[Mapping[str, str], str]], key: str | None) -> str:
    """Return articles in sections by one way to group, the largest first."""
    by: dict[str, list[str]] = {}
    for kinds, article in articles:
        by.setdefault(kinds.get(key, "") if key else ALL, []).append(article)
    sizes = Counter({name: len(each) for name, each in by.items()})
    parts = []
    for name, size in sizes.most_common():
        head = f"<h3>{escape_html(name or 'none')} <small>{size}</small></h3>"
        parts.append(f'<section class="group">{head}\n<div class="texts">\n{"".join(by[name])}</div></section>\n')
    return "".join(parts)


def _controls(keys: Sequence[str], chosen: str | None) -> str:
    groups = "".join(
        f"<option value={attribute_value(key)}{' selected' if key == chosen else ''}>{escape_html(key)}</option>"
        for key in keys
    )
    sorts = "".join(
        f"<option value={attribute_value(key)}>{escape_html(said)}</option>" for key, said in _SORTS.items()
    )
    return (
        '<form id="controls" role="search" aria-label="Arrange the texts" hidden>\n'
        '<label>Find <input id="find" type="search" autocomplete="off"></label>\n'
        f'<label>Group by <select id="group">{groups}<option value="">nothing</option></select></label>\n'
        '<label>Show <select id="only"><option value="">all groups</option></select></label>\n'
        f'<label>Sort by <select id="sort">{sorts}</select></label>\n'
        '<label><input id="down" type="checkbox"> largest first</label>\n'
        '<output id="count" for="find group only" aria-live="polite"></output>\n'
        "<p>With a text in focus, <kbd>j</kbd> and <kbd>k</kbd> go to the next and the last one, "
        "<kbd>←</kbd> and <kbd>→</kbd> along its tokens; <kbd>Esc</kbd> leaves them.</p>\n</form>\n"
    )
