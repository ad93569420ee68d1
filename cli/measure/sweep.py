"""`steer sweep`: sample an expression over a grid and measure each cell."""

import json
import math
from typing import TYPE_CHECKING, Annotated

import typer

from cli.options.completion import complete_expression
from cli.options.model_options import Base, Device, Dtype, Json, Model, Trust, open_model
from cli.options.run_options import Background, Positive, check_pictures, evaluation_set_of, judge_texts
from cli.options.sampling_options import MaxTokens, Method, check_point_options, compose_point
from cli.options.text_options import TextOptions, with_text_options
from cli.terminal.output import emit, emit_json, note
from cli.terminal.progress import Progress
from cli.terminal.sweep_table import SweepTable
from cli.terminal.time_estimate import announce, sampling_seconds
from vectors.common.errors import InputError
from vectors.common.validation import MAX_SEED, check_integer, quote

if TYPE_CHECKING:
    from steer.sweeps.sweep import Sweep

Expression = Annotated[
    str,
    typer.Argument(metavar="EXPR", autocompletion=complete_expression, help='Concepts to add, such as "sonnet + cat".'),
]
Radius = Annotated[str, typer.Option(metavar="LIST", help="Radii: 0,0.5,1 or from:to:step.")]
Dose = Annotated[str, typer.Option(metavar="LIST", help="Factors of all doses, likewise.")]
Temperature = Annotated[str, typer.Option(metavar="LIST", help="Temperatures, likewise.")]
Layer = Annotated[str | None, typer.Option(metavar="LIST", help="Layers to steer.  [default: those of the concepts]")]
Count = Annotated[int, typer.Option("-n", metavar="N", help="Texts in each cell.")]
Seed = Annotated[int, typer.Option(metavar="S", help="Seed of all cells.")]
Jobs = Annotated[int, typer.Option(metavar="N", help="Number of processes that sample cells in parallel.")]
Output = Annotated[
    str | None,
    typer.Option(
        "-o", "--output", metavar="DIR", help="Write every run here; the same command continues an unfinished sweep."
    ),
]
Plot = Annotated[str | None, typer.Option(metavar="FILE", help="Plot the metrics against the radius.")]
Plane = Annotated[
    str | None, typer.Option(metavar="FILE", help="Plot success against diversity, along radius and temperature.")
]
Theme = Annotated[str, typer.Option(metavar="NAME", help="Colours of the plots: light or dark.")]
Force = Annotated[bool, typer.Option("--force", help="Replace the plots' files.")]


@with_text_options
def command(
    expression: Expression,
    radius: Radius = "0:1:0.25",
    dose: Dose = "1",
    temperature: Temperature = "1",
    layer: Layer = None,
    method: Method = None,
    n: Count = 64,
    seed: Seed = 0,
    max_tokens: MaxTokens = 128,
    positive: Positive = None,
    background: Background = None,
    reading: TextOptions = TextOptions(),  # noqa: B008 (frozen)
    jobs: Jobs = 1,
    output: Output = None,
    plot: Plot = None,
    plane: Plane = None,
    theme: Theme = "light",
    force: Force = False,
    model: Model = None,
    base: Base = None,
    device: Device = None,
    dtype: Dtype = None,
    trust_remote_code: Trust = False,
    as_json: Json = False,
) -> None:
    """Run this to measure an expression over a grid of radii, doses, temperatures and layers.

    Each cell is printed when it is measured. With -o every run is written to a folder, and repeating the command
    continues there. The suggested radius is the largest one with at least nine tenths of the success at the smallest.
    Success needs a judge: for other models than the embedded one, give --positive and --background.
    """
    from steer.composition.expression import parse
    from steer.sweeps.grid import parse_range

    parse(expression)
    check_point_options(method, None)
    radii, doses = parse_range(radius, "--radius"), parse_range(dose, "--dose")
    temperatures = parse_range(temperature, "--temperature")
    layers = (None,) if layer is None else tuple(_layer(value) for value in parse_range(layer, "--layer"))
    check_integer(n, "-n", low=2)
    check_integer(seed, "--seed", high=MAX_SEED)
    check_integer(jobs, "--jobs", low=1, high=256)
    check_pictures((plot, plane), theme, force)
    if plot is not None and len(set(radii)) < 2:
        raise InputError("--plot draws metrics against the radius: give --radius two or more values")
    if output is not None and (not output or output.startswith("-")):
        raise InputError(f"-o is {quote(output)}: give a folder's name, such as './{output or 'sweep'}'")
    with Progress() as progress:
        loaded = open_model(model, device, dtype, trust_remote_code, progress, base)
        from steer.sweeps.sweep import sweep

        point = compose_point(expression, loaded, method)
        evaluation_set = evaluation_set_of(point.vectors, judge_texts(positive, background, reading, loaded), seed)
        for text in evaluation_set.notes if evaluation_set else ():
            note(f"note: {text}")
        axes = (radii, doses, temperatures, layers)
        progress("estimating the time")
        cells = math.prod(len(set(values)) for values in axes)
        announce(sampling_seconds(loaded, cells * n, max_tokens), n=n, shorter="or fewer radii and doses", at_most=True)
        try:
            with SweepTable(axes, progress, as_json=as_json, has_output=bool(output or plot or plane)) as table:
                result = sweep(
                    loaded, point, radii=radii, doses=doses, temperatures=temperatures, layers=layers, n=n, seed=seed,
                    max_tokens=max_tokens, folder=output, jobs=jobs, evaluation_set=evaluation_set, watcher=table,
                )  # fmt: skip
        except KeyboardInterrupt:
            if output is not None:
                note(f"interrupted: finished samples are in {quote(output)}; to continue, repeat the command")
            raise
    _print_suggestion(result, as_json)
    if plot is not None or plane is not None:
        for picture, draw in ((plot, result.plot), (plane, result.plot_plane)):
            if picture is not None:
                draw(picture, theme=theme, force=force)
                note(f"plot written to {picture}")


def _print_suggestion(result: "Sweep", as_json: bool) -> None:
    from steer.sweeps.suggest_radius import FEWEST_HITS

    suggestion = result.suggested_radius()
    if suggestion is None:
        if not as_json and len(result.grid.radii) > 1:
            note(f"no suggested radius: it needs a judge, and {FEWEST_HITS} successful texts at the smallest radius")
        return
    if as_json:
        emit_json(json.dumps({"suggested_radius": result.to_dict()["suggested_radius"]}))
        return
    first = result.grid.radii[0]
    emit(f"\nsuggested radius: {suggestion} (the largest with 9/10 of the success at radius {first:g})")


def _layer(value: float) -> int:
    if value != int(value):
        raise InputError(f"--layer is {value:g}: give whole numbers, counted from 0")
    return int(value)
