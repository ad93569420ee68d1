"""`steer dose`: one concept at rising doses, and the dose past which only its direction is pleased."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from cli.options.completion import complete_name
from cli.options.model_options import Device, Dtype, Json, Model, Trust, open_model
from cli.options.run_options import Background, Positive, check_pictures, yardstick_of
from cli.options.sampling_options import MaxTokens
from cli.terminal.output import emit, emit_json, note
from cli.terminal.progress import Progress
from vectors.common.errors import InputError
from vectors.common.validation import MAX_SEED, check_integer, quote

if TYPE_CHECKING:
    from steer.sweeps.dose_curve import DoseCurve, DoseRow

Concept = Annotated[
    str,
    typer.Argument(metavar="NAME", autocompletion=complete_name, help="A concept of the library, or a vector file."),
]
Doses = Annotated[str, typer.Option(metavar="LIST", help="Doses, -1,0,1 or from:to:step.")]
Count = Annotated[int, typer.Option("-n", metavar="N", help="Samples at each dose.")]
Seed = Annotated[int, typer.Option(metavar="S", help="Of all samples.")]
Output = Annotated[
    str | None, typer.Option("-o", "--output", metavar="DIR", help="Keep every run here; goes on there.")
]
Plot = Annotated[str | None, typer.Option(metavar="FILE", help="Draw the figures against the dose.")]
Theme = Annotated[str, typer.Option(metavar="NAME", help="Of the plot: light or dark.")]
Force = Annotated[bool, typer.Option("--force", help="Replace the plot's file.")]

HEADS = ("dose", "success", "probe", "typical", "pressure", "p95")


def command(
    concept: Concept,
    doses: Doses = "-2:4:0.5",
    n: Count = 48,
    seed: Seed = 0,
    max_tokens: MaxTokens = 128,
    positive: Positive = None,
    background: Background = None,
    output: Output = None,
    plot: Plot = None,
    theme: Theme = "light",
    force: Force = False,
    model: Model = None,
    device: Device = None,
    dtype: Dtype = None,
    trust_remote_code: Trust = False,
    as_json: Json = False,
) -> None:
    """Sample one concept at rising doses, and print what it does, what its direction finds, and what it costs.

    The probe is the direction itself: 0 where it finds as much as in texts without the concept, 1 as in real texts with
    it. The dose from which it finds still more while success or typicality falls is named: past it nothing is gained.
    """
    from steer.sweeps.grid import parse_range

    places = sorted(set(parse_range(doses, "--doses")))
    check_integer(n, "-n", low=2)
    check_integer(seed, "--seed", high=MAX_SEED)
    check_pictures((plot,), theme, force)
    if plot is not None and len(places) < 2:
        raise InputError("--plot draws figures against the dose: give --doses two or more")
    if output is not None and (not output or output.startswith("-")):
        raise InputError(f"-o is {quote(output)}: give a folder's name, such as './{output or 'doses'}'")
    with Progress() as progress:
        loaded = open_model(model, device, dtype, trust_remote_code, progress)
        from steer.sweeps.dose_curve import dose_curve
        from vectors.concepts.library import load

        try:
            vector = load(concept, loaded)
        except InputError as error:
            raise _alone(concept) or error from None
        if not vector.calibrated:
            progress.clear()
            note(f"note: {quote(vector.name)} has no measured unit, dose 1 is its natural gap")
        evaluation_set = yardstick_of((vector,), positive, background, seed)
        for text in evaluation_set.notes if evaluation_set else ():
            progress.clear()
            note(f"note: {text}")
        done = [0]

        def watch(_: object) -> None:
            done[0] += 1
            progress("sampling" if done[0] < len(places) else "asking the direction", done[0], len(places))

        progress("sampling", 0, len(places))
        try:
            made = dose_curve(
                loaded, vector, doses=places, n=n, seed=seed, max_tokens=max_tokens, folder=output,
                evaluation_set=evaluation_set, watcher=watch,
            )  # fmt: skip
        except KeyboardInterrupt:
            if output is not None:
                progress.clear()
                note(f"interrupted: what is finished is kept in {quote(output)}; to go on, repeat the command")
            raise
    if as_json:
        emit_json(json.dumps(made.to_dict()))
    else:
        emit(dose_table(made))
    if plot is not None:
        made.plot(plot, theme=theme, force=force)
        note(f"drawn in {plot}")


def _alone(concept: str) -> InputError | None:
    """What to say of several concepts, where one is asked for."""
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


def dose_table(made: "DoseCurve") -> str:
    """Lay the doses out, a line each, and name the one from which nothing is gained."""
    lines = [f"{HEADS[0]:>5}" + "".join(f"{head:>15}" for head in HEADS[1:])]
    lines += [f"{row.dose:>5g}" + "".join(f"{cell:>15}" for cell in _cells(row)) for row in made.rows]
    if made.rows[0].success is None:
        lines += ["", "no success: give --positive and --background, texts that a judge is fit on"]
    elif made.alarm is not None:
        lines += ["", f"from dose {made.alarm:g} on the direction finds still more of itself, and the texts get worse"]
    return "\n".join(lines)


def _cells(row: "DoseRow") -> list[str]:
    found = row.figures
    cells = []
    for name in HEADS[1:]:
        figure = found.get(name)
        if figure is None:
            cells.append("-")
        elif name in ("pressure", "p95", "probe"):
            cells.append(f"{figure.value:.2f}±{(figure.high - figure.low) / 2:.2f}")
        else:
            cells.append(f"{figure.value:.2f} {figure.low:.2f}-{figure.high:.2f}")
    return cells
