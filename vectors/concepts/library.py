"""The library: find concepts by name among those that ship with a model and those of the user."""

import contextlib
import difflib
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from vectors.common.errors import InputError, VectorError
from vectors.common.files import expand_path
from vectors.common.paths import (
    VECTOR_SUFFIX,
    list_folder,
    model_folder,
    shipped_folders,
    user_library,
    vector_files,
    writable_model_folder,
)
from vectors.common.tensor_file import read_header
from vectors.common.validation import check_name, list_names, quote
from vectors.concepts.vector import ConceptVector, ModelLike, check_fits, same_model
from vectors.concepts.vector_file import load_file, save

FOREIGN_SUFFIXES = (".gguf", ".npz", ".npy", ".svec", ".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle")
"""Endings of files of other tools, which `steer import` reads."""

_TRIED = 3  # files of a folder that are read to learn which model it belongs to


def keep(vector: ConceptVector, *, force: bool = False) -> Path:
    """Save a vector in the user's library and return the path; expressions for the same model find it by its name.

    Raises:
        OutputError: the library already has a concept of that name (unless `force`), or is not writable.
    """
    folder = writable_model_folder(vector.model, vector.model_hash)
    return save(vector, folder / f"{vector.name}{VECTOR_SUFFIX}", force=force)


def catalog(model: ModelLike) -> dict[str, Path]:
    """Return the files of all concepts for `model` by name, sorted.

    Of concepts of the same name the user's own for this very model counts, then the user's own for the model quantised
    or cast, then the shipped one.
    """
    own = model_folder(model.name, model.hash)
    twins = [folder for folder in list_folder(user_library()) if folder.is_dir() and folder != own]
    shipped = _of_same_model(shipped_folders(), model) if model.library is None else vector_files(model.library)
    return dict(sorted((shipped | _of_same_model(twins, model) | own_files(model)).items()))


def own_files(model: ModelLike) -> dict[str, Path]:
    """Return the user's files of concepts that were made on these very weights, by name."""
    return vector_files(model_folder(model.name, model.hash))


def _of_same_model(folders: Sequence[Path], model: ModelLike) -> dict[str, Path]:
    """Return the concepts that were made on this model, quantised or cast perhaps: one file tells for its folder."""
    found: dict[str, Path] = {}
    if getattr(model, "passport", None) is None:
        return found
    for folder in folders:
        files = vector_files(folder)
        for path in list(files.values())[:_TRIED]:
            with contextlib.suppress(VectorError, InputError):  # a damaged file does not hide its neighbours
                if same_model(load_file(path), model) != "other":
                    found |= files
                break  # a file that was read
    return found


def names(model: ModelLike) -> list[str]:
    """Return the names of all concepts for `model`, sorted."""
    return list(catalog(model))


def load(concept: str | Path, model: ModelLike) -> ConceptVector:
    """Load a concept by its name in the model's library, or from the path of a `.safetensors` file.

    The name of a file in the library decides, even if the vector was saved under another name.

    Raises:
        InputError: there is no such concept (the message lists similar names), or the name is not valid.
        VectorError: the file is unusable, or was made for another model.
    """
    text = str(concept)
    if text.endswith(VECTOR_SUFFIX):
        _check_ours(text, model)
        vector = load_file(concept)
    elif isinstance(concept, Path) or "/" in text or "\\" in text:
        _check_foreign(text, model)
        raise InputError(
            f"{quote(text)} is no concept name (names have no slash) and no path that ends with {VECTOR_SUFFIX}: "
            "give one of the two"
        )
    else:
        name, paths = check_name(text), catalog(model)
        if name not in paths:
            _check_foreign(text, model)
            raise InputError(_no_such_concept(name, list(paths), model))
        vector = load_file(paths[name])
        vector = vector if vector.name == name else replace(vector, name=name)
    check_fits(vector, model)
    return vector


def _check_foreign(text: str, model: ModelLike) -> None:
    """Refuse the path of another tool's file, with the command that imports it."""
    path = expand_path(text, InputError)
    try:
        is_file, is_folder = path.is_file(), path.is_dir() and path.parts != (text,)
    except OSError:
        return
    if path.suffix.lower() in FOREIGN_SUFFIXES and not is_file:
        raise InputError(f"there is no file {quote(text)}: give the name of a concept, or the path of a file")
    if is_file or is_folder:
        raise InputError(_import_first(text, model, is_folder=is_folder))


def _check_ours(text: str, model: ModelLike) -> None:
    """Refuse a readable safetensors file that is no vector file of this library, with the command that imports it."""
    path = expand_path(text, VectorError)
    try:
        if not path.is_file():
            return
        with path.open("rb") as stream:
            header = read_header(stream)
    except (OSError, VectorError):
        return  # what is wrong with it is said when it is loaded
    metadata = header.get("__metadata__")
    if not isinstance(metadata, dict) or not str(metadata.get("format", "")).startswith("steer-vector/"):
        raise InputError(_import_first(text, model, is_folder=False))


def _import_first(text: str, model: ModelLike, *, is_folder: bool) -> str:
    origin = getattr(model, "origin", None) or {}
    given = origin.get("name_or_path")
    flag = "" if given is None else f" --model {shlex.quote(str(given))}"
    if is_folder:
        return (
            f"{quote(text)} is a folder: import a feature of an autoencoder by `steer import {shlex.quote(text)}{flag} "
            "--row 0`, with the number of the feature, and use its name"
        )
    command = f"steer import {shlex.quote(text)}{flag}"
    return f"{quote(text)} is a file of another tool: import it by `{command}`, and use the name that this prints"


def _no_such_concept(name: str, known: list[str], model: ModelLike) -> str:
    start = f"there is no concept {quote(name)} for model {quote(model.name)}"
    folders = [folder for folder in list_folder(user_library()) if folder.is_dir()]
    elsewhere = [folder.name for folder in folders if name in vector_files(folder)]
    if elsewhere:
        start += f" (there is one for {list_names(elsewhere)})"
    if not known:
        return f"{start}: its library is empty, make one with `steer extract`"
    by_lower_case = {other.casefold(): other for other in known}
    nearest = difflib.get_close_matches(name.casefold(), list(by_lower_case), n=5, cutoff=0.0)[:3]
    return f"{start}: the nearest are {', '.join(by_lower_case[key] for key in nearest)}; `steer ls` lists all"
