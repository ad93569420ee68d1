"""One text as HTML: its costs, its groups, and its tokens shaded by pressure."""

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise

from steer.reports.html.token_pieces import Piece
from steer.runs.sample_set import Sample
from vectors.common.html import attribute_value, escape_html, format_number

LEVELS = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2)
"""Pressures, in nats, from which a token is shaded one degree darker."""


def shade_level(pressure: float) -> int:
    """Return how dark a token of that pressure is shaded, from 0 to 7.

    >>> shade_level(0.0), shade_level(0.1), shade_level(9.0)
    (0, 2, 7)
    """
    return sum(pressure >= edge for edge in LEVELS)


def article(
    sample: Sample,
    text_pieces: Sequence[Piece] | None,
    groups: Mapping[str, str],
    keys: Sequence[str],
    *,
    element_id: str,
    run: int,
) -> str:
    """Return one text as an `article` element.

    Args:
        sample: the text.
        text_pieces: its pieces, if known.
        groups: the name of its group, by each way to group.
        keys: the ways to group that the page offers.
        element_id: of the article.
        run: number of its run.
    """
    pressure = sample.pressure or {}
    count = max(1, len(sample.tokens))
    sort_values = {
        "number": sample.index,
        "pressure": pressure.get("mean"),
        "peak": pressure.get("p95")
        if text_pieces is None
        else max((piece.pressure for piece in text_pieces), default=0.0),
        "likely": None if sample.logprob_base is None else sample.logprob_base / count,
        "tokens": len(sample.tokens),
        "run": run,
    }
    rounded = {key: None if number is None else round(number, 4) for key, number in sort_values.items()}
    names = [groups.get(key, "") for key in keys]
    shown = " · ".join(f"{key}: {groups[key]}" for key in keys if groups.get(key))
    return (
        f'<article id="{element_id}" tabindex="-1" aria-labelledby="{element_id}-h" '
        f"data-sort={attribute_value(json.dumps(rounded))} data-kinds={attribute_value(json.dumps(names))}>\n"
        f'<h4 id="{element_id}-h">{sample.index}</h4>\n<p class="cost">{_cost(sample)}</p>\n'
        f'<p class="text">{_prompt(sample)}{_shaded_text(sample, text_pieces)}</p>\n'
        f'<p class="kinds">{escape_html(shown)}</p>\n</article>\n'
    )


def _cost(sample: Sample) -> str:
    parts = []
    if sample.pressure is None or sample.logprob_base is None:
        parts.append(f"log p {format_number(sample.logprob_steered)} steered")
    else:
        pressure = sample.pressure
        parts.append(
            f"pressure {pressure['mean']:.2f} nats/token (p95 {pressure['p95']:.2f}, total {pressure['total']:.1f})"
        )
        parts.append(f"log p {sample.logprob_base:.1f} base / {sample.logprob_steered:.1f} steered")
    parts.append(f"{len(sample.tokens)} tokens")
    if sample.finish != "eos":
        parts.append({"length": "cut there"}.get(sample.finish, "stopped there: logits not finite"))
    line = " · ".join(parts).replace("-", "\N{MINUS SIGN}")
    return escape_html(line.replace("log p ", "log\N{NO-BREAK SPACE}p\N{NO-BREAK SPACE}"))


def _prompt(sample: Sample) -> str:
    return f'<span class="prompt">{escape_html(sample.prompt)}</span>' if sample.prompt else ""


def _shaded_text(sample: Sample, text_pieces: Sequence[Piece] | None) -> str:
    if text_pieces is None:
        return escape_html(sample.text)
    parts = []
    for piece in text_pieces:
        numbers = f"{piece.pressure:.3g} {piece.base:.3g} {piece.steered:.3g}"
        inner = escape_html(piece.text) or '<span class="control">end</span>'
        parts.append(f'<span class="p{shade_level(piece.pressure)}" data-t="{numbers}">{inner}</span>')
    return "".join(parts)


def legend() -> str:
    """Return the key to the shades."""
    edges = [0.0, *LEVELS]
    ranges = [f"{low:g} to {high:g}" for low, high in pairwise(edges)] + [f"{edges[-1]:g} or more"]
    shades = "".join(f'<li><span class="p{level}">{each}</span></li>' for level, each in enumerate(ranges))
    return (
        f'<p id="legend-h">Pressure of a token, nats:</p><ul class="legend" aria-labelledby="legend-h">{shades}</ul>\n'
    )
