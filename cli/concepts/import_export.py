"""`steer import` and `steer export`: vectors of other libraries taken in, and steering taken elsewhere."""

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from cli.options.completion import complete_expression
from cli.options.concept_options import check_free
from cli.options.model_options import Device, Dtype, Json, Model, Trust, open_model
from cli.terminal.output import emit, emit_json, note, record
from cli.terminal.progress import Progress
from vectors.common.errors import InputError, OutputError
from vectors.common.validation import MAX_SEED, check_integer, check_name, check_number, quote

if TYPE_CHECKING:
    from vectors.concepts.vector import ConceptVector
    from vectors.data.contrast import ContrastSet
    from vectors.model.residual_model import ResidualModel

Source = Annotated[
    str,
    typer.Argument(metavar="FILE", help="A .gguf, .safetensors, .npz or .npy file, or the folder of an autoencoder."),
]
Name = Annotated[
    str | None, typer.Option(metavar="NAME", help="What expressions will call it.  [default: the file's name]")
]
Row = Annotated[int | None, typer.Option(metavar="I", help="Of an autoencoder, which feature.")]
Layer = Annotated[
    int | None, typer.Option(metavar="L", help="Of several rows, the only one to take; or where an unnamed row goes.")
]
Positive = Annotated[
    str | None, typer.Option(metavar="FILE", help="Texts that have it: measures its unit and its AUC.")
]
Background = Annotated[str | None, typer.Option(metavar="FILE", help="Texts of the same world that need not have it.")]
Seed = Annotated[int, typer.Option(metavar="S", help="Of the pilot that measures the unit.")]
Force = Annotated[bool, typer.Option("--force", help="Replace a concept of that name.")]

Expression = Annotated[
    str,
    typer.Argument(
        metavar="EXPR", autocompletion=complete_expression, help='What to add, "cat + 0.8 storm"; a name is dose 1.'
    ),
]
Format = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="gguf, npz, safetensors or checkpoint.  [default: as -o ends; else a checkpoint]"
    ),
]
Output = Annotated[str, typer.Option("-o", "--output", metavar="PATH", help="A new file, or a new folder.")]
Positions = Annotated[
    str | None,
    typer.Option(metavar="WHICH", help="bos, all, generated or not-bos.  [default: as its concepts were made]"),
]
Radius = Annotated[float, typer.Option(metavar="R", help="Must be 0: a file holds one shift for all samples.")]
Gate = Annotated[bool, typer.Option("--gate", help="Refused: what a gate adds depends on the text.")]
Replace = Annotated[bool, typer.Option("--force", help="Replace the file, or a checkpoint that steer wrote.")]


def import_command(
    source: Source,
    name: Name = None,
    row: Row = None,
    layer: Layer = None,
    positive: Positive = None,
    background: Background = None,
    seed: Seed = 0,
    model: Model = None,
    device: Device = None,
    dtype: Dtype = None,
    trust_remote_code: Trust = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Take a vector of another library into yours, for the model that it was made for.

    Read are control vectors of repeng and llama.cpp, rows by layer, features of SAELens' autoencoders, and files of
    steer. Dose 1 is what the file adds at strength 1, unless texts are given: then it is measured.
    """
    from vectors.formats.reader import check_source, read

    check_integer(seed, "--seed", high=MAX_SEED)
    if name is not None:
        name = check_name(name)
    check_source(source, row=row, layer=layer)
    contrast = _contrast(positive, background)
    with Progress() as progress:
        loaded = open_model(model, device, dtype, trust_remote_code, progress)
        from vectors.common.paths import writable_model_folder
        from vectors.concepts import library

        progress.clear()
        vector = read(source, loaded, name=name, row=row, layer=layer)
        if not force:
            check_free(vector.name, loaded)
        writable_model_folder(loaded.name, loaded.hash)  # before the work instead of after it
        if contrast is not None:
            note(f"seed {seed}")
            vector = _measured(loaded, vector, contrast, seed, progress)
        kept = library.keep(vector, force=force)
    if not vector.calibrated:
        note("note: dose 1 is what the file adds at strength 1: --positive and --background measure what is enough")
    if as_json:
        emit_json(json.dumps(vector.to_dict() | {"layers": list(vector.layers), "path": str(kept)}))
    else:
        emit(f"{vector.name}\n{record(vector.summary() | {'kept': str(kept)})}")


def _contrast(positive: str | None, background: str | None) -> "ContrastSet | None":
    from vectors.data.contrast import ContrastSet
    from vectors.data.text_files import read_texts

    if positive is None and background is None:
        return None
    if positive is None or background is None:
        raise InputError("--positive FILE and --background FILE go together: give both, or neither")
    if positive == background == "-":
        raise InputError("stdin can be read only once: give one of --positive and --background as a file")
    return ContrastSet(positive=read_texts(positive), background=read_texts(background))


def _measured(
    model: "ResidualModel", vector: "ConceptVector", contrast: "ContrastSet", seed: int, progress: Progress
) -> "ConceptVector":
    """The vector with its unit and its AUC; it was found in none of the texts."""
    from vectors.calibration.calibrate import calibrate
    from vectors.calibration.companions import find_companions
    from vectors.extraction.diagnostics import vector_auc

    vector = replace(vector, auc=vector_auc(model, vector, contrast))
    company = find_companions(model, vector, seed=seed)
    found = calibrate(model, vector, contrast, seed=seed, progress=progress, company=company)
    progress.clear()
    if not found.calibrated:
        note(f"note: no shift along {quote(vector.name)} clearly shows it within the pressure of the pilot")
    return found


def export_command(
    expression: Expression,
    output: Output,
    format: Format = None,
    positions: Positions = None,
    radius: Radius = 0.0,
    gate: Gate = False,
    model: Model = None,
    device: Device = None,
    trust_remote_code: Trust = False,
    force: Replace = False,
    as_json: Json = False,
) -> None:
    """Write steering for other libraries and engines.

    A .gguf file is a control vector for llama.cpp and repeng, .npz and .safetensors files hold rows by layer, and a
    checkpoint is a model's folder whose weights carry the steering: transformers and engines that read its family serve
    it as they serve any other.
    """
    from steer.composition.expression import parse

    parse(expression)
    if check_number(radius, "--radius"):
        raise OutputError(f"--radius is {radius:g}, and a file holds one shift for all samples: leave it out to export")
    if gate:
        raise OutputError("what --gate adds depends on the text, and a file does not: leave it out to export")
    with Progress() as progress:
        progress("starting")
        from steer.composition.export import check_target, export

        kind = check_target(output, format, force=force)
        # a checkpoint is exact in float32 only
        dtype = "float32" if kind == "checkpoint" else None
        loaded = open_model(model, device, dtype, trust_remote_code, progress)
        from steer.composition.steering_point import compose

        point = compose(expression, loaded)
        added_at = positions or point.positions
        progress("writing and comparing" if kind == "checkpoint" else "writing")
        place = export(point, loaded, output, format=kind, positions=positions, force=force)
    if kind == "npz" and added_at != "all":
        note(f"note: the rows belong at positions {added_at}, which the file says and other libraries do not look for")
    for vector in point.vectors:
        if vector.positions != added_at:
            note(f"note: {quote(vector.name)} was made for positions {vector.positions}: its doses hold there")
    told = {"path": str(place), "format": kind, "expression": point.expression, "positions": added_at}
    if as_json:
        emit_json(json.dumps(told | {"layers": {str(at): norm for at, norm in point.norms.items()}}))
    else:
        shifts = ", ".join(f"{norm:.4g} at layer {at}" for at, norm in point.norms.items())
        emit(record(told | {"shift": shifts}))
