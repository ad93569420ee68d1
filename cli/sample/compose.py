"""`steer compose`: the main job, an expression in and entries out, each as soon as its turn has come."""

import shlex
import sys
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cli.options.model_options import Device, Dtype, Json, Model, Trust, open_model, read_stdin
from cli.options.sampling_options import (
    Gate,
    Geometry,
    MaxPressure,
    MaxTokens,
    MinP,
    NoCosts,
    Positions,
    Prompt,
    Seed,
    Temperature,
    TopK,
    TopP,
    check_prompt,
)
from cli.terminal.ordered_output import Turns
from cli.terminal.output import ClosedPipeError, note
from cli.terminal.progress import Progress
from cli.terminal.run_notes import tell
from vectors.common.errors import InputError, OutputError
from vectors.common.validation import MAX_BATCH, MAX_SEED, check_integer, check_number, quote

if TYPE_CHECKING:
    from steer.runs.sample_set import SampleSet
    from steer.search.recentring import Centre


def _complete(typed: str) -> list[str]:
    from cli.options.completion import complete_expression  # only completion in the shell needs it

    return complete_expression(typed)


Mode = Literal["new", "force", "resume"]
Expression = Annotated[
    str | None,
    typer.Argument(
        metavar="EXPR",
        autocompletion=_complete,
        help='What to add, "cat + 0.8 storm"; - reads stdin.',
        show_default=False,
    ),
]
Count = Annotated[int, typer.Option("-n", metavar="N", help="How many entries.")]
Radius = Annotated[
    float | None,
    typer.Option(metavar="R", help="How far each entry strays on its own.  [default: 0, around samples 0.7 of theirs]"),
]
AroundSamples = Annotated[
    str | None,
    typer.Option("--around", metavar="FILE:I,J", help="Stand on samples of a run instead of an expression."),
]
BatchSize = Annotated[
    int | None,
    typer.Option(
        metavar="N", help="Entries sampled together; changes only the speed.  [default: what suits the device]"
    ),
]
Output = Annotated[str | None, typer.Option("-o", "--output", metavar="FILE", help="Also append each to this JSONL.")]
Force = Annotated[bool, typer.Option("--force", help="Replace FILE.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with FILE: only what is missing is sampled.")]


