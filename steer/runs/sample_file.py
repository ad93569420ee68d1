"""A JSONL file to which samples are appended as they finish: locked, resumable, and readable after a crash."""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from steer.runs.sample import EARLIER, Sample, difference, read_lines
from vectors.common.errors import InputError, OutputError
from vectors.common.files import check_output_path
from vectors.common.validation import quote

# Windows has no flock: a second writer is not noticed there
_fcntl: Any = import_module("fcntl") if os.name == "posix" else None

Mode = Literal["new", "force", "resume"]


def check_output(path: str | Path, mode: Mode = "new") -> Path:
    """Return a path that samples can be written to, without touching it.

    Raises:
        OutputError: a path that exists (mode `new`), is no regular file, or has no folder.
    """
    return check_output_path(path, force=mode != "new", hint="pass --resume to go on with it, --force to replace it")


class SampleFile:
    """A JSONL file to which each sample is appended as it finishes, so that a killed run keeps its samples.

    Entering the context checks that the file can be written and locks it. Mode `new` refuses an existing file. `force`
    replaces it when the first sample is written, so that a run that fails earlier keeps the old file. `resume`
    continues it: an incomplete last line is removed, `done` holds the indices in the file, and a file of another run
    is refused.

    Args:
        path: the file.
        mode: `new`, `force` or `resume`; `resume` starts a new file if there is none.
        expect: fields of `Sample` that all samples of this run share; of dictionaries such as `settings`, only the
            given keys are compared.

    Raises:
        OutputError: a file that exists, cannot be written, is locked by another process, or holds another run.
        InputError: a line of a resumed file that is no sample.
    """

    def __init__(self, path: str | Path, mode: Mode = "new", expect: Mapping[str, Any] | None = None) -> None:
        if mode not in ("new", "force", "resume"):
            raise InputError(f"mode is {quote(mode)}: choose new, force or resume")
        self.path, self.mode, self.expect = Path(path), mode, dict(expect or {})
        self.done: set[int] = set()
        self._descriptor = -1
        self._length = 0  # bytes of complete lines; the next line replaces anything after them
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
            self.check_path()
            if self.mode == "resume":
                self._take_up()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file, and remove it if it was created and is still empty."""
        if self._created and not self._length:
            with suppress(OSError):
                self.path.unlink()
        with suppress(OSError):
            os.close(self._descriptor)  # releases the lock
        self._descriptor = -1

    def append(self, sample: Sample, extra: Mapping[str, Any] | None = None) -> None:
        """Write one sample as one line, completely or not at all; `extra` keys follow those of the sample.

        Raises:
            InputError: an index that the file has already, or a sample of another run.
            OutputError: a line that cannot be written.
        """
        if sample.index in self.done:
            raise InputError(f"sample {sample.index} is already in {quote(self.path)}: skip the indices in `done`")
        if different := difference(sample, self.expect):
            raise InputError(f"sample {sample.index} is of another run: {different}")
        extra_fields = f", {json.dumps(dict(extra))[1:-1]}" if extra else ""
        line = f"{sample.to_json()[:-1]}{extra_fields}}}\n".encode()
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
            self._created = False  # so that __exit__ does not remove the other process's file
            raise OutputError(
                f"{quote(self.path)} is being written by another process: wait for it or choose another path"
            ) from error
        except OSError:
            return  # a file system without locks

    def check_path(self) -> None:
        """Refuse a file that another process took away since we opened it.

        Raises:
            OutputError: it was removed or replaced.
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
                        repeat = "" if different == EARLIER else "repeat that run's options to resume it, "
                        raise OutputError(
                            f"{name} holds another run: {different}; {repeat}pass --force to replace it, or choose "
                            "another path"
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
    """Return the first sample of a file, or None if there is no file or no complete line.

    Raises:
        InputError: a first line that is no sample.
        OutputError: a file that cannot be read.
    """
    try:
        with Path(path).expanduser().open("rb") as stream:
            return next((sample for sample, _ in read_lines(stream, quote(path))), None)
    except FileNotFoundError:
        return None
    except (OSError, RuntimeError) as error:
        raise OutputError(f"cannot read {quote(path)}: make it readable, or choose another path") from error
