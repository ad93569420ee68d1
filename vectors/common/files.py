"""Read a whole file, and write one atomically."""

import contextlib
import os
import secrets
from pathlib import Path

from vectors.common.errors import InputError, OutputError, SteerError
from vectors.common.validation import quote

TEMPORARY_PREFIX, TEMPORARY_SUFFIX = ".steer-", ".tmp"
_LFS_POINTER = b"version https://git-lfs.github.com/spec/"


def is_temporary_file(path: Path) -> bool:
    """Return whether a path has the name of a temporary file of this module, which a killed process leaves behind."""
    return path.name.startswith(TEMPORARY_PREFIX) and path.name.endswith(TEMPORARY_SUFFIX)


def read_bytes(path: str | Path, what: str, *, limit: int | None = None, error: type[SteerError] = InputError) -> bytes:
    """Return the bytes of a file.

    Args:
        path: The file. A pipe (`<(command)` in a shell) is read only when there is no limit.
        what: What the file should be, for error messages: "a text file".
        limit: The largest accepted size in bytes.
        error: The class of the errors raised.

    Raises:
        SteerError: (as `error`) The file is missing, is a folder, cannot be read, is larger than `limit`, or is a Git
            LFS pointer instead of the file.
    """
    path = expand_path(path, error)
    try:
        if path.is_dir():
            raise error(f"{quote(path)} is a folder: give the path of {what}")
        if not path.exists():
            raise error(f"there is no file {quote(path)}: give the path of {what}")
        if not path.is_file() and not (limit is None and path.is_fifo()):
            raise error(f"{quote(path)} is not a regular file: give the path of {what}")
        with path.open("rb") as stream:
            data = stream.read() if limit is None else stream.read(limit + 1)
    except OSError as cause:
        raise error(f"cannot read {quote(path)} ({cause.strerror}): give the readable path of {what}") from cause
    if limit is not None and len(data) > limit:
        raise error(f"{quote(path)} is larger than {limit} bytes: that is not {what}")
    check_no_pointer(data, path, error)
    return data


def check_no_pointer(start: bytes, path: Path, error: type[SteerError]) -> None:
    """Refuse a Git LFS pointer, by the first bytes of a file: a few lines of text in place of the file.

    Raises:
        SteerError: (as `error`) It is one.
    """
    if start.startswith(_LFS_POINTER):
        raise error(
            f"{quote(path)} is a Git LFS pointer, not the file itself: run `git lfs pull` where you cloned it, or "
            "download the file"
        )


def check_output_path(
    path: str | Path, *, force: bool = False, hint: str = "pass --force (force=True) to replace it"
) -> Path:
    """Check that a file can be written to `path`, without touching it, and return the path.

    Args:
        path: Where the file is to go.
        force: Whether an existing file may be replaced.
        hint: What the error message advises when the file exists.

    Raises:
        OutputError: The path is a folder or not a regular file, exists (unless `force`), cannot be written, or its
            folder is missing.
    """
    path = expand_path(path, OutputError)
    try:
        if path.is_dir():
            raise OutputError(f"cannot write {quote(path)}: it is a folder, give a file name")
        if path.exists() and not path.is_file():
            raise OutputError(f"cannot write {quote(path)}: it is not a regular file, choose another path")
        if os.path.lexists(path) and not force:
            raise OutputError(f"{quote(path)} exists: {hint}, or choose another path")
        if not path.parent.is_dir():
            raise OutputError(f"cannot write {quote(path)}: there is no folder {quote(path.parent)}, create it first")
        if path.name.startswith("-") and len(path.parts) == 1:
            raise OutputError(f"{quote(path)} looks like an option: write './{path.name}' if it is a file's name")
        if not os.access(path if path.exists() else path.parent, os.W_OK):
            raise OutputError(f"cannot write {quote(path)}: you may not write there, choose another path")
    except OSError as cause:
        raise _write_error(path, cause) from cause
    return path


def write_atomically(path: str | Path, data: bytes, *, force: bool = False) -> Path:
    """Write `data` to `path` in one step and return the path: readers see the old file or the whole new one.

    The bytes go to a hidden temporary file in the same folder, which is then renamed. It is removed on any failure.

    Raises:
        OutputError: The file exists and `force` is false, its folder is missing or cannot be written, or the path is
            not a regular file.
    """
    path = check_output_path(path, force=force)
    temporary = path.parent / f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}{TEMPORARY_SUFFIX}"
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        if force:
            os.replace(temporary, path)
        else:
            _link(temporary, path)
    except FileExistsError as cause:
        raise OutputError(f"{quote(path)} exists: another process has just written it, choose another path") from cause
    except OSError as cause:
        raise _write_error(path, cause) from cause
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    return path


def expand_path(path: str | Path, error: type[SteerError]) -> Path:
    """Return a path with a leading `~` replaced by the home folder.

    Raises:
        SteerError: (as `error`) The path is empty or holds a NUL character, or the home folder is unknown.
    """
    if not str(path) or "\0" in str(path):
        raise error(f"{quote(path)} is not a path: give one that is not empty and holds no NUL")
    try:
        return Path(path).expanduser()
    except RuntimeError as cause:
        raise error(f"{quote(path)}: the home folder is unknown, write the path out in full") from cause


def _write_error(path: Path, cause: OSError) -> OutputError:
    return OutputError(f"cannot write {quote(path)} ({cause.strerror}): choose a path that can be written")


def _link(temporary: Path, path: Path) -> None:
    """Rename a new file, and fail if another process has created `path` meanwhile."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:  # the file system has no hard links
        os.replace(temporary, path)
