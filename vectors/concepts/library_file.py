"""A whole library as one file, so that concepts can be shared: a zip archive of vector files."""

import io
import json
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from vectors.common.errors import InputError, OutputError, SteerError, VectorError
from vectors.common.files import check_output_path, read_bytes, write_atomically
from vectors.common.paths import VECTOR_SUFFIX, list_folder, user_library, vector_files, writable_model_folder
from vectors.common.validation import check_name, quote
from vectors.concepts.vector import ConceptVector
from vectors.concepts.vector_file import MAX_BYTES, parse

SUFFIX = ".zip"
FORMAT = "steer-library/1"

_UNREADABLE = (zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError, OSError, EOFError, ValueError)
_MANIFEST = "steer-library.json"
_MAX_FILE = 4 * 2**30
_MAX_CONCEPTS = 100_000


@dataclass(frozen=True)
class Arrival:
    """What became of one concept of a library file.

    Attributes:
        name: of the concept.
        model: its model.
        outcome: `imported`, `replaced`, `known` (the library has this very vector), or `kept` (it has another one of
            that name, which stays).
    """

    name: str
    model: str
    outcome: str


def export_library(path: str | Path, *, model: str | None = None, force: bool = False) -> list[ConceptVector]:
    """Write all concepts of the user's library to one file, atomically, and return them.

    Args:
        path: a new file that ends with .zip.
        model: only concepts of the model of this name.
        force: replace an existing file.

    Raises:
        OutputError: a path without that ending, that exists, or that cannot be written.
        InputError: there is no concept to export.
        VectorError: a damaged file in the library.
    """
    if not str(path).endswith(SUFFIX):
        raise OutputError(f"{quote(path)} does not end with {SUFFIX}: give the library file that ending")
    check_output_path(path, force=force)
    data, exported = io.BytesIO(), list[ConceptVector]()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(_MANIFEST, json.dumps({"format": FORMAT}))
        for folder in list_folder(user_library()):
            for name, file in vector_files(folder).items() if folder.is_dir() else ():
                content = read_bytes(file, "a vector file (.safetensors)", limit=MAX_BYTES, error=VectorError)
                vector = _parsed(content, str(file))
                if model is None or vector.model == model:
                    archive.writestr(f"{folder.name}/{name}{VECTOR_SUFFIX}", content)
                    exported.append(vector)
    if not exported:
        raise InputError(
            f"your library has no concept{'' if model is None else f' of {quote(model)}'} to export: make one with "
            "`steer extract`, or see `steer ls`"
        )
    write_atomically(path, data.getvalue(), force=force)
    return exported


def import_library(
    path: str | Path, *, force: bool = False, progress: Callable[[int, int], None] | None = None
) -> list[Arrival]:
    """Add the concepts of a library file to the user's library, each under its model.

    All of them are checked before the first one is written. A concept whose name is taken stays out, unless `force`.

    Args:
        path: a file of `export_library`.
        force: replace concepts of the same name.
        progress: called with the number of concepts that are written, and of all.

    Raises:
        VectorError: a file that is missing, damaged or no library file, or a concept in it that is unusable.
        OutputError: the library cannot be written.
    """
    data = read_bytes(path, "a library file (.zip)", limit=_MAX_FILE, error=VectorError)
    found = list(_members(data, path))
    arrivals = []
    for number, (name, vector, content) in enumerate(found, 1):
        folder = writable_model_folder(vector.model, vector.model_hash)
        target = folder / f"{name}{VECTOR_SUFFIX}"
        before = target.read_bytes() if target.exists() else None
        outcome = "imported" if before is None else "known" if before == content else "replaced" if force else "kept"
        if outcome in ("imported", "replaced"):
            write_atomically(target, content, force=force)
        arrivals.append(Arrival(name, vector.model, outcome))
        if progress:
            progress(number, len(found))
    return arrivals


def _members(data: bytes, path: str | Path) -> Iterator[tuple[str, ConceptVector, bytes]]:
    """Yield name, vector and bytes of each concept of an archive.

    The names of folders in the archive are ignored: the vector says which model it belongs to.
    """
    what = f"{quote(path)} is not a library file"
    mend = "give a file that `steer library export` wrote"
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
        manifest = json.loads(archive.read(_MANIFEST))
    except (*_UNREADABLE, KeyError) as error:
        raise VectorError(f"{what}: {mend}") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise VectorError(f"{what} of this version: {mend}")
    members = [member for member in archive.infolist() if member.filename.endswith(VECTOR_SUFFIX)]
    sizes = [member.file_size for member in members]
    if len(members) > _MAX_CONCEPTS or max(sizes, default=0) > MAX_BYTES or sum(sizes) > _MAX_FILE:
        raise VectorError(f"{quote(path)} is too large: expected at most {_MAX_CONCEPTS} concepts of {MAX_BYTES} bytes")
    for member in members:
        try:
            content = archive.read(member)
        except _UNREADABLE as error:
            where = quote(member.filename)
            raise VectorError(f"{quote(path)} is damaged at {where}: export or copy it again") from error
        vector = _parsed(content, f"{path}: {member.filename}")
        yield _name(member.filename), vector, content


def _name(member: str) -> str:
    """Return the name of a concept, which is that of its file; the folder before it does not matter."""
    try:
        return check_name(member.rpartition("/")[2].removesuffix(VECTOR_SUFFIX))
    except InputError as error:
        raise VectorError(f"a file in it has a name that no concept can have: {error}") from error


def _parsed(content: bytes, where: str) -> ConceptVector:
    try:
        return parse(content)
    except SteerError as error:
        raise VectorError(f"{quote(where)} is not a usable vector file: {error}") from error
