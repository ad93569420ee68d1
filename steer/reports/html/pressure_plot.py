"""Where in the texts pressure is spent: its mean at each position, and the tokens at its peaks."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from steer.reports.html.metric_section import figure
from steer.reports.html.svg_charts import Series, draw_lines
from steer.reports.html.token_pieces import Piece
from vectors.common.html import escape_html, table
from vectors.decoding.token_costs import Cost

_FEWEST_SHARE = 0.1  # of the texts, and at least two, have to reach a position
_PEAKS = 3
_APART = 0.15  # of the axis, at least, between two peaks: their labels must not overlap
_TOKENS = 3  # that a peak names
_LONGEST = 12  # characters of a token that are shown

TextPieces = Sequence[list[Piece] | None]
"""The pieces of each text of a run, or None where they are not known."""


def pressure_plot(costs: Mapping[str, Sequence[Cost]], pieces: Mapping[str, TextPieces]) -> str:
    """Return a plot of the mean pressure at each position, the tokens at its peaks, and its numbers.

    Args:
        costs: by name of the run, the costs of its texts.
        pieces: by name of the run, the pieces of its texts.
    """
    means = {name: mean_by_position([cost.kl for cost in texts]) for name, texts in costs.items()}
    series = {name: line for name, line in means.items() if line is not None and len(line.x) > 1}
    if not series:
        return ""
    several = len(costs) > 1
    labels: list[tuple[float, float, str]] = []
    items: list[str] = []
    for name, line in series.items():
        for index in peaks(line.y):
            tokens = tokens_at(index, costs[name], pieces[name])
            words = [f"{token} ({count} of {reach} texts)" for token, count, reach in tokens]
            run = f"{name}, " if several else ""
            named = f": {', '.join(words)}" if words else ""
            items.append(f"{run}token {line.x[index]:g}, {line.y[index]:.2f} nats{named}")
            text = tokens[0][0] if tokens else f"token {line.x[index]:g}"
            if not several:
                labels.append((line.x[index], line.y[index], text))
    title = "Where pressure is spent"
    shown = series if several else {"mean": next(iter(series.values()))}
    drawn = draw_lines(shown, title=title, across="token", up="nats, mean and 95 % band", labels=labels)
    rows = [
        [f"{position:g}", escape_html(name), f"{mean:.3f} ({low:.3f} to {high:.3f})"]
        for name, line in series.items()
        for position, mean, low, high in zip(line.x, line.y, line.low, line.high, strict=True)
    ]
    numbers = table(["token", "run", "pressure (95 % interval)"], rows, caption="pressure at each token, nats")
    notes = "".join(f"<li>{escape_html(item)}</li>" for item in items)
    return figure(title, drawn, numbers, f"<p>Peaks, with the tokens that bear most of them:</p><ul>{notes}</ul>\n")


def mean_by_position(kl: Sequence[np.ndarray]) -> Series | None:
    """Return the mean pressure at each position with a band of two standard errors.

    The line ends at the last position that a tenth of the texts, and at least two, reach.
    """
    fewest = max(2, round(_FEWEST_SHARE * len(kl)))
    positions, means, lows, highs = list[float](), list[float](), list[float](), list[float]()
    for position in range(max((len(text_kl) for text_kl in kl), default=0)):
        values = np.array([text_kl[position] for text_kl in kl if len(text_kl) > position])
        if len(values) < fewest:
            break
        mean, half = float(values.mean()), float(1.96 * values.std(ddof=1) / len(values) ** 0.5)
        positions.append(float(position + 1))
        means.append(mean)
        lows.append(max(0.0, mean - half))
        highs.append(mean + half)
    return Series(positions, means, lows, highs) if positions else None


def peaks(means: Sequence[float]) -> list[int]:
    """Return the indices of the highest local maxima above the mean, in order, none close to another.

    >>> peaks([0.1, 0.9, 0.1, 0.1, 0.1, 0.5, 0.1, 0.1, 0.1, 0.1])
    [1, 5]
    """
    padded = [-np.inf, *means, -np.inf]
    average = float(np.mean(means))
    tops = [index for index, mean in enumerate(means) if mean > average and padded[index] < mean >= padded[index + 2]]
    chosen: list[int] = []
    for index in sorted(tops, key=lambda top: -means[top]):
        if len(chosen) < _PEAKS and all(abs(index - other) >= _APART * len(means) for other in chosen):
            chosen.append(index)
    return sorted(chosen)


def tokens_at(position: int, costs: Sequence[Cost], pieces: TextPieces) -> list[tuple[str, int, int]]:
    """Return the tokens at a position that bear most of its pressure.

    Returns:
        Up to three tokens in quotation marks, each with the number of texts that have it there and the number of texts
        that reach the position; empty if the pieces are not known.
    """
    pressure: dict[str, float] = defaultdict(float)
    count: Counter[str] = Counter()
    for cost, text_pieces in zip(costs, pieces, strict=True):
        if text_pieces is None or len(cost.kl) <= position:
            continue
        piece = [piece for piece in text_pieces if piece.position <= position][-1]
        token = shown_token(piece.text)
        pressure[token] += float(cost.kl[position])
        count[token] += 1
    reach = count.total()
    ranked = sorted(pressure, key=lambda token: -pressure[token])
    return [(token, count[token], reach) for token in ranked[:_TOKENS]]


def shown_token(text: str) -> str:
    r"""Return a token as a reader sees it.

    >>> shown_token(" cat"), shown_token("\n"), shown_token("")
    ('“cat”', 'line break', 'end of text')
    """
    if not text:
        return "end of text"
    if not text.strip():
        return "line break" if "\n" in text else "blank"
    word = text.strip()
    return f"“{word if len(word) <= _LONGEST else word[: _LONGEST - 1] + '…'}”"
