"""`steer keep`: make a candidate a concept of your own."""

import json
import re
from typing import Annotated

import typer

from cli.options.concept_options import check_free
from cli.options.model_options import Device, Dtype, Json, Model, Trust, open_model
from cli.terminal.output import emit, emit_json, note, record
from cli.terminal.progress import Progress
from vectors.common.errors import InputError
from vectors.common.validation import MAX_SEED, check_integer, check_name, escape_invisible, quote

Number = Annotated[str, typer.Argument(metavar="NUMBER", help="The candidate; -7 is the opposite of 7.")]
Name = Annotated[str, typer.Option("--as", metavar="NAME", help="What expressions will call the concept.")]
From = Annotated[str | None, typer.Option("--from", metavar="FILE", help="A discovery.  [default: the last one]")]
Away = Annotated[bool, typer.Option("--away", help="Keep the opposite of the candidate.")]
Learn = Annotated[bool, typer.Option("--learn/--no-learn", help="Learn a shift from its texts, or keep its direction.")]
NoCalibrate = Annotated[bool, typer.Option("--no-calibrate", help="Skip the pilot: dose 1 is then the natural gap.")]
PilotSeed = Annotated[int, typer.Option("--seed", metavar="S", help="Which texts are held out, and the pilot's.")]
ForceConcept = Annotated[bool, typer.Option("--force", help="Replace a concept of that name.")]


def keep_command(
    number: Number,
    name: Name,
    source: From = None,
    away: Away = False,
    learn: Learn = True,
    no_calibrate: NoCalibrate = False,
    seed: PilotSeed = 0,
    model: Model = None,
    device: Device = None,
    dtype: Dtype = None,
    trust_remote_code: Trust = False,
    force: ForceConcept = False,
    as_json: Json = False,
) -> None:
    """Make a candidate of the last discovery a concept of your library.

    A shift is learned from its typical texts, which steers far oftener than the direction that was found (--no-learn
    keeps that). A pilot finds its unit; where the pilot sees no effect, that is said, and dose 1 stands for the natural
    gap.
    """
    name = check_name(name)
    check_integer(seed, "--seed", high=MAX_SEED)
    place, turned = _number(number)
    with Progress() as progress:
        loaded = open_model(model, device, dtype, trust_remote_code, progress)
        from vectors.common.paths import writable_model_folder
        from vectors.concepts import library
        from vectors.discovery.discovery_file import load_discovery, load_last_discovery
        from vectors.discovery.promote import promote_candidate

        if not force:
            check_free(name, loaded)
        writable_model_folder(loaded.name, loaded.hash)
        found = load_last_discovery(loaded) if source is None else load_discovery(source)
        vector = promote_candidate(
            loaded,
            found,
            place,
            name,
            away=away != turned,
            learn=learn,
            calibrate=not no_calibrate,
            seed=seed,
            progress=progress,
        )
        path = library.keep(vector, force=force)
    if not (vector.calibrated or no_calibrate):
        mend = "" if learn else "; a shift learned from its texts (without --no-learn) may have one"
        note(f"note: the pilot saw no effect of {quote(name)}: not calibrated, dose 1 is its natural gap{mend}")
    if as_json:
        emit_json(json.dumps(vector.to_dict() | {"path": str(path)}))
    else:
        emit(f"{escape_invisible(name)}\n{record(vector.summary() | {'kept': str(path)})}")


def _number(text: str) -> tuple[int, bool]:
    """A candidate's number, and whether its opposite is meant."""
    if not re.fullmatch(r"-?[1-9][0-9]{0,5}", text, re.ASCII):
        raise InputError(f"the candidate is {quote(text)}: give its number, such as 7, or -7 for its opposite")
    return abs(int(text)), text.startswith("-")
