"""`steer explore`: an interactive search, a screen of texts at a time; every text is written to a file."""

import shlex
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from cli.options.completion import complete_expression
from cli.options.model_options import Base, Device, Dtype, Json, Model, Trust, open_model
from cli.options.sampling_options import (
    Gate,
    Geometry,
    Layers,
    MaxPressure,
    MaxTokens,
    Method,
    MinP,
    Positions,
    Prompt,
    Seed,
    Temperature,
    TopK,
    TopP,
    check_point_options,
    check_prompt,
    compose_point,
)
from cli.terminal.output import note
from cli.terminal.progress import Progress
from cli.terminal.run_notes import note_plan
from vectors.common.errors import InputError
from vectors.common.validation import MAX_SEED, check_integer, check_number, quote

Expression = Annotated[
    str | None,
    typer.Argument(
        metavar="EXPR",
        autocompletion=complete_expression,
        help='Concepts to start with, "cat + 0.8 storm".',
        show_default=False,
    ),
]
Count = Annotated[int, typer.Option("-n", metavar="N", help="Texts on a screen.")]
Radius = Annotated[
    float,
    typer.Option(
        metavar="R", help="Size of each text's own random shift at the start, relative to the steering shift."
    ),
]
Output = Annotated[
    str | None,
    typer.Option("-o", "--output", metavar="FILE", help="File for every text.  [default: explore-SEED.jsonl]"),
]
Resume = Annotated[
    str | None, typer.Option(metavar="FILE", help="Continue the exploration in FILE, with its own settings.")
]

_FLAGS = {"n": "-n", "output": "-o"}  # parameters whose flag has another name


def command(
    context: typer.Context,
    expression: Expression = None,
    n: Count = 4,
    radius: Radius = 0.5,
    geometry: Geometry = None,
    method: Method = None,
    layers: Layers = None,
    seed: Seed = None,
    prompt: Prompt = None,
    max_tokens: MaxTokens = 128,
    temperature: Temperature = 1.0,
    top_p: TopP = 1.0,
    top_k: TopK = 0,
    min_p: MinP = 0.0,
    positions: Positions = None,
    gate: Gate = False,
    max_pressure: MaxPressure = None,
    output: Output = None,
    resume: Resume = None,
    model: Model = None,
    base: Base = None,
    device: Device = None,
    dtype: Dtype = None,
    trust_remote_code: Trust = False,
    as_json: Json = False,
) -> None:
    """Run this to search interactively: read texts, pick the best ones, sample around them.

    Each text is written to a file as soon as it is finished. Continue later by --resume FILE, or sample around one of
    the texts by `steer compose --around FILE:I`.
    """
    from steer.composition.expression import parse
    from steer.sampling.exploration_file import MAX_SCREEN

    doses = None
    if (expression is None) == (resume is None):
        raise InputError("an expression starts a search and --resume FILE continues one: give one of them")
    if expression == "-":
        raise InputError("an exploration reads its commands from stdin: write the expression instead of -")
    if expression is not None:
        doses = parse(expression)
    if resume is not None and (flags := _conflicting_flags(context)):
        raise InputError(f"--resume takes the settings of the file: leave {flags} out")
    check_point_options(method, layers)
    check_integer(n, "-n", low=1, high=MAX_SCREEN)
    if check_number(radius, "--radius") <= 0.0:
        raise InputError(f"--radius is {radius:g}: give one above 0, such as 0.5, so that texts differ in direction")
    check_prompt(prompt)
    if sys.stdin is None:
        raise InputError("stdin is closed: an exploration reads its commands from it, leave it open")
    if seed is None:
        import secrets

        seed = secrets.randbelow(2**32)
    check_integer(seed, "--seed", high=MAX_SEED)
    if resume is not None and not Path(resume).is_file():
        raise InputError(f"there is no file {quote(resume)}: start an exploration with an expression")
    path = resume if resume is not None else output if output is not None else f"explore-{seed}.jsonl"
    from steer.runs.sample_file import SampleFile
    from vectors.common.files import check_output_path

    empty = resume is None and Path(path).is_file() and not Path(path).stat().st_size  # killed before its first text
    check_output_path(path, force=resume is not None or empty, hint=f"continue it by --resume {shlex.quote(path)}")
    with Progress() as progress, ExitStack() as stack:
        progress("starting")
        from steer.sampling.run_plan import SamplingOptions, make_plan

        options = SamplingOptions(
            radius=radius, geometry=geometry, seed=seed, prompt=prompt, max_tokens=max_tokens, temperature=temperature,
            top_p=top_p, top_k=top_k, min_p=min_p, positions=positions, gate=gate, max_pressure=max_pressure,
        )  # fmt: skip
        loaded = open_model(model, device, dtype, trust_remote_code, progress, base)
        from cli.sample.dialogue import Dialogue
        from steer.sampling.exploration import Exploration, shared_fields

        if resume is not None:
            exploration = Exploration.resumed(loaded, stack.enter_context(SampleFile(path, "resume")))
        else:
            plan = make_plan(loaded, None if doses is None else compose_point(doses, loaded, method, layers), options)
            exploration = Exploration(
                loaded,
                plan,
                stack.enter_context(SampleFile(path, "resume" if empty else "new", shared_fields(plan, loaded))),
                n=n,
            )
            progress.clear()
            note_plan(plan, loaded)
        progress.clear()
        note(f"seed {exploration.current.plan.seed}; every text is written to {quote(path)}")
        Dialogue(exploration, str(path), as_json, progress).run()


def _conflicting_flags(context: typer.Context) -> str:
    """Return the flags of the command line that a resumed exploration takes from its file."""
    allowed = {"resume", "model", "base", "device", "dtype", "trust_remote_code", "as_json"}
    names = (
        name for name in context.params if getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE"
    )
    return ", ".join(_FLAGS.get(name, f"--{name.replace('_', '-')}") for name in names if name not in allowed)
