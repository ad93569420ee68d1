"""The library: the concepts that ship with a model, the user's own, and how names find them."""

import difflib
from dataclasses import replace
from pathlib import Path

from vectors.common.errors import InputError
from vectors.common.paths import (
    VECTOR_SUFFIX,
    list_folder,
    model_folder,
    user_library,
    vector_files,
    writable_model_folder,
)
from vectors.common.validation import check_name, quote
from vectors.concepts.vector import ConceptVector, ModelLike, check_fits
from vectors.concepts.vector_file import load_file, save


def keep(vector: ConceptVector, *, force: bool = False) -> Path:
    """Save a vector under its name in the user's library, in the folder of the model it was made for; return the path.

    Expressions find it there by its name.

    Raises:
        OutputError: when the library already holds that name (unless `force`) or cannot be written.
    """
    folder = writable_model_folder(vector.model, vector.model_hash)
    return save(vector, folder / f"{vector.name}{VECTOR_SUFFIX}", force=force)


def catalog(model: ModelLike) -> dict[str, Path]:
    """Return the file of every concept known for `model`, by name in order; the user's own shadow the shipped ones."""
    shipped = {} if model.library is None else vector_files(model.library)
    return dict(sorted((shipped | vector_files(model_folder(model.name, model.hash))).items()))


def names(model: ModelLike) -> list[str]:
    """Return the names of every concept known for `model`, in order."""
    return list(catalog(model))


def load(concept: str | Path, model: ModelLike) -> ConceptVector:
    """Return a concept by its name in the model's library, or from the path of a `.safetensors` file.

    A file that was renamed in the library answers to its file name.

    Raises:
        InputError: when nothing has that name (the nearest names are listed) or it is no valid name.
        VectorError: when the file is unusable or was made for another model.
    """
    text = str(concept)
    if text.endswith(VECTOR_SUFFIX):
        vector = load_file(concept)
    elif isinstance(concept, Path) or "/" in text or "\\" in text:
        raise InputError(
            f"{quote(text)} is no concept name (they hold no slash) and no path that ends with {VECTOR_SUFFIX}: "
            "give either"
        )
    else:
        name, known = check_name(text), catalog(model)
        if name not in known:
            raise InputError(_unknown(name, list(known), model))
        vector = load_file(known[name])
        vector = vector if vector.name == name else replace(vector, name=name)
    check_fits(vector, model)
    return vector


def _unknown(name: str, known: list[str], model: ModelLike) -> str:
    start = f"there is no concept {quote(name)} for model {quote(model.name)}"
    elsewhere = [place.name for place in list_folder(user_library()) if place.is_dir() and name in vector_files(place)]
    if elsewhere:
        start += f" (there is one for {quote(', '.join(elsewhere))})"
    if not known:
        return f"{start}: its library is empty, make one with `steer extract`"
    by_fold = {other.casefold(): other for other in known}
    near = difflib.get_close_matches(name.casefold(), list(by_fold), n=5, cutoff=0.0)[:3]
    return f"{start}: the nearest are {', '.join(by_fold[fold] for fold in near)}; `steer ls` lists all"
