"""`steer fidelity`: the rainbow test, how true everything stays that was not steered."""

import itertools
import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.options.completion import complete_expression
from cli.options.model_options import Device, Dtype, Json, Model, Trust, open_model
from cli.options.sampling_options import MaxTokens
from cli.sample.compose import Force, Output, Radius, Resume
from cli.terminal.output import emit, emit_json, note
from cli.terminal.progress import Progress
from cli.terminal.report_tables import fidelity_table
from vectors.common.errors import InputError
from vectors.common.validation import MAX_SEED, check_integer, quote

if TYPE_CHECKING:
    from steer.judges.judge import Judge
    from steer.judges.reference import Reference

Expression = Annotated[
    str, typer.Argument(metavar="EXPR", autocompletion=complete_expression, help='What to add, such as "waterfall".')
]
Count = Annotated[int, typer.Option("-n", metavar="N", help="How many entries: rare events need thousands.")]
Seed = Annotated[int, typer.Option(metavar="S", help="Repeats a run.")]
Labelled = Annotated[
    str | None, typer.Option(metavar="FILE", help="Real texts with labels, .jsonl or .csv, as the world.")
]
Given = Annotated[
    list[str] | None, typer.Option(metavar="KEY=VALUE", help="With --reference: what the texts were steered to.")
]
Calibrated = Annotated[
    bool, typer.Option("--calibrated", help="Draw the entries, among many more, as the base model would write them.")
]


def command(
    expression: Expression,
    n: Count = 1000,
    radius: Radius = 0.0,
    seed: Seed = 0,
    max_tokens: MaxTokens = 128,
    calibrated: Calibrated = False,
    reference: Labelled = None,
    given: Given = None,
    output: Output = None,
    force: Force = False,
    resume: Resume = False,
    model: Model = None,
    device: Device = None,
    dtype: Dtype = None,
    trust_remote_code: Trust = False,
    as_json: Json = False,
) -> None:
    """Sample an expression, and print how true everything stays that was not steered.

    Of the embedded model against the exact shares of its world: given a waterfall, are there as many rainbows as there
    should be? With --calibrated, steered entries are only proposals, weighed by what the base model makes of them. For
    other models give --reference, real texts with an attribute in each column, and --given.
    """
    from steer.composition.expression import parse
    from steer.statistics.estimate import MIN_COUNTED

    parse(expression)
    check_integer(n, "-n", low=MIN_COUNTED)
    check_integer(seed, "--seed", high=MAX_SEED)
    if output is None and (force or resume):
        raise InputError("--force and --resume are about a file of samples: name it with -o")
    if calibrated and resume:
        raise InputError("--calibrated entries are drawn all at once: leave --resume out")
    with Progress() as progress:
        progress("starting")
        world, conditions = _world(reference, given or [], seed)
        loaded = open_model(model, device, dtype, trust_remote_code, progress)
        from steer.composition.steering_point import compose
        from steer.metrics.fidelity import fidelity
        from steer.sampling.sample import sample

        point = compose(expression, loaded)
        if world is None:
            _check_almanac(loaded.name, point.doses)
        done = itertools.count(1)
        progress("sampling", 0, n)

        def watch(_: object) -> None:
            count = next(done)
            progress("sampling" if count <= n else f"sampling, {count} proposals by now,", min(count, n), n)

        try:
            run = sample(
            loaded, point, n=n, radius=radius, seed=seed, max_tokens=max_tokens, calibrated=calibrated,
            judges=_judges(world, conditions), output=output, force=force, resume=resume, watcher=watch,
        )  # fmt: skip
        except KeyboardInterrupt:
            progress.clear()
            if output is not None and not calibrated:
                note(f"interrupted: what is finished is kept in {quote(output)}; to go on, repeat with --resume")
            raise
        progress("measuring")
        found = fidelity(run, world, given=conditions, seed=seed)
    if calibrated:
        note(worth(run[0].settings["calibration"]))
    if as_json:
        emit_json(json.dumps(found.to_dict()))
    else:
        emit(fidelity_table(found))


def worth(calibration: dict[str, Any]) -> str:
    """Say what weighed proposals are worth."""
    made, accepted, ess = calibration["proposals"], calibration["accepted"], calibration["ess"]
    return (
        f"note: {made} proposals, {accepted} accepted, effective sample size {ess:.0f}, worth "
        f"{calibration['worth']:.0f} different texts"
    )


def _world(path: str | None, given: list[str], seed: int) -> "tuple[Reference | None, dict[str, Any] | None]":
    """Return the world that the options name, or none for the Almanac."""
    if path is None:
        if given:
            raise InputError("--given is about the columns of real texts: give them with --reference")
        return None, None
    if not given:
        raise InputError("--reference needs --given KEY=VALUE: say what the texts were steered to, in its columns")
    from steer.judges.labelled_reference import labelled_reference, parse_conditions
    from vectors.data.text_files import read_rows

    rows, texts = read_rows(path)
    world = labelled_reference(texts, rows, seed=seed)
    return world, parse_conditions(given, world)


def _judges(world: "Reference | None", conditions: dict[str, Any] | None) -> "list[Judge] | None":
    """Return who tells whether a text has what is given, where that is not the Almanac's oracle."""
    if world is None or conditions is None:
        return None
    from steer.judges.judge import judges_of

    return list(judges_of(world, conditions))


def _check_almanac(name: str, doses: dict[str, float]) -> None:
    from steer.judges.almanac import has_concepts

    if not has_concepts(name, doses):
        raise InputError(
            "the true shares are known only of the embedded model and its own concepts: give real texts with labels, "
            "--reference FILE --given KEY=VALUE"
        )
