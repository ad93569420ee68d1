"""`steer compose`: sample a model with concepts switched on, and print each text as soon as it is its turn."""

import re
import shlex
import sys
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cli.options.model_options import Base, Device, Dtype, Json, Model, Trust, model_flags, open_model, read_stdin
from cli.options.sampling_options import (
    Gate,
    Geometry,
    Layers,
    MaxPressure,
    MaxTokens,
    Method,
    MinP,
    NoCosts,
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
from cli.terminal.ordered_output import OrderedOutput
from cli.terminal.output import ClosedPipeError, note
from cli.terminal.progress import Progress
from cli.terminal.run_notes import note_plan
from cli.terminal.time_estimate import announce, sampling_seconds
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
        help='Concepts to add, "cat + 0.8 storm"; - reads stdin.  [default: none, the model without steering]',
        show_default=False,
    ),
]
Count = Annotated[int, typer.Option("-n", metavar="N", help="Number of texts.")]
Radius = Annotated[
    float | None,
    typer.Option(
        metavar="R",
        help="Size of each text's own random shift, relative to the steering shift.  [default: 0; with --around, 0.7 "
        "times the radius of the run]",
    ),
]
AroundSamples = Annotated[
    str | None,
    typer.Option(
        "--around",
        metavar="FILE:I,J",
        help="Sample around texts of a run: run.jsonl:2,5 searches around texts 2 and 5.",
    ),
]
BatchSize = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Texts sampled together; changes the speed, and seldom a text.  [default: what suits the device]",
    ),
]
Output = Annotated[
    str | None, typer.Option("-o", "--output", metavar="FILE", help="Also append each text to this JSONL file.")
]
Force = Annotated[bool, typer.Option("--force", help="Replace FILE.")]
Resume = Annotated[bool, typer.Option("--resume", help="Continue FILE: sample only the texts it lacks.")]


def command(
    expression: Expression = None,
    n: Count = 8,
    radius: Radius = None,
    geometry: Geometry = None,
    around: AroundSamples = None,
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
    no_costs: NoCosts = False,
    batch_size: BatchSize = None,
    model: Model = None,
    base: Base = None,
    device: Device = None,
    dtype: Dtype = None,
    trust_remote_code: Trust = False,
    output: Output = None,
    as_json: Json = False,
    force: Force = False,
    resume: Resume = False,
) -> None:
    """Run this to sample a model with concepts switched on.

    Join concepts by + and -, and write a dose before a name: "sonnet + 0.8 cat - gloomy". Without an expression the
    model is sampled without steering.

    Each text is printed with its pressure (how far steering moved the model's next-token distribution: KL divergence in
    nats per token) and its log-probability under the base model and under the steered model.
    """
    doses, run, picks = None, None, list[int]()
    if around is None:
        doses = _parse_expression(expression)
        # the parser reads "-orchard + sea" as -o "rchard + sea"
        if expression is None and output is not None and re.search(r"\s[+-]\s|\*", output):
            raise InputError(
                f"-o is {quote(output)} and there is no expression: write -- before an expression that begins with -"
            )
    elif expression is not None:
        raise InputError(
            f"{quote(expression)} and --around exclude each other: --around takes the doses of the run, leave one out"
        )
    else:
        run, picks = _read_around(around)
    for option, value in {"--method": method, "--layers": layers}.items():
        if value is not None and doses is None:
            why = "--around takes that of the run" if run is not None else "there is no expression to compose"
            raise InputError(f"{option} is about the concepts of an expression, and {why}: leave {option} out")
    check_point_options(method, layers)
    check_integer(n, "-n", low=1)
    if batch_size is not None:
        check_integer(batch_size, "--batch-size", low=1, high=MAX_BATCH)
    if radius is not None and check_number(radius, "--radius") < 0.0:
        raise InputError(f"--radius is {radius:g}: give a number of at least 0, such as 0.5")
    if radius and doses is None and run is None:
        raise InputError(
            f"--radius is {radius:g} and there is no expression to search around: give one, or leave it out"
        )
    check_prompt(prompt)
    if sys.stdout is None and output is None:
        raise OutputError("stdout is closed: leave it open, or write the samples to a file with -o")
    mode = _output_mode(output, force, resume)
    seed = _choose_seed(seed, output, mode)
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
        loaded = open_model(model, device, dtype, trust_remote_code, progress, base)
        from steer.sampling.sampler import samples_of
        from vectors.decoding.decode import prefix_ids

        if geometry == "natural":
            progress("measuring the covariance of natural activations")
        if max_pressure is not None:
            progress("searching the dose that keeps to the pressure")
        point = None if doses is None else compose_point(doses, loaded, method, layers)
        plan = make_plan(loaded, point if run is None else _centre(run, picks), options)
        prefix_ids(loaded, plan.prompt, max_tokens)  # refuse what exceeds the context before anything is printed
        progress.clear()
        file = None
        if output is not None:
            from steer.runs.sample_file import SampleFile

            file = stack.enter_context(SampleFile(output, mode, plan.identity(loaded)))
        note_plan(plan, loaded)
        done = frozenset(file.done if file else ())
        ordered = OrderedOutput(n, done, as_json, file, progress)
        if ordered.left == 0:
            progress.clear()
            note(f"all {n} samples are already in {quote(output)}")
            return
        progress("estimating the time")
        seconds = sampling_seconds(
            loaded, ordered.left, max_tokens, costs=plan.costs and bool(plan.point.layers), batch_size=batch_size
        )
        progress.clear()
        announce(seconds, n=ordered.left, shorter="--max-tokens shortens each text", at_most=True)
        progress("sampling", ordered.count, n)
        try:
            finished = samples_of(loaded, plan, n=n, batch_size=batch_size, skip=done)
            progress.clear()
            note(f"seed {seed}")
            progress("sampling", ordered.count, n)
            for sample in finished:
                ordered.add(sample)
        except BaseException as error:
            with suppress(ClosedPipeError, OutputError):
                ordered.flush()
            progress.clear()
            saved = ""
            if output is not None and ordered.count:
                saved = f"{ordered.count} of {n} samples are saved in {quote(output)}"
            if isinstance(error, KeyboardInterrupt):
                mend = "use -o FILE to save samples" if output is None else "no sample was finished yet"
                note(f"interrupted: {saved or mend}")
            elif saved and not isinstance(error, ClosedPipeError):
                note(saved)
            if saved:
                instead = " instead of --force" if force else ""
                note(f"to continue, repeat the command with --resume --seed {seed}{instead}")
            raise
        progress.clear()
        if ordered.not_finite:
            note(f"note: {ordered.not_finite} texts stopped early because logits were not finite: lower the doses")
        if output is not None:
            note(f"{ordered.count} sample{'s are' if ordered.count != 1 else ' is'} in {quote(output)}")
            if not as_json and ordered.count > 1:
                flags = model_flags(model, device, dtype, trust_remote_code, base)
                note(" ".join(["next: steer report", shlex.quote(output), *flags]))


