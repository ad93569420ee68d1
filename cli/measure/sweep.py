"""`steer sweep`: one expression over a grid, a row of figures for each cell as soon as it is measured."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from cli.options.completion import complete_expression
from cli.options.model_options import Device, Dtype, Json, Model, Trust, open_model
from cli.options.run_options import Background, Positive, check_pictures, yardstick_of
from cli.options.sampling_options import MaxTokens
from cli.terminal.output import emit, emit_json, note
from cli.terminal.progress import Progress
from cli.terminal.sweep_table import SweepTable
from vectors.common.errors import InputError
from vectors.common.validation import MAX_SEED, check_integer, quote

if TYPE_CHECKING:
    from steer.sweeps.sweep import Sweep

Expression = Annotated[
    str, typer.Argument(metavar="EXPR", autocompletion=complete_expression, help='What to add, such as "sonnet + cat".')
]
Radius = Annotated[str, typer.Option(metavar="LIST", help="Radii, 0,0.5,1 or from:to:step.")]
Dose = Annotated[str, typer.Option(metavar="LIST", help="Factors of all doses, likewise.")]
Temperature = Annotated[str, typer.Option(metavar="LIST", help="Temperatures, likewise.")]
Layer = Annotated[
    str | None, typer.Option(metavar="LIST", help="Layers to add at.  [default: as the concepts were made]")
]
Count = Annotated[int, typer.Option("-n", metavar="N", help="Samples in each cell.")]
Seed = Annotated[int, typer.Option(metavar="S", help="Of all cells.")]
Jobs = Annotated[int, typer.Option(metavar="N", help="Processes that sample cells side by side.")]
Output = Annotated[
    str | None, typer.Option("-o", "--output", metavar="DIR", help="Keep every run here; goes on there.")
]
Plot = Annotated[str | None, typer.Option(metavar="FILE", help="Draw the figures against the radius.")]
Plane = Annotated[str | None, typer.Option(metavar="FILE", help="Draw radius and temperature, success on diversity.")]
Theme = Annotated[str, typer.Option(metavar="NAME", help="Of the plots: light or dark.")]
Force = Annotated[bool, typer.Option("--force", help="Replace the plots' files.")]


def command(
    expression: Expression,
    radius: Radius = "0:1:0.25",
    dose: Dose = "1",
    temperature: Temperature = "1",
    layer: Layer = None,
    n: Count = 64,
    seed: Seed = 0,
    max_tokens: MaxTokens = 128,
    positive: Positive = None,
    background: Background = None,
    jobs: Jobs = 1,
    output: Output = None,
    plot: Plot = None,
    plane: Plane = None,
    theme: Theme = "light",
    force: Force = False,
    model: Model = None,
    device: Device = None,
    dtype: Dtype = None,
    trust_remote_code: Trust = False,
    as_json: Json = False,
) -> None:
    """Sample one expression over a grid of radii, doses, temperatures and layers, and print each cell's figures.

    A cell is printed as soon as it is measured, those that are kept already first. With -o every run is kept, and the
    same command goes on where it was stopped, however it was. The suggested radius is the largest up to which nine
    tenths of the success at the smallest are kept. For other models than the embedded one, --positive and
    --background bring a judge.
    """
    from steer.composition.expression import parse
    from steer.sweeps.grid import parse_range

    parse(expression)
    radii, doses = parse_range(radius, "--radius"), parse_range(dose, "--dose")
    temperatures = parse_range(temperature, "--temperature")
    layers = (None,) if layer is None else tuple(_layer(value) for value in parse_range(layer, "--layer"))
    check_integer(n, "-n", low=2)
    check_integer(seed, "--seed", high=MAX_SEED)
    check_integer(jobs, "--jobs", low=1, high=256)
    check_pictures((plot, plane), theme, force)
    if plot is not None and len(set(radii)) < 2:
        raise InputError("--plot draws figures against the radius: give --radius two or more values")
    if output is not None and (not output or output.startswith("-")):
        raise InputError(f"-o is {quote(output)}: give a folder's name, such as './{output or 'sweep'}'")
    with Progress() as progress:
        loaded = open_model(model, device, dtype, trust_remote_code, progress)
        from steer.composition.steering_point import compose
        from steer.sweeps.sweep import sweep

        point = compose(expression, loaded)
        evaluation_set = yardstick_of(point.vectors, positive, background, seed)
        for text in evaluation_set.notes if evaluation_set else ():
            note(f"note: {text}")
        axes = (radii, doses, temperatures, layers)
        try:
            with SweepTable(axes, progress, as_json=as_json, has_output=bool(output or plot or plane)) as table:
                made = sweep(
                    loaded, point, radii=radii, doses=doses, temperatures=temperatures, layers=layers, n=n, seed=seed,
                    max_tokens=max_tokens, folder=output, jobs=jobs, evaluation_set=evaluation_set, watcher=table,
                )  # fmt: skip
        except KeyboardInterrupt:
            if output is not None:
                note(f"interrupted: what is finished is kept in {quote(output)}; to go on, repeat the command")
            raise
    _finish(made, as_json)
    if plot is not None or plane is not None:
        for picture, draw in ((plot, made.plot), (plane, made.plot_plane)):
            if picture is not None:
                draw(picture, theme=theme, force=force)
                note(f"drawn in {picture}")


def _finish(made: "Sweep", as_json: bool) -> None:
    found = made.suggested_radius()
    if found is None:
        return
    if as_json:
        emit_json(json.dumps({"suggested_radius": made.to_dict()["suggested_radius"]}))
        return
    first = made.grid.radii[0]
    emit(f"\nsuggested radius: {found} (up to it, 9/10 of the success at radius {first:g} are kept)")


def _layer(value: float) -> int:
    if value != int(value):
        raise InputError(f"--layer is {value:g}: give whole numbers, counted from 0")
    return int(value)
