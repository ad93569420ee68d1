"""The line on stderr that says what is being done, how far it is, and how fast it goes."""

import os
import sys
import time
from types import TracebackType

from cli.terminal.output import columns, is_terminal
from vectors.common.validation import escape_invisible

_BAR = 20


class Progress:
    """One line on stderr that says how far a job is, only where stderr is a terminal; else nothing.

    Call `clear` before printing to the same terminal, so that the line never mixes with what is printed.
    """

    def __init__(self) -> None:
        self._shows = is_terminal(sys.stderr) and os.environ.get("TERM") != "dumb"
        self._text = self._stage = ""
        self._started = self._drawn = self._began = time.monotonic()
        self._before = self._last = 0

    def __enter__(self) -> "Progress":
        """Start with nothing to say."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave a clean line."""
        self.clear()

    def __call__(self, stage: str, done: int = 0, total: int = 0) -> None:
        """Say that `done` of `total` steps of a stage are taken; without a total, that the stage goes on."""
        if not self._shows:
            return
        now = time.monotonic()
        if stage != self._stage or done < self._last:
            self._stage, self._began, self._before = stage, now, done
        elif now - self._drawn < 0.1 and done < total:
            return
        self._drawn, self._last = now, done
        bar = ""
        if total > 0:
            filled = round(_BAR * min(done, total) / total)
            bar = f" [{'#' * filled}{'.' * (_BAR - filled)}] {done}/{total}{self._speed(done, now)}"
        self._text = f"{escape_invisible(stage)}{bar} {now - self._started:.0f} s"
        self._write(f"\r\x1b[2K{self._text[: columns(sys.stderr) - 1]}")

    def clear(self) -> None:
        """Take the line away, so that something else can be written."""
        if self._text:
            self._write("\r\x1b[2K")
            self._text = ""

    def _speed(self, done: int, now: float) -> str:
        """Steps a second since the stage was first told of, once there is a second's worth to tell it from."""
        if done <= self._before or now - self._began < 1:
            return ""
        return f" {(done - self._before) / (now - self._began):.3g}/s"

    def _write(self, text: str) -> None:
        try:
            sys.stderr.write(text)
            sys.stderr.flush()
        except (OSError, ValueError):
            self._shows = False
