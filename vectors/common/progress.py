"""Being told how far a long job is: a function of the caller's, or bars of tqdm's, in a terminal or a notebook."""

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

Progress = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and how much there is (0: nobody knows)."""

Advance = Callable[[int], None]
"""Told how many more of something are done."""

ProgressOption = Progress | bool | None
"""What callers give: a function to be told, `True` for bars, or nothing."""

_P = ParamSpec("_P")
_R = TypeVar("_R")


def with_progress_bars(job: Callable[_P, _R]) -> Callable[_P, _R]:
    """Let a function that takes `progress=` take `True` for it: bars, closed when it is done."""

    @wraps(job)
    def shown(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        if kwargs.get("progress") is not True:
            return job(*args, **kwargs)
        with ProgressBars() as bars:
            kwargs["progress"] = bars
            return job(*args, **kwargs)

    return shown


def progress_callback(given: ProgressOption) -> Progress:
    """Return the function to tell, which does nothing where nobody listens."""
    return given if callable(given) else _silent


def count_progress(tell: Progress, what: str, total: int) -> Advance:
    """Return what is told how many more of something are done, and tells how many are done in all.

    >>> more = count_progress(print, "texts", 3)
    >>> more(2)
    texts 2 3
    """
    done = 0

    def more(n: int) -> None:
        nonlocal done
        done += n
        tell(what, done, total)

    return more


class ProgressBars:
    """A bar for each thing that is done, one after the other; as a context, it leaves none open."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._what = ""

    def __enter__(self) -> "ProgressBars":
        """Begin without a bar."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the last one."""
        self._close()

    def __call__(self, what: str, done: int, total: int) -> None:
        """Move the bar of what is being done, a new one where it is something else."""
        if self._bar is None or what != self._what or done < self._bar.n:
            from tqdm.auto import tqdm

            self._close()
            # what cannot be counted has a clock alone, and leaves no line behind
            looks: Any = {} if total else {"bar_format": "{desc} {elapsed}", "leave": False}
            self._bar, self._what = tqdm(desc=what, total=total or None, dynamic_ncols=True, **looks), what
        self._bar.update(done - self._bar.n)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
        self._bar = None


def _silent(what: str, done: int, total: int) -> None:
    pass
