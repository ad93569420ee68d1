"""The table of what a contest of methods, layers and positions tried."""

from collections.abc import Mapping, Sequence
from typing import Any

from cli.terminal.output import table
from vectors.common.layer_ranges import format_layers

_LONGEST = 8  # characters of layers that are shown as they are


def tried_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the candidates of a contest, the best first, with their success, its 95 % interval and their pressure."""
    cells = [["method", "steps", "layers", "positions", "success (95 %)", "pressure"]]
    for row in rows:
        steps = row.get("steps")  # older records have none
        cells.append(
            [
                str(row["method"]),
                str(steps) if steps else "-",
                _layers(row["layers"]),
                "+".join(row["positions"]),
                f"{row['success']:.2f} ({row['low']:.2f}-{row['high']:.2f})",
                f"{row['pressure']:.2f}",
            ]
        )
    return "tried, at about equal mean pressure (nats/token)\n" + table(cells, right=(1, 5))


def _layers(layers: Sequence[int]) -> str:
    """Return layers as text; of many, the first, the last and how many there are.

    >>> _layers([9]), _layers([3, 4, 6, 7, 9, 10, 12, 13])
    ('9', '3-13 (8)')
    """
    text = format_layers(layers)
    return text if len(text) <= _LONGEST else f"{min(layers)}-{max(layers)} ({len(layers)})"
