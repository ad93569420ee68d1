"""Reading a whole file and writing one atomically, with errors that say the mend."""

import contextlib
import os
import secrets
from pathlib import Path

from vectors.common.errors import InputError, OutputError, SteerError
from vectors.common.validation import quote

SPARE = (".steer-", ".tmp")


def is_temporary_file(path: Path) -> bool:
    """Whether a path is that of a temporary file of ours, which an interruption may leave behind."""
    return path.name.startswith(SPARE[0]) and path.name.endswith(SPARE[1])


def read_bytes(path: str | Path, what: str, *, limit: int | None = None, kind: type[SteerError] = InputError) -> bytes:
    """Return the bytes of one file, at most `limit` of them.

    Without a limit a pipe is read too (`<(command)` in a shell); with one, only a regular file.

    Raises:
        kind: when there is no such file, when it is a folder, when it cannot be read, when it is larger than `limit`
            bytes.
    """
    place = expand_path(path, kind)
    try:
        if place.is_dir():
            raise kind(f"{quote(place)} is a folder: give the path of {what}")
        if not place.exists():
            raise kind(f"there is no file {quote(place)}: give the path of {what}")
        if not place.is_file() and not (limit is None and place.is_fifo()):
            raise kind(f"{quote(place)} is not a regular file: give the path of {what}")
        with place.open("rb") as stream:
            data = stream.read() if limit is None else stream.read(limit + 1)
    except OSError as error:
        raise kind(f"cannot read {quote(place)} ({error.strerror}): give the readable path of {what}") from error
    if limit is not None and len(data) > limit:
        raise kind(f"{quote(place)} is larger than {limit} bytes: that is not {what}")
    return data


def check_output_path(
    path: str | Path, *, force: bool = False, hint: str = "pass --force (force=True) to replace it"
) -> Path:
    """Return the path where a file can go, or say why not, without touching it.

    Raises:
        OutputError: when it is a folder or no regular file, exists (unless `force`; `hint` says what to do then),
            cannot be written, or its folder is missing.
    """
    place = expand_path(path, OutputError)
    try:
        if place.is_dir():
            raise OutputError(f"cannot write {quote(place)}: it is a folder, give a file name")
        if place.exists() and not place.is_file():
            raise OutputError(f"cannot write {quote(place)}: it is not a regular file, choose another path")
        if os.path.lexists(place) and not force:
            raise OutputError(f"{quote(place)} exists: {hint}, or choose another path")
        if not place.parent.is_dir():
            raise OutputError(f"cannot write {quote(place)}: there is no folder {quote(place.parent)}, create it first")
        if place.name.startswith("-") and len(place.parts) == 1:
            raise OutputError(f"{quote(place)} looks like an option: write './{place.name}' if it is a file's name")
        if not os.access(place if place.exists() else place.parent, os.W_OK):
            raise OutputError(f"cannot write {quote(place)}: you may not write there, choose another path")
    except OSError as error:
        raise OutputError(
            f"cannot write {quote(place)} ({error.strerror}): choose a path that can be written"
        ) from error
    return place


def write_atomically(path: str | Path, data: bytes, *, force: bool = False) -> Path:
    """Write `data` to `path` in one step and return the path: readers see the old file or the whole new one.

    The bytes go to a hidden temporary file in the same folder, which then takes the name; it is removed on any failure.

    Raises:
        OutputError: when the file exists and `force` is false, when the folder is missing or cannot be written, or
            when the path is no regular file.
    """
    place = check_output_path(path, force=force)
    spare = place.parent / f"{SPARE[0]}{secrets.token_hex(8)}{SPARE[1]}"
    try:
        descriptor = os.open(spare, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        if force:
            os.replace(spare, place)
        else:
            _link(spare, place)
    except FileExistsError as error:
        raise OutputError(f"{quote(place)} exists: another process has just written it, choose another path") from error
    except OSError as error:
        raise OutputError(
            f"cannot write {quote(place)} ({error.strerror}): choose a path that can be written"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            spare.unlink(missing_ok=True)
    return place


def _link(spare: Path, place: Path) -> None:
    """Give a new file its name, unless another process has taken it since."""
    try:
        os.link(spare, place)
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        os.replace(spare, place)


def expand_path(path: str | Path, kind: type[SteerError]) -> Path:
    """Return a path with its `~` filled in.

    Raises:
        kind: what is no path, or a user without a home.
    """
    if not str(path) or "\0" in str(path):
        raise kind(f"{quote(path)} is not a path: give one that is not empty and holds no NUL")
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise kind(f"{quote(path)}: the home folder is unknown, write the path out in full") from error