def command(
    expression: Expression = None,
    n: Count = 8,
    radius: Radius = None,
    geometry: Geometry = None,
    around: AroundSamples = None,
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
    no_costs: NoCosts = False,
    batch_size: BatchSize = None,
    model: Model = None,
    device: Device = None,
    dtype: Dtype = None,
    trust_remote_code: Trust = False,
    output: Output = None,
    as_json: Json = False,
    force: Force = False,
    resume: Resume = False,
) -> None:
    """Compose concepts and sample the model with them switched on.

    Each entry is printed with its pressure (how far the steered model was pushed from the base model) and its log
    probability under both. Terms are joined by + and -, a dose stands before a name: "sonnet + 0.8 cat - gloomy".
    """
    from steer.composition.expression import parse

    doses, samples, picks = None, None, list[int]()  # an expression, or samples of a run and the picked indices
    if around is None:
        if expression is None:
            raise typer.BadParameter("there is no expression, and no samples with --around", param_hint="EXPR")
        text = read_stdin("an expression").strip() if expression == "-" else expression
        doses = parse(text)  # before anything slow, so that a mistake in it is reported at once
    elif expression is not None:
        raise InputError(f"{quote(expression)} and --around exclude each other: the doses are those of the samples")
    else:
        samples, picks = _picked(around)
    check_integer(n, "-n", low=1)
    if batch_size is not None:
        check_integer(batch_size, "--batch-size", low=1, high=MAX_BATCH)
    if radius is not None and check_number(radius, "--radius") < 0.0:
        raise InputError(f"--radius is {radius:g}: give a number of at least 0, such as 0.5")
    check_prompt(prompt)
    if sys.stdout is None and output is None:
        raise OutputError("stdout is closed: leave it open, or keep the samples in a file with -o")
    mode = _mode(output, force, resume)
    seed = _seed(seed, output, mode)
    with Progress() as progress, ExitStack() as stack:
        progress("starting")
        from steer.sampling.run_plan import SamplingOptions, make_plan

        options = SamplingOptions(
            radius=radius, geometry=geometry, seed=seed, prompt=prompt, max_tokens=max_tokens, temperature=temperature,
            top_p=top_p, top_k=top_k, min_p=min_p, positions=positions, gate=gate, max_pressure=max_pressure,
            costs=not no_costs,
        )  # fmt: skip
        if geometry is not None:
            from steer.search.perturbation import check_geometry

            check_geometry(geometry)
        loaded = open_model(model, device, dtype, trust_remote_code, progress)
        from steer.sampling.sampler import samples_of

        if geometry == "natural":
            progress("reading what is natural for this model")
        if max_pressure is not None:
            progress("looking for the dose within the pressure")
        plan = make_plan(loaded, doses if samples is None else _centre(samples, picks), options)
        progress.clear()
        tell(plan, loaded)
        file = None
        if output is not None:
            from steer.runs.sample_file import SampleFile

            file = stack.enter_context(SampleFile(output, mode, plan.identity(loaded)))
        done = frozenset(file.done if file else ())
        turns = Turns(n, done, as_json, file, progress)
        if turns.left == 0:
            progress.clear()
            note(f"all {n} samples are already in {quote(output)}")
            return
        progress("sampling", turns.count, n)
        try:
            finished = samples_of(loaded, plan, n=n, batch_size=batch_size, skip=done)
            progress.clear()
            note(f"seed {seed}")
            for sample in finished:
                turns.take(sample)
        except BaseException as error:
            with suppress(ClosedPipeError, OutputError):
                turns.give_rest()
            progress.clear()
            kept = ""
            if output is not None and turns.count:
                kept = f"{turns.count} of {n} samples are kept in {quote(output)}"
            if isinstance(error, KeyboardInterrupt):
                mend = "use -o FILE to keep samples" if output is None else "nothing was finished yet"
                note(f"interrupted: {kept or mend}")
            elif kept and not isinstance(error, ClosedPipeError):
                note(kept)
            if kept:
                instead = " in place of --force" if force else ""
                note(f"to go on, repeat the command with --resume --seed {seed}{instead}")
            raise
        progress.clear()
        if turns.stopped:
            note(f"note: {turns.stopped} texts were stopped where logits were not finite: lower the doses")
        if output is not None:
            note(f"{turns.count} samples are in {quote(output)}")
            if not as_json and turns.count > 1:
                note(f"next: steer report {shlex.quote(output)}")


def _picked(around: str) -> "tuple[SampleSet, list[int]]":
    """Return the run and the indices that the option names."""
    from steer.runs.sample_set import SampleSet

    place, colon, told = around.rpartition(":")
    names = told.split(",")
    # more digits than any index has are no number that could be read
    if not colon or not place or not all(name.strip().isdecimal() and len(name) < 24 for name in names):
        raise InputError(f"--around is {quote(around)}: give a file and the indices in it, run.jsonl:2,5")
    return SampleSet.load(place), [check_integer(int(name), "--around", high=MAX_SEED) for name in names]


def _centre(samples: "SampleSet", picks: list[int]) -> "Centre":
    """Return the centre of picked samples; only `--around` needs to import what finds it."""
    from steer.search.recentring import recentre

    return recentre(samples, picks)


def _mode(output: str | None, force: bool, resume: bool) -> Mode:
    """Return how the output file is opened; a place that cannot be written is refused before anything slow."""
    mode: Mode = "force" if force else "resume" if resume else "new"
    if force and resume:
        raise InputError("--force and --resume exclude each other: replace the file, or go on with it")
    if output is None:
        if mode != "new":
            raise InputError(f"--{mode} is about an output file: give it with -o FILE")
        return mode
    if output == "-":
        raise InputError("-o - is no file: results are on stdout anyway, use --json for the same lines")
    from steer.runs.sample_file import check_output

    check_output(output, mode)
    return mode


def _seed(seed: int | None, output: str | None, mode: Mode) -> int:
    """Return the seed asked for, the one of the run that is resumed, or a drawn one short enough to be typed."""
    if seed is not None:
        return check_integer(seed, "--seed", high=MAX_SEED)
    if mode == "resume" and output is not None:
        from steer.runs.sample_file import peek

        first = peek(output)
        if first is not None:
            return first.seed
    import secrets

    return secrets.randbelow(2**32)
