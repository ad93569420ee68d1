"""`steer import` and `steer export`: read vectors of other libraries, and write steering to their formats."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from cli.options.completion import complete_expression
from cli.options.concept_options import check_free
from cli.options.model_options import Base, Device, Dtype, Json, Model, Trust, open_model
from cli.options.sampling_options import Layers, Method, check_point_options, compose_point
from cli.options.text_options import TextOptions, both_sides, with_text_options
from cli.terminal.output import emit, emit_json, note, record
from cli.terminal.progress import Progress
from cli.terminal.run_notes import moved_note
from cli.terminal.time_estimate import announce, pilot_seconds
from vectors.common.errors import InputError, OutputError
from vectors.common.layer_ranges import format_layers
from vectors.common.validation import MAX_SEED, check_integer, check_name, check_number, quote

if TYPE_CHECKING:
    from vectors.concepts.vector import ConceptVector
    from vectors.data.contrast import ContrastSet
    from vectors.model.residual_model import ResidualModel

Source = Annotated[
    str,
    typer.Argument(
        metavar="FILE",
        help="A .gguf, .safetensors, .npz, .npy, .svec or .pt file, or an autoencoder: its folder or its weights.",
    ),
]
Name = Annotated[
    str | None, typer.Option(metavar="NAME", help="Name of the concept in expressions.  [default: the file's name]")
]
Row = Annotated[int | None, typer.Option(metavar="I", help="Feature of an autoencoder.")]
Layer = Annotated[
    int | None,
    typer.Option(
        metavar="L", help="Layer to import from a file of several layers, or the layer of a file that names none."
    ),
]
Rows = Annotated[
    str | None,
    typer.Option(
        "--layers", metavar="8-20", help="Layers to import from a file of several: 3,5,9 or 8-20, both ends included."
    ),
]
Positive = Annotated[
    str | None, typer.Option(metavar="FILE", help="Texts with the concept, to measure its unit and AUC.")
]
Background = Annotated[
    str | None, typer.Option(metavar="FILE", help="Texts of the same kind, without the concept or mixed.")
]
Seed = Annotated[int, typer.Option(metavar="S", help="Seed of the pilot that measures the unit.")]
Force = Annotated[bool, typer.Option("--force", help="Replace a concept of that name.")]

Expression = Annotated[
    str,
    typer.Argument(
        metavar="EXPR", autocompletion=complete_expression, help='Concepts to add, "cat + 0.8 storm"; a name is dose 1.'
    ),
]
Format = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="gguf, npz, safetensors, checkpoint.  [default: by the ending of -o; else checkpoint]"
    ),
]
Output = Annotated[str, typer.Option("-o", "--output", metavar="PATH", help="A new file, or a new folder.")]
Positions = Annotated[
    str | None,
    typer.Option(
        metavar="WHICH", help="Positions to steer: bos, all, generated, not-bos.  [default: those of the concepts]"
    ),
]
Radius = Annotated[float, typer.Option(metavar="R", help="Must be 0: a file has one shift for all samples.")]
Gate = Annotated[bool, typer.Option("--gate", help="Refused: a gate depends on the text.")]
Replace = Annotated[bool, typer.Option("--force", help="Replace the file, or a checkpoint that steer wrote.")]


@with_text_options
def import_command(
    source: Source,
    name: Name = None,
    row: Row = None,
    layer: Layer = None,
    layers: Rows = None,
    positive: Positive = None,
    background: Background = None,
    reading: TextOptions = TextOptions(),  # noqa: B008 (frozen)
    seed: Seed = 0,
    model: Model = None,
    base: Base = None,
    device: Device = None,
    dtype: Dtype = None,
    trust_remote_code: Trust = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Run this to import a vector of another library, for the model that it was extracted from.

    It reads control vectors of repeng and llama.cpp, arrays and tensors with one row a layer, .svec files, features of
    sparse autoencoders and files of steer. Dose 1 is the file's strength 1; with --positive and --background a pilot
    measures the unit.
    """
    from vectors.formats.reader import check_source, read

    check_integer(seed, "--seed", high=MAX_SEED)
    if name is not None:
        name = check_name(name)
    path = check_source(source, row=row, layer=layer, layers=layers)
    contrast = None if reading.chat else _contrast(positive, background, reading, None)
    with Progress() as progress:
        loaded = open_model(model, device, dtype, trust_remote_code, progress, base)
        contrast = contrast or _contrast(positive, background, reading, loaded)
        from vectors.common.paths import writable_model_folder
        from vectors.concepts import library

        progress.clear()
        vector = read(path, loaded, name=name, row=row, layer=layer, layers=layers)
        if not force:
            check_free(vector.name, loaded)
        writable_model_folder(loaded.name, loaded.hash)  # refuse before the work, not after it
        if contrast is not None:
            note(f"seed {seed}")
            vector = _calibrate(loaded, vector, contrast, seed, progress)
        kept = library.keep(vector, force=force)
    if len(vector.layers) > 1 and layers is None:
        note(
            f"note: {quote(vector.name)} is added at each of the layers {format_layers(vector.layers)}; other tools "
            f"add such files at some of them: --layers {_middle(vector.layers)} imports or steers fewer"
        )
    if not vector.calibrated:
        note("note: dose 1 is the file's strength 1; give --positive and --background to measure a unit")
    if as_json:
        emit_json(json.dumps(vector.to_dict() | {"layers": list(vector.layers), "path": str(kept)}))
    else:
        emit(f"{vector.name}\n{record(vector.summary() | {'file': str(kept)})}")


