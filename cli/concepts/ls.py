"""`steer ls`: list the concepts of the library, read from their files without loading a model."""

import difflib
import json
import re
import shlex
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.options.completion import complete_name
from cli.options.model_options import Json, check_model
from cli.terminal.output import emit, emit_json, figure, note, table
from vectors.common.errors import InputError, ModelError, VectorError
from vectors.common.paths import EMBEDDED_NAME
from vectors.common.validation import check_name, escape_invisible, list_names, quote

if TYPE_CHECKING:
    from vectors.concepts.vector import ConceptVector

OptionalName = Annotated[
    str | None,
    typer.Argument(
        metavar="[NAME]",
        autocompletion=complete_name,
        help="A concept of the library, or a .safetensors file.",
        show_default=False,
    ),
]

_QUANTISED = re.compile(r"[-.](i?q\d\w*|f16|bf16|f32)$", re.IGNORECASE)  # what a GGUF file's name ends with

_FILES = (".gguf", ".safetensors", ".bin")  # endings that no name of a hub model has

ModelFilter = Annotated[
    str | None,
    typer.Option("--model", metavar="NAME", help="Hugging Face name, folder or GGUF file.  [default: all models]"),
]


@dataclass
class Entry:
    """One vector file of the library; `shadowed` if the user has a concept of that name.

    A concept that ships for a model that does not says its `group`, such as form or language.
    """

    name: str
    path: Path
    vector: "ConceptVector"
    shipped: bool
    shadowed: bool = False

    @property
    def group(self) -> str:
        """The kind of concept; empty if it is unknown."""
        about = self.vector.evidence.get("about")
        return str(about.get("group", "")) if isinstance(about, dict) else ""


def list_command(model: ModelFilter = None, as_json: Json = False) -> None:
    """Run this to list the concepts of every model, or of one.

    Your own concepts replace shipped ones of the same name.
    """
    check_model(model)
    library = read_library()
    entries = _of_model(library, model)
    if as_json:
        for entry in entries:
            mine = {"shipped": entry.shipped, "shadowed": entry.shadowed, "path": str(entry.path)}
            emit_json(json.dumps(entry.vector.to_dict() | {"name": entry.name} | mine))
        return
    if not entries:
        for line in ways_to_get_concepts(model):
            note(line)
        return
    groups: dict[tuple[str, Path], list[Entry]] = {}
    for entry in entries:
        groups.setdefault((entry.vector.model, entry.path.parent), []).append(entry)
    first = True
    for (name, folder), members in groups.items():
        origin = "ships with steer" if members[0].shipped else f"yours, in {folder}"
        emit(f"{'' if first else chr(10)}{escape_invisible(f'{name}: {origin}')}\n{_table(members)}")
        first = False


def _table(entries: Sequence[Entry]) -> str:
    grouped = any(entry.group for entry in entries)
    rows = [[*(["group"] if grouped else []), "name", "layer", "unit", "AUC", "method"]]
    for entry in sorted(entries, key=lambda entry: (entry.group, entry.name)):
        vector = entry.vector
        unit = figure(vector.unit) if vector.calibrated else f"gap {figure(vector.gap)}"
        method = vector.method + (" (replaced by yours)" if entry.shadowed else "")
        rows.append([entry.name, str(vector.layer), unit, figure(vector.auc), method])
        if grouped:
            rows[-1].insert(0, entry.group)
    return table(rows, right=(3, 4, 5) if grouped else (1, 2, 3))


def ways_to_get_concepts(model: str | None) -> list[str]:
    """Return lines that say how to get concepts for a model: from texts, from a prompt, from a file of another library.

    >>> ways_to_get_concepts("my model")[2]
    "    steer extract storm --positive storms.txt --model 'my model'"
    """
    flag = "" if model is None else f" --model {shlex.quote(model)}"
    return [
        f"no concepts{f' for model {quote(model)}' if model else ''} yet. Three ways to get one:",
        "  from texts with the concept, one a line:",
        f"    steer extract storm --positive storms.txt{flag}",
        "  from texts that the model writes under a prompt:",
        f'    steer compose --prompt "A storm is coming." -n 64 -o prompted.jsonl{flag}',
        f"    steer extract storm --positive prompted.jsonl{flag}",
        "  from a file of another library (repeng, llama.cpp, SAELens, .npz, .pt):",
        f"    steer import storm.gguf{flag}",
    ]


def read_library() -> list[Entry]:
    """Read all vector files, the shipped ones first; print a note for each that cannot be read."""
    from vectors.common.paths import list_folder, shipped_folders, user_library

    shipped = [entry for folder in shipped_folders() for entry in _read_folder(folder, shipped=True)]
    folders = sorted(path for path in list_folder(user_library()) if path.is_dir())
    mine = [entry for folder in folders for entry in _read_folder(folder, shipped=False)]
    taken = {(entry.name, entry.vector.model_hash) for entry in mine}
    for entry in shipped:
        entry.shadowed = (entry.name, entry.vector.model_hash) in taken
    return shipped + mine


