"""How far a command is, on stderr: a rich bar in a terminal, a plain line every 30 seconds in a log."""

import os
import sys
import threading
import time
from types import TracebackType
from typing import Any

from cli.terminal.output import is_terminal, note
from vectors.common.validation import escape_invisible

LOG_INTERVAL = 30.0
"""Seconds between two lines where stderr is no terminal."""

_DELAY = 2.0  # seconds of a stage before its time left is estimated


class Progress:
    """Show the stage of a job, its steps and the time left, on stderr until the context ends.

    In a terminal this is a bar that disappears; call `clear` before printing, so that lines do not mix. Elsewhere a
    timer thread prints a line every `LOG_INTERVAL` seconds, also while a stage reports nothing.
    """

    def __init__(self) -> None:
        if is_terminal(sys.stderr) and os.environ.get("TERM") != "dumb":
            self._display: _Bar | _Log = _Bar()
        else:
            self._display = _Log()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._display.close()

    def __call__(self, stage: str, done: int = 0, total: int = 0) -> None:
        """Report that `done` of `total` steps of a stage are finished (total 0: unknown)."""
        self._display.update(escape_invisible(stage), done, total)

    def clear(self) -> None:
        """Remove the bar until the next report."""
        self._display.clear()


class _Bar:
    """A rich bar with steps, elapsed time and time left."""

    def __init__(self) -> None:
        self._screen: Any = None
        self._task: Any = None
        self._stage = ""
        self._done = 0

    def update(self, stage: str, done: int, total: int) -> None:
        if self._screen is None:
            self._screen = _new_screen()
        if self._task is None or stage != self._stage or done < self._done:
            if self._task is not None:
                self._screen.remove_task(self._task)
            self._task = self._screen.add_task(stage, total=total or None, completed=done, counted=bool(total))
            self._stage = stage
        else:
            self._screen.update(self._task, total=total or None, completed=done, counted=bool(total))
        self._done = done
        self._screen.start()

    def clear(self) -> None:
        if self._screen is not None:
            self._screen.stop()

    close = clear


def _new_screen() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn
    from rich.text import Text

    class Steps(ProgressColumn):
        """Steps done, and the time left."""

        def render(self, task: Task) -> Text:
            if not task.fields["counted"]:
                return Text()
            left = task.time_remaining
            tail = "" if left is None or task.finished else f", {short_duration(left)} left"
            return Text(f"{task.completed:g}/{task.total:g}{tail}")

    stage = TextColumn("{task.description}", markup=False)
    return Progress(
        stage,
        BarColumn(bar_width=20),
        Steps(),
        TimeElapsedColumn(),
        console=Console(stderr=True, highlight=False),
        transient=True,
        redirect_stdout=False,  # `clear` is called before anything is printed
        redirect_stderr=False,
        refresh_per_second=5,
    )


class _Log:
    """A line every `LOG_INTERVAL` seconds, printed by a timer thread."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._stage, self._done, self._total, self._first = "", 0, 0, 0
        self._fresh = False  # a step was reported since the last line
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def update(self, stage: str, done: int, total: int) -> None:
        if stage != self._stage or done < self._done:
            self._stage, self._began, self._first = stage, time.monotonic(), done
        self._done, self._total, self._fresh = done, total, True
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, daemon=True)
            self._thread.start()

    def clear(self) -> None:
        pass

    def close(self) -> None:
        self._closed.set()

    def _run(self) -> None:
        while not self._closed.wait(LOG_INTERVAL):
            note(self.line(time.monotonic()))
            self._fresh = False

    def line(self, now: float) -> str:
        """Return what to print: the stage, its steps, and the time left or the time so far."""
        seconds = now - self._began
        so_far = f"({clock(seconds)} so far)"
        steps = f"{self._done} of {self._total}"
        if not self._total:
            return f"{self._stage} {so_far}" if self._fresh else f"still {self._stage} {so_far}"
        if self._done >= self._total:
            return f"{self._stage}: {steps}, finishing {so_far}"
        stage = self._stage if self._fresh else f"still {self._stage}"
        if self._done == self._first or seconds < _DELAY:
            return f"{stage}: {steps} {so_far}"
        left = seconds / (self._done - self._first) * (self._total - self._done)
        return f"{stage}: {steps}, about {short_duration(left)} left"


def clock(seconds: float) -> str:
    """Return seconds as m:ss.

    >>> clock(150)
    '2:30'
    """
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02}"


def short_duration(seconds: float) -> str:
    """Return a rounded duration in the unit that a reader would choose.

    >>> [short_duration(seconds) for seconds in (8, 95, 700, 11_000, 400_000, 1e11)]
    ['8 s', '1 min 35 s', '12 min', '3.1 h', '5 days', '3200 years']
    """
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 600:
        return f"{seconds // 60} min {seconds % 60:02} s"
    if seconds < 3600:
        return f"{seconds / 60:.0f} min"
    if seconds < 48 * 3600:
        return f"{seconds / 3600:.1f} h".replace(".0 h", " h")
    days = seconds / 86400
    return f"{days:.0f} days" if days < 730 else f"{float(f'{days / 365:.2g}'):.0f} years"
