"""`steer ls` and `steer show`: the concepts that are there, read from their files without loading any model."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.options.completion import complete_name
from cli.options.model_options import Json, Model, check_model
from cli.terminal.output import emit, emit_json, figure, note, table
from vectors.common.errors import InputError, VectorError
from vectors.common.paths import EMBEDDED_NAME
from vectors.common.validation import check_name, escape_invisible, quote

if TYPE_CHECKING:
    from vectors.concepts.vector import ConceptVector

Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME", autocompletion=complete_name, help="A concept of the library, or a .safetensors file."
    ),
]


@dataclass
class Entry:
    """One vector file of the library; `shadowed` when a concept of the user's takes its name."""

    name: str
    path: Path
    vector: "ConceptVector"
    shipped: bool
    shadowed: bool = False


def list_command(model: Model = None, as_json: Json = False) -> None:
    """List the concepts that are there.

    By model: those shipped with it, and your own, which take their place where the names are the same.
    """
    check_model(model)
    entries = [each for each in read_library() if model is None or each.vector.model in _names(model)]
    if as_json:
        for each in entries:
            mine = {"shipped": each.shipped, "shadowed": each.shadowed, "path": str(each.path)}
            emit_json(json.dumps(each.vector.to_dict() | {"name": each.name} | mine))
        return
    if not entries:
        note(f"no concept{f' for model {quote(model)}' if model else ''} yet: make one with `steer extract`")
        return
    groups: dict[tuple[str, Path], list[Entry]] = {}
    for each in entries:
        groups.setdefault((each.vector.model, each.path.parent), []).append(each)
    first = True
    for (name, folder), members in groups.items():
        origin = "shipped with the model" if members[0].shipped else f"yours, in {folder}"
        rows = [["name", "layer", "unit", "AUC", "method"]]
        for each in members:
            vector = each.vector
            unit = figure(vector.unit) if vector.calibrated else f"gap {figure(vector.gap)}"
            method = vector.method + (" (yours takes its place)" if each.shadowed else "")
            rows.append([each.name, str(vector.layer), unit, figure(vector.auc), method])
        emit(f"{'' if first else chr(10)}{escape_invisible(f'{name}: {origin}')}\n{table(rows, right=(1, 2, 3))}")
        first = False


def read_library() -> list[Entry]:
    """Read every usable vector file, the shipped ones first; of an unusable one a note says why."""
    from vectors.common.paths import EMBEDDED_LIBRARY, list_folder, user_library

    found = list(_read_folder(EMBEDDED_LIBRARY, shipped=True))
    folders = sorted(place for place in list_folder(user_library()) if place.is_dir())
    mine = [each for folder in folders for each in _read_folder(folder, shipped=False)]
    taken = {(each.name, each.vector.model_hash) for each in mine}
    for each in found:
        each.shadowed = (each.name, each.vector.model_hash) in taken
    return found + mine


def _read_folder(folder: Path, *, shipped: bool) -> Iterator[Entry]:
    from vectors.common.paths import VECTOR_SUFFIX, list_folder
    from vectors.concepts.vector_file import load_file

    for path in list_folder(folder):
        if path.name.endswith(VECTOR_SUFFIX):
            try:
                yield Entry(check_name(path.name.removesuffix(VECTOR_SUFFIX)), path, load_file(path), shipped)
            except (VectorError, InputError) as error:
                note(f"note: left out: {error}")


def _names(model: str) -> set[str]:
    """Return what vectors may call the model that `--model` names: a hub name as given, a folder by its last part."""
    try:
        return {model, Path(model).expanduser().resolve().name}
    except (OSError, RuntimeError, ValueError):  # no path at all
        return {model}


def find(name: str, model: str | None) -> tuple[Path, "ConceptVector"]:
    """Return the file and vector that a name or a path stands for.

    Raises:
        InputError: no such concept, or several models that have one.
    """
    from vectors.common.paths import VECTOR_SUFFIX
    from vectors.concepts.vector_file import load_file

    if name.endswith(VECTOR_SUFFIX):
        if model is not None:
            raise InputError("a file says itself which model it is for: leave --model out, or give a concept's name")
        return Path(name), load_file(name)
    name = check_name(name)
    entries = [each for each in read_library() if model is None or each.vector.model in _names(model)]
    matches = [each for each in entries if each.name == name and not each.shadowed]
    models = sorted({each.vector.model for each in matches})
    if not matches:
        import difflib

        near = difflib.get_close_matches(name, {each.name for each in entries}, n=3, cutoff=0.0)
        hint = f"the nearest are {', '.join(near)}; `steer ls` lists all" if near else "make it with `steer extract`"
        raise InputError(f"there is no concept {quote(name)}{f' for model {quote(model)}' if model else ''}: {hint}")
    if len(models) > 1 and EMBEDDED_NAME in models:
        models = [EMBEDDED_NAME]
    if len(models) > 1:
        raise InputError(
            f"several models have a concept {quote(name)}: pass --model with {' or '.join(map(quote, models))}"
        )
    chosen = [each for each in matches if each.vector.model == models[0]]
    if len(chosen) > 1:
        note(f"note: several folders hold {quote(name)} for {quote(models[0])}, this is the last one written")
    best = max(chosen, key=lambda each: (not each.shipped, each.path.stat().st_mtime))
    return best.path, best.vector