def _read_folder(folder: Path, *, shipped: bool) -> Iterator[Entry]:
    from vectors.common.paths import VECTOR_SUFFIX, list_folder
    from vectors.concepts.vector_file import load_file

    for path in list_folder(folder):
        if path.name.endswith(VECTOR_SUFFIX):
            try:
                yield Entry(check_name(path.name.removesuffix(VECTOR_SUFFIX)), path, load_file(path), shipped)
            except (VectorError, InputError) as error:
                note(f"note: skipped: {error}")


def _of_model(entries: list[Entry], model: str | None) -> list[Entry]:
    """Return the concepts for a model, or all of them.

    Raises:
        ModelError: there are none, and no such model either.
    """
    if model is None:
        return entries
    names = _names(model)
    found = [entry for entry in entries if names & _names_of(entry)]
    if not found:
        check_there(model, sorted({entry.vector.model for entry in entries}))
    return found


def check_there(model: str, known: Sequence[str] = ()) -> None:
    """Refuse a model that is not on this machine; the hub is not asked.

    Args:
        model: its path or name.
        known: the names of models that have concepts, for the message.

    Raises:
        ModelError: no folder and no downloaded model has this name, or it is the path of a model that is not there or
            is damaged; the message names others.
    """
    like_a_path = model.startswith((".", "~", "/")) or model.count("/") > 1 or "\0" in model
    looks_like_path = like_a_path or model.lower().endswith(_FILES)
    try:
        is_name = not looks_like_path and not Path(model).exists()
    except (OSError, ValueError) as error:
        raise ModelError(f"{quote(model)} is no name of a model: give a folder, a GGUF file or a hub name") from error
    if is_name:
        if model != EMBEDDED_NAME and not _is_downloaded(model):
            raise ModelError(_unknown_model(model, known))
        return
    from vectors.model.loading import find_model
    from vectors.model.sources.gguf.header import read_gguf_model

    path, _ = find_model(Path(model) if looks_like_path else model)
    if path.is_file():
        read_gguf_model(path)


def _is_downloaded(model: str) -> bool:
    """Return whether the Hugging Face cache has a model of this name."""
    from huggingface_hub.constants import HF_HUB_CACHE

    return (Path(HF_HUB_CACHE) / f"models--{model.replace('/', '--')}").is_dir()


def _unknown_model(model: str, known: Sequence[str]) -> str:
    from vectors.model.local_path import models_beside

    near = difflib.get_close_matches(model, known, n=3, cutoff=0.4)
    hint = f" (it has some for {list_names(near)})" if near else models_beside(Path(model), near=True)
    return (
        f"no model {quote(model)} is on this machine, and the library has no concepts for one{hint}: if it is a hub "
        f"model, `steer extract storm --positive storms.txt --model {shlex.quote(model)}` downloads it and makes one"
    )


def _names(model: str) -> set[str]:
    """Return the names that vectors may have for a model: the name as given, or that of a folder or file."""
    from vectors.model.local_path import find_local, model_name

    try:
        path = Path(model).expanduser()
        with suppress(ModelError):  # what is wrong with it is said if there is no concept for it
            path = find_local(model) or path
        return {model, model_name(path), _QUANTISED.sub("", model_name(path))}
    except (OSError, RuntimeError, ValueError):  # not a path
        return {model}


def _names_of(entry: Entry) -> set[str]:
    """Return the names of an entry's model; what ships is for a hub model, whose local copy has the last part alone."""
    name = entry.vector.model
    return {name, name.rpartition("/")[2]} if entry.shipped else {name}


def find(name: str, model: str | None) -> tuple[Path, "ConceptVector"]:
    """Return the path and vector of a concept, given by name or by path.

    Raises:
        InputError: no such concept, or concepts of that name for several models.
    """
    from vectors.common.paths import VECTOR_SUFFIX
    from vectors.concepts.vector_file import load_file

    if name.endswith(VECTOR_SUFFIX):
        if model is not None:
            raise InputError("a file names its own model: leave --model out, or give a concept's name")
        return Path(name), load_file(name)
    name = check_name(name)
    entries = _of_model(read_library(), model)
    matches = [entry for entry in entries if entry.name == name and not entry.shadowed]
    models = sorted({entry.vector.model for entry in matches})
    if not matches:
        near = difflib.get_close_matches(name, {entry.name for entry in entries}, n=3, cutoff=0.0)
        hint = (
            f"the nearest are {', '.join(near)}; `steer ls` lists all"
            if near
            else "`steer ls` says how to get concepts"
        )
        raise InputError(f"there is no concept {quote(name)}{f' for model {quote(model)}' if model else ''}: {hint}")
    if len(models) > 1 and EMBEDDED_NAME in models:
        models = [EMBEDDED_NAME]
    if len(models) > 1:
        raise InputError(f"several models have a concept {quote(name)}: pass --model with one of {list_names(models)}")
    chosen = [entry for entry in matches if entry.vector.model == models[0]]
    if len(chosen) > 1:
        note(f"note: several folders have {quote(name)} for {quote(models[0])}, this is the latest")
    best = max(chosen, key=lambda entry: (not entry.shipped, entry.path.stat().st_mtime))
    return best.path, best.vector