def _parse_expression(expression: str | None) -> dict[str, float] | None:
    """Return the doses of the expression, which "-" reads from stdin; None without one.

    Raises:
        InputError: it cannot be read, or is empty, which is more likely an unset variable than a wish for no steering.
    """
    if expression is None:
        return None
    from steer.composition.expression import parse

    text = read_stdin("an expression") if expression == "-" else expression
    if not text.strip():
        what = "standard input holds no expression" if expression == "-" else "the expression is empty"
        raise InputError(
            f"{what}: name a concept, or leave {'the -' if expression == '-' else 'it'} out to sample without steering"
        )
    return parse(text.strip())


def _read_around(around: str) -> "tuple[SampleSet, list[int]]":
    """Return the run and the indices that --around names."""
    from steer.runs.sample_set import SampleSet

    path, colon, indices = around.rpartition(":")
    names = indices.split(",")
    # int() refuses numbers of thousands of digits, and no index has that many
    if not colon or not path or not all(name.strip().isdecimal() and len(name) < 24 for name in names):
        raise InputError(f"--around is {quote(around)}: give a file and the indices in it, run.jsonl:2,5")
    return SampleSet.load(path), [check_integer(int(name), "--around", high=MAX_SEED) for name in names]


def _centre(samples: "SampleSet", picks: list[int]) -> "Centre":
    """Return the centre of picked samples; only `--around` needs to import what finds it."""
    from steer.search.recentring import recentre

    return recentre(samples, picks)


def _output_mode(output: str | None, force: bool, resume: bool) -> Mode:
    """Return how to open the output file, after checking that it can be written."""
    mode: Mode = "force" if force else "resume" if resume else "new"
    if force and resume:
        raise InputError("--force and --resume exclude each other: replace the file, or continue it")
    if output is None:
        if mode != "new":
            raise InputError(f"--{mode} needs an output file: give it with -o FILE")
        return mode
    if output == "-":
        raise InputError("-o - is no file: results are on stdout anyway, use --json for the same lines")
    from steer.runs.sample_file import check_output

    check_output(output, mode)
    return mode


def _choose_seed(seed: int | None, output: str | None, mode: Mode) -> int:
    """Return the given seed, the seed of the run to resume, or a random one that is short enough to type."""
    if seed is not None:
        return check_integer(seed, "--seed", high=MAX_SEED)
    if mode == "resume" and output is not None:
        from steer.runs.sample_file import peek

        first = peek(output)
        if first is not None:
            return first.seed
    import secrets

    return secrets.randbelow(2**32)