def _middle(layers: Sequence[int]) -> str:
    """Return the middle third of some layers, as an example of a choice."""
    third = len(layers) // 3
    return format_layers(layers[third : len(layers) - third])


def _contrast(
    positive: str | None, background: str | None, reading: TextOptions, model: "ResidualModel | None"
) -> "ContrastSet | None":
    from vectors.data.contrast import ContrastSet

    if positive is None and background is None:
        return None
    if positive is None or background is None:
        raise InputError("--positive FILE and --background FILE go together: give both, or neither")
    return ContrastSet(*both_sides(positive, background, reading, model))


def _calibrate(
    model: "ResidualModel", vector: "ConceptVector", contrast: "ContrastSet", seed: int, progress: Progress
) -> "ConceptVector":
    """Return the vector with its unit and its AUC; the vector is from a file, so all texts count as held out."""
    from vectors.calibration.calibrate import calibrate
    from vectors.calibration.companions import find_companions
    from vectors.extraction.diagnostics import vector_auc

    vector = replace(vector, auc=vector_auc(model, vector, contrast))
    progress("estimating the time")
    announce(pilot_seconds(model), shorter="without --positive and --background there is no pilot")
    companions = find_companions(model, vector, seed=seed)
    calibrated = calibrate(model, vector, contrast, seed=seed, progress=progress, company=companions)
    progress.clear()
    if not calibrated.calibrated:
        note(f"note: the pilot saw no clear effect of {quote(vector.name)} within its pressure limit")
    return calibrated


def export_command(
    expression: Expression,
    output: Output,
    format: Format = None,
    positions: Positions = None,
    method: Method = None,
    layers: Layers = None,
    radius: Radius = 0.0,
    gate: Gate = False,
    model: Model = None,
    base: Base = None,
    device: Device = None,
    trust_remote_code: Trust = False,
    force: Replace = False,
    as_json: Json = False,
) -> None:
    """Run this to export steering for other libraries and engines.

    A .gguf file is a control vector for llama.cpp and repeng; .npz and .safetensors files have one row a layer; a
    checkpoint is a model folder with the steering in its weights, which transformers and serving engines load like any
    other model.
    """
    from steer.composition.expression import parse

    parse(expression)
    check_point_options(method, layers)
    if method == "rotate":
        raise OutputError("--method rotate turns the stream and adds nothing: export with exact or sum")
    if check_number(radius, "--radius"):
        raise OutputError(f"--radius is {radius:g}, but a file has one shift for all samples: leave it out to export")
    if gate:
        raise OutputError("--gate depends on the text, and a file cannot hold that: leave it out to export")
    with Progress() as progress:
        progress("starting")
        from steer.composition.export import check_target, export

        kind = check_target(output, format, force=force)
        # a checkpoint is exact in float32 only
        dtype = "float32" if kind == "checkpoint" else None
        loaded = open_model(model, device, dtype, trust_remote_code, progress, base)
        point = compose_point(expression, loaded, method, layers)
        steered_positions = positions or point.positions or "all"
        progress("writing and comparing" if kind == "checkpoint" else "writing")
        path = export(point, loaded, output, format=kind, positions=positions, force=force)
    if kind == "npz" and steered_positions != "all":
        note(
            f"note: add the rows at positions {steered_positions}: the file records this, but other libraries ignore it"
        )
    for vector in point.vectors:
        if note_of := moved_note(vector, steered_positions):
            note(note_of)
    fields = {"path": str(path), "format": kind, "expression": point.expression, "positions": steered_positions}
    if as_json:
        emit_json(json.dumps(fields | {"layers": {str(layer): norm for (layer, _), norm in point.norms.items()}}))
    else:
        shifts = ", ".join(f"{norm:.4g} at layer {layer}" for (layer, _), norm in point.norms.items())
        emit(record(fields | {"shift": shifts}))
