"""The texts of a page, in groups, with the controls that search, group and sort them."""

import json
from collections.abc import Mapping, Sequence

from steer.reports.html.grouping import ALIKE, ASKED, group_keys, similarity_groups, text_groups
from steer.reports.html.text_article import article, legend
from steer.reports.html.token_pieces import Piece
from steer.reports.report import Report
from steer.runs.sample_set import SampleSet
from vectors.common.html import attribute_value, escape_html

RUN, ALL = "run", "all texts"
_SORTS = {
    "number": "number",
    "pressure": "pressure, mean",
    "peak": "highest pressure of a token",
    "likely": "log p of the base model, per token",
    "tokens": "length",
}


def texts_section(
    runs: Mapping[str, SampleSet], reports: Sequence[Report], pieces: Mapping[str, Sequence[list[Piece] | None]]
) -> str:
    """Return the texts of all runs in groups: by which concepts they have or, without a judge, by likeness.

    Args:
        runs: by name.
        reports: their reports, in the same order.
        pieces: by name of the run, the pieces of each of its texts, or None.
    """
    groups: list[dict[str, str]] = []
    for (name, run), report in zip(runs.items(), reports, strict=True):
        of_run = {RUN: name} if len(runs) > 1 else {}
        groups += [names | of_run for names in text_groups(run, report.evaluation_set)]
    similar = similarity_groups([sample.text for run in runs.values() for sample in run])
    if similar is not None:
        groups = [names | {ALIKE: cluster} for names, cluster in zip(groups, similar, strict=True)]
    keys = group_keys(groups)
    selected = next((key for key in (ASKED, ALIKE) if key in keys), None)
    text_pieces = [cut for name in runs for cut in pieces[name]]
    numbered = [(number, sample) for number, run in enumerate(runs.values(), 1) for sample in run]
    articles = [
        (names, article(sample, cut, names, keys, element_id=f"t{number}-{sample.index}", run=number))
        for (number, sample), names, cut in zip(numbered, groups, text_pieces, strict=True)
    ]
    shaded = any(cut is not None for cut in text_pieces)
    lead = legend() if shaded else "<p>The cost of each token is not known: it needs the model of the run.</p>\n"
    return (
        f'<section aria-labelledby="texts"><h2 id="texts">Texts</h2>\n{lead}{_controls(keys, selected)}'
        f'<div id="groups" data-keys={attribute_value(json.dumps(keys))}>\n{grouped(articles, selected)}</div>'
        "</section>\n"
    )


def grouped(articles: Sequence[tuple[Mapping[str, str], str]], key: str | None) -> str:
    """Return articles in sections by one way to group, the largest group first."""
    groups: dict[str, list[str]] = {}
    for names, html in articles:
        groups.setdefault(names.get(key, "") if key else ALL, []).append(html)
    parts = []
    for name, members in sorted(groups.items(), key=lambda group: -len(group[1])):
        head = f"<h3>{escape_html(name or 'none')} <small>{len(members)}</small></h3>"
        parts.append(f'<section class="group">{head}\n<div class="texts">\n{"".join(members)}</div></section>\n')
    return "".join(parts)


def _controls(keys: Sequence[str], selected: str | None) -> str:
    groups = "".join(
        f"<option value={attribute_value(key)}{' selected' if key == selected else ''}>{escape_html(key)}</option>"
        for key in keys
    )
    sorts = "".join(
        f"<option value={attribute_value(key)}>{escape_html(text)}</option>" for key, text in _SORTS.items()
    )
    return (
        '<form id="controls" role="search" aria-label="Arrange the texts" hidden>\n'
        '<label>Find <input id="find" type="search" autocomplete="off"></label>\n'
        f'<label>Group by <select id="group">{groups}<option value="">nothing</option></select></label>\n'
        '<label>Show <select id="only"><option value="">all groups</option></select></label>\n'
        f'<label>Sort by <select id="sort">{sorts}</select></label>\n'
        '<label><input id="down" type="checkbox"> largest first</label>\n'
        '<output id="count" for="find group only" aria-live="polite"></output>\n'
        "<p>With a text in focus, <kbd>j</kbd> and <kbd>k</kbd> go to the next and the previous one, "
        "<kbd>←</kbd> and <kbd>→</kbd> along its tokens; <kbd>Esc</kbd> leaves them.</p>\n</form>\n"
    )
