"""The table of what a contest of methods, layers and positions tried."""

from collections.abc import Mapping, Sequence
from typing import Any

from cli.terminal.output import figure, table
from vectors.common.layer_ranges import format_layers


def tried_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the candidates of a contest, the best first, with their success and pressure."""
    cells = [["method", "layers", "positions", "success", "95 % interval", "pressure", "texts"]]
    for row in rows:
        cells.append(
            [
                str(row["method"]),
                format_layers(row["layers"]),
                " + ".join(row["positions"]),
                figure(row["success"]),
                f"{figure(row['low'])} to {figure(row['high'])}",
                figure(row["pressure"]),
                str(row["n"]),
            ]
        )
    return "tried, at about equal mean pressure (nats/token)\n" + table(cells, right=(3, 5, 6))
