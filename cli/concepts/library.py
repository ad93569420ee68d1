"""`steer library`: all concepts of the user as one file, to share or to move them."""

import json
from collections import Counter
from typing import Annotated

import typer

from cli.options.model_options import Json
from cli.terminal.output import emit, emit_json, note
from cli.terminal.progress import Progress
from vectors.common.errors import InputError
from vectors.common.validation import quote

Action = Annotated[str, typer.Argument(metavar="export|import", help="What to do.")]
File = Annotated[str, typer.Argument(metavar="FILE", help="The library file, which ends with .zip.")]
OfModel = Annotated[
    str | None, typer.Option("--model", metavar="NAME", help="Export the concepts of this model only, as ls names it.")
]
ForceLibrary = Annotated[bool, typer.Option("--force", help="Replace the file, or concepts of the same name.")]


def command(
    action: Action, file: File, model: OfModel = None, force: ForceLibrary = False, as_json: Json = False
) -> None:
    """Run this to write all your concepts to one file, or to add those of such a file to your library.

    Each concept keeps its model: it works on that model only. Shipped concepts are not exported.
    """
    if action not in ("export", "import"):
        raise InputError(f"{quote(action)} is neither export nor import: give one of them, then the file")
    from vectors.concepts.library_file import export_library, import_library

    if action == "export":
        vectors = export_library(file, model=model, force=force)
        counts = Counter(vector.model for vector in vectors)
        if as_json:
            emit_json(json.dumps({"path": file, "concepts": len(vectors), "models": counts}))
            return
        for name, count in sorted(counts.items()):
            emit(f"{name}: {count} concept{'s' * (count > 1)}")
        note(f"written to {quote(file)}; `steer library import {file}` adds them to another library")
        return
    if model is not None:
        raise InputError("--model is for export: a library file says which model each concept belongs to")
    with Progress() as progress:
        arrivals = import_library(
            file, force=force, progress=lambda done, total: progress("adding concepts", done, total)
        )
    if as_json:
        emit_json(json.dumps([arrival.__dict__ for arrival in arrivals]))
        return
    for arrival in arrivals:
        emit(f"{arrival.name} ({arrival.model}): {arrival.outcome}")
    if any(arrival.outcome == "kept" for arrival in arrivals):
        note("note: kept means that your library has another concept of that name; --force replaces it")
