"""The table of a sweep: a row for each cell, live on a terminal, line by line in a pipe."""

import json
import math
import os
import sys
import time
from collections import deque
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

from cli.terminal.output import ClosedPipeError, carries, emit, emit_json, is_terminal, note
from cli.terminal.progress import Progress
from vectors.common.errors import OutputError

if TYPE_CHECKING:
    from steer.statistics.estimate import Estimate
    from steer.sweeps.cell_metrics import Row
    from steer.sweeps.grid import Cell

HEADS = ("radius", "dose", "temp", "layer", "success", "diversity", "typical", "pressure", "frontier")
_WIDTHS = (6, 4, 4, 5, 14, 10, 9, 9, 9)
_RECENT = 8  # cells whose pace says how long the rest will take


class Table(Protocol):
    """Where cells go as they are measured."""

    def __enter__(self) -> "Table":
        """Begin."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the terminal as it was, with all rows that there are."""

    def __call__(self, row: "Row") -> None:
        """Take one cell."""


def table_for(places: Sequence[Sequence[float | None]], progress: Progress, *, as_json: bool, kept: bool) -> Table:
    """Return a live table on a terminal, else one that prints row by row.

    Args:
        places: the radii, doses, temperatures and layers of the grid.
        progress: says how far it is.
        as_json: print JSON.
        kept: whether the sweep is for more than what is printed, and goes on when nobody reads it.
    """
    cells = math.prod(len(set(each)) for each in places)
    sizes = tuple(
        max(least, *(len(_plain(value)) for value in each)) for least, each in zip(_WIDTHS, places, strict=False)
    )
    widths = (*sizes, *_WIDTHS[len(sizes) :])
    if not as_json and is_terminal(sys.stdout) and os.environ.get("TERM") != "dumb":
        return Live(cells, widths, progress)
    return Lines(cells, widths, progress, as_json=as_json, kept=kept)


class Pace:
    """How far a sweep is, and how long the rest will take."""

    def __init__(self, cells: int) -> None:
        self.cells, self.done, self._last = cells, 0, time.monotonic()
        self._took: deque[float] = deque(maxlen=_RECENT)

    def step(self) -> None:
        """Count one more cell."""
        now = time.monotonic()
        self._took.append(now - self._last)
        self._last, self.done = now, self.done + 1

    def __str__(self) -> str:
        """Say both."""
        if not self._took or self.done >= self.cells:
            return "sampling"
        left = sum(self._took) / len(self._took) * (self.cells - self.done)
        return f"sampling, about {_duration(left)} left"


class Lines:
    """Prints each cell as it comes; how far it is goes to stderr."""

    def __init__(
        self, cells: int, widths: Sequence[int], progress: Progress, *, as_json: bool = False, kept: bool = False
    ) -> None:
        self.pace, self.widths, self.progress, self.as_json, self.kept = Pace(cells), widths, progress, as_json, kept
        self.heard = True

    def __enter__(self) -> "Lines":
        """Say that it begins."""
        self.progress("sampling", 0, self.pace.cells)
        return self

    def __exit__(self, *_: object) -> None:
        """Take the progress away."""
        self.progress.clear()

    def __call__(self, row: "Row") -> None:
        """Print one cell."""
        self.progress.clear()
        if self.heard:
            self._print(row)
        self.pace.step()
        if self.pace.done < self.pace.cells:
            self.progress(str(self.pace), self.pace.done, self.pace.cells)

    def _print(self, row: "Row") -> None:
        try:
            if self.as_json:
                emit_json(json.dumps(row.to_dict()))
            else:
                if not self.pace.done:
                    emit(line(HEADS, self.widths))
                emit(line(cells_of(row), self.widths))
        except (ClosedPipeError, OutputError) as error:
            if not self.kept:
                raise
            self.heard = False
            if isinstance(error, OutputError):
                note(f"note: {error}; the sweep goes on")


class Live:
    """Prints each cell as it comes, above a bar that says how far it is."""

    def __init__(self, cells: int, widths: Sequence[int], progress: Progress) -> None:
        from rich.console import Console
        from rich.live import Live as Screen

        self.pace, self.widths, self.progress = Pace(cells), widths, progress
        self._began = time.monotonic()
        console = Console(highlight=False, soft_wrap=True)
        self._screen = Screen(console=console, get_renderable=self._bar, refresh_per_second=2, transient=True)

    def __enter__(self) -> "Live":
        """Take over the end of the terminal."""
        self.progress.clear()
        self._screen.start(refresh=True)
        self._print(HEADS, "bold")
        return self

    def __exit__(self, *_: object) -> None:
        """Take the bar away."""
        self._screen.stop()

    def __call__(self, row: "Row") -> None:
        """Print one cell."""
        self.pace.step()
        self._print(cells_of(row))

    def _print(self, cells: Sequence[str], style: str = "") -> None:
        from rich.text import Text

        self._screen.console.print(Text(line(cells, self.widths), style=style), soft_wrap=True)

    def _bar(self) -> Any:
        from rich.progress_bar import ProgressBar
        from rich.table import Table as Grid
        from rich.text import Text

        below = Grid.grid(padding=(0, 1))
        seconds = time.monotonic() - self._began
        said = f"{self.pace.done}/{self.pace.cells} cells, {_duration(seconds)}; {self.pace}"
        below.add_row(ProgressBar(total=self.pace.cells, completed=self.pace.done, width=20), Text(said, style="dim"))
        return below


def cells_of(row: "Row") -> tuple[str, ...]:
    """Return a cell's row of the table: every figure with its 95 % interval, or half its width."""
    figures = row.figures
    shown = [_span(figures.get("success")), _half(figures.get("diversity"), 1)]
    shown += [_half(figures.get(name), 2) for name in ("typical", "pressure", "frontier")]
    return (*_place(row.cell), *shown)


def line(cells: Sequence[str], widths: Sequence[int]) -> str:
    """Lay one row out in columns of fixed width, so that rows can be printed as they come."""
    return " ".join(cell.rjust(size) for cell, size in zip(cells, widths, strict=True))


def _place(cell: "Cell") -> tuple[str, ...]:
    return tuple(map(_plain, (cell.radius, cell.dose, cell.temperature, cell.layer)))


def _plain(value: float | None) -> str:
    """A place of the grid, to as many digits as tell it from any other."""
    return "-" if value is None else repr(float(value)).removesuffix(".0")


def _span(figure: "Estimate | None") -> str:
    return "-" if figure is None else f"{figure.value:.2f} {figure.low:.2f}-{figure.high:.2f}"


def _half(figure: "Estimate | None", digits: int) -> str:
    if figure is None:
        return "-"
    sign = "±" if carries("±") else "~"
    return f"{figure.value:.{digits}f}{sign}{(figure.high - figure.low) / 2:.{digits}f}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
