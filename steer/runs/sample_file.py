"""A file that takes samples as they finish: locked, resumable, readable after any kill."""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from steer.runs.sample import Sample, difference, read_lines
from vectors.common.errors import InputError, OutputError
from vectors.common.files import check_output_path
from vectors.common.validation import quote

# Windows has no flock: there, two writers are not told apart
_fcntl: Any = import_module("fcntl") if os.name == "posix" else None

Mode = Literal["new", "force", "resume"]


def check_output(path: str | Path, mode: Mode = "new") -> Path:
    """Return the path where samples can go, or say why not, without touching it.

    Raises:
        OutputError: when it is a folder or no regular file, exists (mode `new`), or its folder is missing.
    """
    return check_output_path(path, force=mode != "new", hint="pass --resume to go on with it, --force to replace it")


class SampleFile:
    """A JSONL file that takes each sample as it finishes, so that a killed run keeps what it had.

    Entering the block proves that the file can be written and locks it. Mode `new` refuses an existing file, `force`
    replaces it (at the first sample: a run that fails before keeps the old one), and `resume` goes on with it: a torn
    last line is cut off, `done` holds the indices that are already there, and a file of another run is refused.

    Args:
        path: where to write.
        mode: `new`, `force` or `resume`; `resume` starts a new file where there is none.
        expect: what every sample of this run has, any of `Sample`'s fields; inside dictionaries such as `settings`,
            keys that are not given are not compared.

    Raises:
        OutputError: when the file cannot be written, exists, is locked by another process, or holds another run (the
            first difference is named).
        InputError: when a line of a resumed file is no sample.
    """

    def __init__(self, path: str | Path, mode: Mode = "new", expect: Mapping[str, Any] | None = None) -> None:
        if mode not in ("new", "force", "resume"):
            raise InputError(f"mode is {quote(mode)}: choose new, force or resume")
        self.path, self.mode, self.expect = Path(path), mode, dict(expect or {})
        self.done: set[int] = set()
        self._descriptor = -1
        self._length = 0  # bytes of whole lines; what lies behind them is replaced by the next line
        self._created = False

    def __enter__(self) -> "SampleFile":
        """Open, lock and check the file."""
        self.path = check_output(self.path, self.mode)
        self._created = not os.path.lexists(self.path)
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0) | (os.O_EXCL if self._created else 0)
        try:
            self._descriptor = os.open(self.path, flags, 0o666)
        except OSError as error:
            raise self._failed(error) from error
        try:
            self._lock()
            self.check_place()
            if self.mode == "resume":
                self._take_up()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file; one that was made for nothing is removed."""
        if self._created and not self._length:
            with suppress(OSError):
                self.path.unlink()
        with suppress(OSError):
            os.close(self._descriptor)  # gives the lock back
        self._descriptor = -1

    def append(self, sample: Sample, about: Mapping[str, Any] | None = None) -> None:
        """Write one sample as one line, whole or not at all; what there is to say about it follows its own fields.

        Raises:
            InputError: when its index is already there or it is of another run.
            OutputError: when the line cannot be written.
        """
        if sample.index in self.done:
            raise InputError(f"sample {sample.index} is already in {quote(self.path)}: skip the indices in `done`")
        if different := difference(sample, self.expect):
            raise InputError(f"sample {sample.index} is of another run: {different}")
        more = f", {json.dumps(dict(about))[1:-1]}" if about else ""
        line = f"{sample.to_json()[:-1]}{more}}}\n".encode()
        try:
            os.ftruncate(self._descriptor, self._length)
            os.lseek(self._descriptor, self._length, os.SEEK_SET)
            rest = memoryview(line)
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(self._descriptor, self._length)
            raise self._failed(error) from error
        self._length += len(line)
        self.done.add(sample.index)

    def _lock(self) -> None:
        if _fcntl is None:
            return
        try:
            _fcntl.flock(self._descriptor, _fcntl.LOCK_EX | _fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._created = False  # it is the other's file
            raise OutputError(
                f"{quote(self.path)} is being written by another process: wait for it or choose another path"
            ) from error
        except OSError:
            return  # a file system without locks

    def check_place(self) -> None:
        """Refuse a file that another process took away since we opened it.

        Raises:
            OutputError: it is gone, or another one stands in its place.
        """
        mine = os.fstat(self._descriptor)
        try:
            there = self.path.stat()
        except OSError:
            there = None
        if there is None or (there.st_dev, there.st_ino) != (mine.st_dev, mine.st_ino):
            self._created = False
            raise OutputError(f"{quote(self.path)} was removed or replaced by another process: run it again")

    def _take_up(self) -> None:
        name = quote(self.path)
        with os.fdopen(os.dup(self._descriptor), "rb") as stream:
            for sample, end in read_lines(stream, name):
                if sample is not None:
                    if different := difference(sample, self.expect):
                        raise OutputError(
                            f"{name} holds another run: {different}; repeat that run's options to resume it, "
                            "pass --force to replace it, or choose another path"
                        )
                    self.done.add(sample.index)
                    self._length = end
        if self._length:
            os.lseek(self._descriptor, self._length - 1, os.SEEK_SET)
            if os.read(self._descriptor, 1) != b"\n":
                os.write(self._descriptor, b"\n")  # the last line is whole but for its end
                self._length += 1
        os.ftruncate(self._descriptor, self._length)

    def _failed(self, error: OSError) -> OutputError:
        return OutputError(f"cannot write {quote(self.path)} ({error.strerror}): choose a path that can be written")


def peek(path: str | Path) -> Sample | None:
    """Return the first sample of a file, or None where there is no file or no whole line yet.

    Raises:
        InputError: when its first line is no sample.
        OutputError: when it cannot be read.
    """
    try:
        with Path(path).expanduser().open("rb") as stream:
            return next((sample for sample, _ in read_lines(stream, quote(path))), None)
    except FileNotFoundError:
        return None
    except (OSError, RuntimeError) as error:
        raise OutputError(f"cannot read {quote(path)}: make it readable, or choose another path") from error
