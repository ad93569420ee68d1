"""The table of a sweep: a row for each cell, printed as soon as the cell is measured."""

import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cli.terminal.output import ClosedPipeError, bold, can_encode, emit, emit_json, note
from cli.terminal.progress import Progress
from vectors.common.errors import OutputError

if TYPE_CHECKING:
    from steer.statistics.estimate import Estimate
    from steer.sweeps.cell_metrics import Row
    from steer.sweeps.grid import Cell

HEADS = ("radius", "dose", "temp", "layer", "success", "diversity", "typical", "pressure", "frontier")
_WIDTHS = (6, 4, 4, 5, 14, 10, 9, 9, 9)


class SweepTable:
    """Print the cells of a sweep as they are measured; progress goes to stderr.

    Args:
        axes: the radii, doses, temperatures and layers of the grid.
        progress: shows how many cells are done.
        as_json: print one JSON object a cell instead of a row.
        has_output: the sweep also writes files, so it goes on when nobody reads stdout.
    """

    def __init__(
        self, axes: Sequence[Sequence[float | None]], progress: Progress, *, as_json: bool, has_output: bool
    ) -> None:
        self.total = math.prod(len(set(values)) for values in axes)
        self.done = 0
        self.progress, self.as_json, self.has_output = progress, as_json, has_output
        widths = [
            max(least, *(len(_plain(value)) for value in values)) for least, values in zip(_WIDTHS, axes, strict=False)
        ]
        self._widths = (*widths, *_WIDTHS[len(axes) :])
        self._has_reader = True

    def __enter__(self) -> "SweepTable":
        self.progress("sampling cells", 0, self.total)
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.clear()

    def __call__(self, row: "Row") -> None:
        """Print one cell."""
        self.progress.clear()
        if self._has_reader:
            self._print(row)
        self.done += 1
        self.progress("sampling cells", self.done, self.total)

    def _print(self, row: "Row") -> None:
        try:
            if self.as_json:
                emit_json(json.dumps(row.to_dict()))
                return
            if not self.done:
                emit(bold(format_line(HEADS, self._widths)))
            emit(format_line(format_cells(row), self._widths))
        except (ClosedPipeError, OutputError) as error:
            if not self.has_output:
                raise
            self._has_reader = False
            if isinstance(error, OutputError):
                note(f"note: {error}; the sweep goes on")


def format_cells(row: "Row") -> tuple[str, ...]:
    """Return the columns of a cell: its coordinates and its metrics with 95 % intervals."""
    estimates = row.figures
    metrics = [_with_interval(estimates.get("success")), _with_half_width(estimates.get("diversity"), 1)]
    metrics += [_with_half_width(estimates.get(name), 2) for name in ("typical", "pressure", "frontier")]
    return (*_coordinates(row.cell), *metrics)


def format_line(cells: Sequence[str], widths: Sequence[int]) -> str:
    """Align one row in columns of fixed width: later rows are not known yet."""
    return " ".join(cell.rjust(width) for cell, width in zip(cells, widths, strict=True))


def _coordinates(cell: "Cell") -> tuple[str, ...]:
    return tuple(map(_plain, (cell.radius, cell.dose, cell.temperature, cell.layer)))


def _plain(value: float | None) -> str:
    """Return the shortest text that is still unique to this value."""
    return "-" if value is None else repr(float(value)).removesuffix(".0")


def _with_interval(estimate: "Estimate | None") -> str:
    return "-" if estimate is None else f"{estimate.value:.2f} {estimate.low:.2f}-{estimate.high:.2f}"


def _with_half_width(estimate: "Estimate | None", digits: int) -> str:
    if estimate is None:
        return "-"
    sign = "±" if can_encode("±") else "~"
    return f"{estimate.value:.{digits}f}{sign}{(estimate.high - estimate.low) / 2:.{digits}f}"
