"""`steer extract`: texts in, a concept out, kept in the user's library."""

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cli.library import describe, facts
from cli.options import Device, Dtype, Json, Model, Trust, open_model
from cli.output import Progress, emit, emit_json, note, record
from vectors.checks import MAX_SEED, check_name, shown, whole
from vectors.errors import InputError, OutputError, SteerError

if TYPE_CHECKING:
    from pathlib import Path

    from vectors.contrast import ContrastSet
    from vectors.model import ResidualModel

Name = Annotated[str, typer.Argument(metavar="NAME", help="What expressions will call the concept.")]
Positive = Annotated[
    str | None, typer.Option(metavar="FILE", help="Texts that have it: .txt, .jsonl, .csv; - reads stdin.")
]
Background = Annotated[str | None, typer.Option(metavar="FILE", help="Texts of the same world that need not have it.")]
From = Annotated[
    str | None, typer.Option("--from", metavar="FILE", help="One .jsonl or .csv with both; needs --where.")
]
Where = Annotated[str | None, typer.Option(metavar="KEY=VALUE", help="Rows of --from that have it; the rest have not.")]
Method = Annotated[
    Literal["learned", "mean-difference", "pca"], typer.Option(metavar="HOW", help="learned, mean-difference or pca.")
]
Layer = Annotated[str, typer.Option(metavar="auto|N", help="Block after which it is read and steered.")]
Positions = Annotated[
    str | None,
    typer.Option(metavar="WHICH", help="Where it is added: bos, all, generated, not-bos.  [default: by method]"),
]
NoCalibrate = Annotated[bool, typer.Option("--no-calibrate", help="Skip the pilot: dose 1 is then the natural gap.")]
Seed = Annotated[int, typer.Option(metavar="S", help="Which texts are held out, and the pilot's samples.")]
Output = Annotated[str | None, typer.Option("-o", "--output", metavar="FILE", help="Also write a .safetensors file.")]
Force = Annotated[bool, typer.Option("--force", help="Replace a concept or file of that name.")]


def command(
    name: Name,
    positive: Positive = None,
    background: Background = None,
    source: From = None,
    where: Where = None,
    method: Method = "learned",
    layer: Layer = "auto",
    positions: Positions = None,
    no_calibrate: NoCalibrate = False,
    seed: Seed = 0,
    model: Model = None,
    device: Device = None,
    dtype: Dtype = None,
    trust_remote_code: Trust = False,
    output: Output = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Find a concept in texts and keep it in your library.

    Give texts that have it and texts that need not: as --positive and --background, or as one file --from with the
    rows that have it named by --where. A .txt file holds one text a line, a .jsonl file {"text": "..."} a line.
    """
    name = check_name(name)
    whole(seed, "--seed", high=MAX_SEED)
    block = _layer(layer)
    if positions is not None:
        from vectors.positions import check_positions

        check_positions(positions)
    contrast = _contrast(positive, background, source, where)
    if output is not None:
        _check_file(output, force)
    with Progress() as progress:
        loaded = open_model(model, device, dtype, trust_remote_code, progress)
        if block != "auto":
            loaded.check_layer(block)
        from vectors import store
        from vectors.vectorfile import SUFFIX, save

        if not force:
            _check_free(name, loaded)
        store.writable_folder(loaded.name, loaded.hash)  # before the work instead of after it
        from vectors.extraction import extract

        progress.clear()
        note(f"seed {seed}")
        vector = extract(
            loaded,
            name,
            positive=contrast.positive,
            background=contrast.background,
            method=method,
            layer=block,
            positions=positions,
            calibrate=not no_calibrate,
            seed=seed,
            progress=progress,
        )
        written = None if output is None else save(vector, output, force=force)
        kept = store.keep(vector, force=force)
    if loaded.library is not None and (loaded.library / f"{name}{SUFFIX}").exists():
        note(f"note: {shown(name)} is also shipped with the model: from now on expressions mean yours")
    if as_json:
        extra = {"path": str(kept)} | ({} if written is None else {"output": str(written)})
        emit_json(json.dumps(facts(vector) | extra))
    else:
        rows = describe(vector) | {"layer": f"{vector.layer} of 0 to {loaded.n_layers - 1}", "kept": str(kept)}
        emit(f"{name}\n{record(rows | ({} if written is None else {'written': str(written)}))}")
    if vector.calibrated and vector.positions != "bos":
        from vectors.natural import natural

        # what `compose` compares shifts with: not what was asked for, and no reason to fail
        with Progress() as progress, suppress(SteerError):
            progress("reading what is natural for this model")
            natural(loaded, [vector.layer])


def _layer(text: str) -> Literal["auto"] | int:
    if text == "auto":
        return "auto"
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise InputError(f"--layer is {shown(text)}: give auto, or the number of a block, counted from 0")
    return int(text)


def _contrast(positive: str | None, background: str | None, source: str | None, where: str | None) -> "ContrastSet":
    """Read the texts, one way or the other."""
    from vectors.contrast import ContrastSet
    from vectors.textfile import read_contrast, read_texts

    if source is not None or where is not None:
        if positive is not None or background is not None:
            raise InputError("--from and --where take the place of --positive and --background: give one pair")
        if source is None or where is None:
            raise InputError("--from FILE and --where key=value go together: give both")
        return read_contrast(source, where, format="jsonl" if source == "-" else None)
    if positive is None or background is None:
        raise InputError(
            "a contrast needs two sides: give --positive FILE and --background FILE, or --from and --where"
        )
    if positive == background == "-":
        raise InputError("stdin can be read only once: give one of --positive and --background as a file")
    return ContrastSet(positive=read_texts(positive), background=read_texts(background))


def _check_file(output: str, force: bool) -> None:
    from vectors.files import check_place

    if not output.endswith(".safetensors"):
        raise OutputError(f"{shown(output)} does not end with .safetensors: give the vector file that ending")
    check_place(output, force=force)


def _check_free(name: str, model: "ResidualModel") -> None:
    """Refuse a name that the user's library holds for this model, before the work instead of after it."""
    from vectors.store import catalog

    place: Path | None = catalog(model).get(name)
    if place is not None and place.parent != model.library:
        raise OutputError(
            f"your library already has {shown(name)} ({shown(place)}): pass --force or choose another name"
        )
