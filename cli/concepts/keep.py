"""`steer keep`: store a candidate of `steer discover` as a concept of the user's library."""

import json
import re
from typing import Annotated

import typer

from cli.options.concept_options import Layer, check_free, layer_of
from cli.options.model_options import Base, Device, Dtype, Json, Model, Trust, open_model
from cli.terminal.output import emit, emit_json, note, record
from cli.terminal.progress import Progress
from cli.terminal.run_notes import note_natural_gap
from cli.terminal.time_estimate import announce, extraction_seconds, pilot_seconds
from vectors.common.errors import InputError
from vectors.common.validation import MAX_SEED, check_integer, check_name, escape_invisible, quote

Number = Annotated[
    str, typer.Argument(metavar="NUMBER", help="Number of the candidate; -7 is the opposite direction of 7.")
]
Name = Annotated[str, typer.Option("--as", metavar="NAME", help="Name of the concept in expressions.")]
From = Annotated[
    str | None,
    typer.Option("--from", metavar="FILE", help="File of `steer discover -o`.  [default: the last discovery]"),
]
Away = Annotated[bool, typer.Option("--away", help="Keep the opposite direction.")]
Learn = Annotated[
    bool, typer.Option("--learn/--no-learn", help="Learn a shift from the candidate's texts, or keep its direction.")
]
NoCalibrate = Annotated[
    bool, typer.Option("--no-calibrate", help="Skip the pilot that measures the unit: dose 1 is the natural gap.")
]
PilotSeed = Annotated[int, typer.Option("--seed", metavar="S", help="Seed of the held-out split and of the pilot.")]
ForceConcept = Annotated[bool, typer.Option("--force", help="Replace a concept of that name.")]


def keep_command(
    number: Number,
    name: Name,
    source: From = None,
    away: Away = False,
    learn: Learn = True,
    layer: Layer = "auto",
    no_calibrate: NoCalibrate = False,
    seed: PilotSeed = 0,
    model: Model = None,
    base: Base = None,
    device: Device = None,
    dtype: Dtype = None,
    trust_remote_code: Trust = False,
    force: ForceConcept = False,
    as_json: Json = False,
) -> None:
    """Run this to store a candidate of `steer discover` as a concept of your library.

    By default a shift is learned from the candidate's typical texts, which steers far better than the candidate's
    direction; --no-learn keeps the direction. A pilot then measures the unit. If the pilot sees no effect, a note says
    so and dose 1 is the natural gap.
    """
    name = check_name(name)
    check_integer(seed, "--seed", high=MAX_SEED)
    index, opposite = _parse_number(number)
    block = layer_of(layer)
    if block != "auto" and not learn:
        raise InputError(
            "--layer is for a learned shift, and a candidate's direction has the layer of its discovery: leave out "
            "--layer or --no-learn"
        )
    with Progress() as progress:
        loaded = open_model(model, device, dtype, trust_remote_code, progress, base)
        if block != "auto":
            loaded.check_layer(block)
        from vectors.common.paths import writable_model_folder
        from vectors.concepts import library
        from vectors.discovery.discovery_file import load_discovery, load_last_discovery
        from vectors.discovery.promote import promote_candidate

        progress.clear()
        if not force:
            check_free(name, loaded)
        writable_model_folder(loaded.name, loaded.hash)
        discovery = load_last_discovery(loaded) if source is None else load_discovery(source)
        progress("estimating the time")
        if learn:
            texts = discovery.contrast(index, away=away != opposite).positive
            seconds, shorter = extraction_seconds(
                loaded, "learned", block, texts, positions=None, calibrate=not no_calibrate
            )
            announce(seconds, shorter=shorter, at_most=True)
        elif not no_calibrate:
            announce(pilot_seconds(loaded), shorter="--no-calibrate skips the pilot")
        vector = promote_candidate(
            loaded,
            discovery,
            index,
            name,
            away=away != opposite,
            learn=learn,
            layer=block,
            calibrate=not no_calibrate,
            seed=seed,
            progress=progress,
        )
        path = library.keep(vector, force=force)
    if not (vector.calibrated or no_calibrate):
        hint = "" if learn else "; a shift learned from its texts (without --no-learn) may have one"
        note(f"note: the pilot saw no effect of {quote(name)}{hint}")
    if not (vector.calibrated or as_json):
        note_natural_gap(vector, loaded)
    if as_json:
        emit_json(json.dumps(vector.to_dict() | {"path": str(path)}))
    else:
        emit(f"{escape_invisible(name)}\n{record(vector.summary() | {'file': str(path)})}")


def _parse_number(text: str) -> tuple[int, bool]:
    """Return the number of a candidate, and whether the opposite direction is asked for."""
    if not re.fullmatch(r"-?[1-9][0-9]{0,5}", text, re.ASCII):
        raise InputError(
            f"the candidate is {quote(text)}: give its number, such as 7, or -7 for the opposite direction"
        )
    return abs(int(text)), text.startswith("-")
