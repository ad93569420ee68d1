"""Report how far a long job is: to a callback of the caller, or as tqdm bars in a terminal or notebook."""

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from vectors.common.errors import InputError
from vectors.common.validation import quote

Progress = Callable[[str, int, int], None]
"""Called with the stage, the steps done and the number of steps (0: unknown)."""

Advance = Callable[[int], None]
"""Called with the number of steps finished since the last call."""

ProgressOption = Progress | bool | None
"""The `progress=` argument: a callback, `True` for bars, or nothing."""

_P = ParamSpec("_P")
_R = TypeVar("_R")


def with_progress_bars(job: Callable[_P, _R]) -> Callable[_P, _R]:
    """Let a function with a `progress=` argument take `True`: it then shows bars until it returns."""

    @wraps(job)
    def with_bars(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        if kwargs.get("progress") is not True:
            return job(*args, **kwargs)
        with ProgressBars() as bars:
            kwargs["progress"] = bars
            return job(*args, **kwargs)

    return with_bars


def progress_callback(option: ProgressOption) -> Progress:
    """Return the callback, or one that does nothing.

    Raises:
        InputError: neither a callback nor a boolean.
    """
    if callable(option):
        return option
    if option not in (None, False):
        raise InputError(f"progress is {quote(option)}: give a function, True for bars, or nothing")
    return _ignore


def count_progress(progress: Progress, stage: str, total: int) -> Advance:
    """Return a function that adds up finished steps and reports the sum.

    >>> advance = count_progress(print, "texts", 3)
    >>> advance(2)
    texts 2 3
    """
    done = 0

    def advance(steps: int) -> None:
        nonlocal done
        done += steps
        progress(stage, done, total)

    return advance


class ProgressBars:
    """One tqdm bar for each stage, closed when the next stage begins or the context ends.

    tqdm and not rich, because rich shows nothing in a notebook without ipywidgets, and tqdm falls back to text there.
    The commands of `steer` draw with rich.
    """

    def __init__(self) -> None:
        self._bar: Any = None
        self._stage = ""

    def __enter__(self) -> "ProgressBars":
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Move the bar of the stage; a new stage, or a smaller count, gets a new bar."""
        if self._bar is None or stage != self._stage or done < self._bar.n:
            from tqdm.auto import tqdm

            self._close()
            # a stage of unknown length shows the elapsed time only, and its bar disappears at the end
            look: Any = {} if total else {"bar_format": "{desc} {elapsed}", "leave": False}
            self._bar, self._stage = tqdm(desc=stage, total=total or None, dynamic_ncols=True, **look), stage
        self._bar.update(done - self._bar.n)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
        self._bar = None


def _ignore(stage: str, done: int, total: int) -> None:
    pass
