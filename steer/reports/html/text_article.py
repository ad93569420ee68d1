"""Texts as HTML: each with its figures, what it is, and its tokens shaded by their pressure."""

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise

from steer.reports.html.token_pieces import Piece
from steer.runs.sample_set import Sample
from vectors.common.html import attribute_value, escape_html, format_number

LEVELS = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2)
"""Nats of pressure at which a token is shaded one degree darker."""


def level(pressure: float) -> int:
    """Return how dark a token of that pressure is shaded, from 0 on.

    >>> level(0.0), level(0.1), level(9.0)
    (0, 2, 7)
    """
    return sum(pressure >= edge for edge in LEVELS)


def entry(
    sample: Sample, cut: Sequence[Piece] | None, kinds: Mapping[str, str], keys: Sequence[str], *, name: str, run: int
) -> str:
    """Return one text as an article.

    Args:
        sample: the text.
        cut: its pieces, where they are known.
        kinds: what it is, by each way to group.
        keys: the ways to group by.
        name: the id of the article.
        run: number of its run.
    """
    paid = sample.pressure or {}
    count = max(1, len(sample.tokens))
    sorts = {
        "number": sample.index,
        "pressure": paid.get("mean"),
        "peak": max((piece.pressure for piece in cut), default=0.0) if cut is not None else paid.get("p95"),
        "likely": None if sample.logprob_base is None else sample.logprob_base / count,
        "tokens": len(sample.tokens),
        "run": run,
    }
    data = {key: None if each is None else round(each, 4) for key, each in sorts.items()}
    belongs = [kinds.get(key, "") for key in keys]
    said = " · ".join(f"{key}: {kinds[key]}" for key in keys if kinds.get(key))
    return (
        f'<article id="{name}" tabindex="-1" aria-labelledby="{name}-h" data-sort={attribute_value(json.dumps(data))} '
        f"data-kinds={attribute_value(json.dumps(belongs))}>\n"
        f'<h4 id="{name}-h">{sample.index}</h4>\n<p class="cost">{_cost(sample)}</p>\n'
        f'<p class="text">{_prompt(sample)}{_shaded(sample, cut)}</p>\n'
        f'<p class="kinds">{escape_html(said)}</p>\n</article>\n'
    )


def _cost(sample: Sample) -> str:
    parts = []
    if sample.pressure is None or sample.logprob_base is None:
        parts.append(f"log p {format_number(sample.logprob_steered)} steered")
    else:
        paid = sample.pressure
        parts.append(f"pressure {paid['mean']:.2f} nats/token (p95 {paid['p95']:.2f}, total {paid['total']:.1f})")
        parts.append(f"log p {sample.logprob_base:.1f} base / {sample.logprob_steered:.1f} steered")
    parts.append(f"{len(sample.tokens)} tokens")
    if sample.finish != "eos":
        parts.append({"length": "cut there"}.get(sample.finish, "stopped there: logits not finite"))
    told = " · ".join(parts).replace("-", "\N{MINUS SIGN}")
    return escape_html(told.replace("log p ", "log\N{NO-BREAK SPACE}p\N{NO-BREAK SPACE}"))


def _prompt(sample: Sample) -> str:
    return f'<span class="prompt">{escape_html(sample.prompt)}</span>' if sample.prompt else ""


def _shaded(sample: Sample, cut: Sequence[Piece] | None) -> str:
    if cut is None:
        return escape_html(sample.text)
    parts = []
    for piece in cut:
        told = f"{piece.pressure:.3g} {piece.base:.3g} {piece.steered:.3g}"
        inner = escape_html(piece.text) or '<span class="control">end</span>'
        parts.append(f'<span class="p{level(piece.pressure)}" data-t="{told}">{inner}</span>')
    return "".join(parts)


def legend() -> str:
    """Return what the shades mean."""
    edges = [0.0, *LEVELS]
    told = [f"{low:g} to {high:g}" for low, high in pairwise(edges)] + [f"{edges[-1]:g} or more"]
    shades = "".join(f'<li><span class="p{at}">{each}</span></li>' for at, each in enumerate(told))
    return (
        f'<p id="legend-h">Pressure of a token, nats:</p><ul class="legend" aria-labelledby="legend-h">{shades}</ul>\n'
    )
