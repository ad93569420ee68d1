"""`steer dose`: measure one concept at increasing doses, and find where a larger dose stops helping."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from cli.options.completion import complete_name
from cli.options.model_options import Base, Device, Dtype, Json, Model, Trust, open_model
from cli.options.run_options import Background, Positive, check_pictures, evaluation_set_of, judge_texts
from cli.options.sampling_options import MaxTokens
from cli.options.text_options import TextOptions, with_text_options
from cli.terminal.output import emit, emit_json, note
from cli.terminal.progress import Progress
from cli.terminal.time_estimate import announce, sampling_seconds
from vectors.common.errors import InputError
from vectors.common.validation import MAX_SEED, check_integer, quote

if TYPE_CHECKING:
    from steer.sweeps.dose_curve import DoseCurve, DoseRow

Concept = Annotated[
    str,
    typer.Argument(metavar="NAME", autocompletion=complete_name, help="A concept of the library, or a vector file."),
]
Doses = Annotated[str, typer.Option(metavar="LIST", help="Doses: -1,0,1 or from:to:step.")]
Count = Annotated[int, typer.Option("-n", metavar="N", help="Texts at each dose.")]
Seed = Annotated[int, typer.Option(metavar="S", help="Seed of all texts.")]
Output = Annotated[
    str | None,
    typer.Option(
        "-o", "--output", metavar="DIR", help="Write every run here; the same command continues an unfinished one."
    ),
]
Plot = Annotated[str | None, typer.Option(metavar="FILE", help="Plot the metrics against the dose.")]
Theme = Annotated[str, typer.Option(metavar="NAME", help="Colours of the plot: light or dark.")]
Force = Annotated[bool, typer.Option("--force", help="Replace the plot's file.")]

HEADS = ("dose", "success", "probe", "typical", "pressure", "p95")


@with_text_options
def command(
    concept: Concept,
    doses: Doses = "-2:4:0.5",
    n: Count = 48,
    seed: Seed = 0,
    max_tokens: MaxTokens = 128,
    positive: Positive = None,
    background: Background = None,
    reading: TextOptions = TextOptions(),  # noqa: B008 (frozen)
    output: Output = None,
    plot: Plot = None,
    theme: Theme = "light",
    force: Force = False,
    model: Model = None,
    base: Base = None,
    device: Device = None,
    dtype: Dtype = None,
    trust_remote_code: Trust = False,
    as_json: Json = False,
) -> None:
    """Run this to measure a concept at increasing doses: success, probe, typicality and pressure.

    The probe is the text's projection on the concept's direction: 0 is the mean of texts without the concept, 1 the
    mean of real texts with it. If from some dose on the probe still rises while success or typicality falls, that dose
    is named: larger ones gain nothing.
    """
    from steer.sweeps.grid import parse_range

    sweep_doses = sorted(set(parse_range(doses, "--doses")))
    check_integer(n, "-n", low=2)
    check_integer(seed, "--seed", high=MAX_SEED)
    check_pictures((plot,), theme, force)
    if plot is not None and len(sweep_doses) < 2:
        raise InputError("--plot draws metrics against the dose: give --doses two or more")
    if output is not None and (not output or output.startswith("-")):
        raise InputError(f"-o is {quote(output)}: give a folder's name, such as './{output or 'doses'}'")
    with Progress() as progress:
        loaded = open_model(model, device, dtype, trust_remote_code, progress, base)
        from steer.sweeps.dose_curve import dose_curve
        from vectors.concepts.library import load

        try:
            vector = load(concept, loaded)
        except InputError as error:
            raise _refuse_several(concept) or error from None
        if not vector.calibrated:
            progress.clear()
            note(f"note: {quote(vector.name)} has no measured unit, so its dose 1 is the {vector.gap_name}")
        evaluation_set = evaluation_set_of((vector,), judge_texts(positive, background, reading, loaded), seed)
        for text in evaluation_set.notes if evaluation_set else ():
            progress.clear()
            note(f"note: {text}")
        done = [0]

        def watch(_: object) -> None:
            done[0] += 1
            progress(
                "sampling doses" if done[0] < len(sweep_doses) else "reading texts with the probe",
                done[0],
                len(sweep_doses),
            )

        progress("estimating the time")
        seconds = sampling_seconds(loaded, len(sweep_doses) * n, max_tokens)
        progress.clear()
        announce(seconds, n=n, shorter="or fewer --doses", at_most=True)
        progress("sampling doses", 0, len(sweep_doses))
        try:
            curve = dose_curve(
                loaded, vector, doses=sweep_doses, n=n, seed=seed, max_tokens=max_tokens, folder=output,
                evaluation_set=evaluation_set, watcher=watch,
            )  # fmt: skip
        except KeyboardInterrupt:
            if output is not None:
                progress.clear()
                note(f"interrupted: finished samples are in {quote(output)}; to continue, repeat the command")
            raise
    if as_json:
        emit_json(json.dumps(curve.to_dict()))
    else:
        emit(dose_table(curve))
    if plot is not None:
        curve.plot(plot, theme=theme, force=force)
        note(f"plot written to {plot}")


def _refuse_several(concept: str) -> InputError | None:
    """Return the error for an expression of several concepts, or None if it is something else."""
    from steer.composition.expression import parse

    try:
        named = list(parse(concept))
    except InputError:
        return None
    if len(named) < 2:
        return None
    return InputError(
        f"{quote(concept)} is {len(named)} concepts: give one, such as {quote(named[0])}, or use `steer sweep --dose`"
    )


def dose_table(curve: "DoseCurve") -> str:
    """Format one line a dose, and name the dose from which larger ones gain nothing."""
    lines = [f"{HEADS[0]:>5}" + "".join(f"{head:>15}" for head in HEADS[1:])]
    lines += [f"{row.dose:>5g}" + "".join(f"{cell:>15}" for cell in _cells(row)) for row in curve.rows]
    if curve.rows[0].success is None:
        lines += ["", "no success: it needs a judge, give --positive and --background"]
    elif curve.alarm is not None:
        lines += ["", f"from dose {curve.alarm:g} on the probe still rises, but the texts get worse"]
    return "\n".join(lines)


def _cells(row: "DoseRow") -> list[str]:
    estimates = row.figures
    cells = []
    for name in HEADS[1:]:
        estimate = estimates.get(name)
        if estimate is None:
            cells.append("-")
        elif name in ("pressure", "p95", "probe"):
            cells.append(f"{estimate.value:.2f}±{(estimate.high - estimate.low) / 2:.2f}")
        else:
            cells.append(f"{estimate.value:.2f} {estimate.low:.2f}-{estimate.high:.2f}")
    return cells
