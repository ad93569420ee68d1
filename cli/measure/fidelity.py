"""`steer fidelity`: do attributes that were not steered keep their true shares?"""

import itertools
import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.options.completion import complete_expression
from cli.options.model_options import Base, Device, Dtype, Json, Model, Trust, open_model
from cli.options.sampling_options import MaxTokens, Method, check_point_options, compose_point
from cli.options.text_options import TextOptions, with_text_options
from cli.sample.compose import Force, Output, Resume
from cli.terminal.output import emit, emit_json, note
from cli.terminal.progress import Progress
from cli.terminal.report_tables import fidelity_table
from cli.terminal.time_estimate import announce, sampling_seconds
from vectors.common.errors import InputError
from vectors.common.validation import MAX_SEED, check_integer, quote

if TYPE_CHECKING:
    from steer.judges.judge import Judge
    from steer.judges.reference import Reference
    from vectors.model.residual_model import ResidualModel

Expression = Annotated[
    str,
    typer.Argument(metavar="EXPR", autocompletion=complete_expression, help='Concepts to add, such as "waterfall".'),
]
Count = Annotated[int, typer.Option("-n", metavar="N", help="Number of texts: rare attributes need thousands.")]
Radius = Annotated[
    float, typer.Option(metavar="R", help="Size of each text's own random shift, relative to the steering shift.")
]
Seed = Annotated[int, typer.Option(metavar="S", help="Seed of the samples.")]
Labelled = Annotated[str | None, typer.Option(metavar="FILE", help="Real texts with an attribute in each column.")]
Given = Annotated[
    list[str] | None,
    typer.Option(metavar="KEY=VALUE", help="With --reference: the attribute that the expression steers."),
]
Calibrated = Annotated[
    bool,
    typer.Option("--calibrated", help="Correct the samples to the base model's distribution by importance sampling."),
]


@with_text_options
def command(
    expression: Expression,
    n: Count = 1000,
    radius: Radius = 0.0,
    method: Method = None,
    seed: Seed = 0,
    max_tokens: MaxTokens = 128,
    calibrated: Calibrated = False,
    reference: Labelled = None,
    reading: TextOptions = TextOptions(),  # noqa: B008 (frozen)
    given: Given = None,
    output: Output = None,
    force: Force = False,
    resume: Resume = False,
    model: Model = None,
    base: Base = None,
    device: Device = None,
    dtype: Dtype = None,
    trust_remote_code: Trust = False,
    as_json: Json = False,
) -> None:
    """Run this to see whether attributes that were not steered keep their true shares.

    For the embedded model the shares are known exactly: steered to waterfalls, it should write as many rainbows as its
    training texts have beside waterfalls. For other models give --reference and --given. With --calibrated, steered
    texts are proposals of importance sampling: texts are drawn among them by their likelihood under the base model.
    """
    from steer.composition.expression import parse
    from steer.statistics.estimate import MIN_COUNTED

    parse(expression)
    check_point_options(method, None)
    check_integer(n, "-n", low=MIN_COUNTED)
    check_integer(seed, "--seed", high=MAX_SEED)
    if output is None and (force or resume):
        raise InputError("--force and --resume need a file of samples: give it with -o FILE")
    if calibrated and resume:
        raise InputError("--calibrated draws all texts at once: leave --resume out")
    with Progress() as progress:
        progress("starting")
        loaded = open_model(model, device, dtype, trust_remote_code, progress, base) if reading.chat else None
        world, conditions = _world(reference, given or [], seed, reading, loaded)
        loaded = loaded or open_model(model, device, dtype, trust_remote_code, progress, base)
        from steer.metrics.fidelity import fidelity
        from steer.sampling.sample import sample

        point = compose_point(expression, loaded, method)
        if world is None:
            _check_almanac(loaded.name, point.doses)
        progress("estimating the time")
        announce(sampling_seconds(loaded, n, max_tokens), n=n, at_most=True)
        done = itertools.count(1)
        progress("sampling", 0, n)

        def watch(_: object) -> None:
            count = next(done)
            progress("sampling" if count <= n else f"sampling, {count} proposals so far,", min(count, n), n)

        try:
            run = sample(
            loaded, point, n=n, radius=radius, seed=seed, max_tokens=max_tokens, calibrated=calibrated,
            judges=_judges(world, conditions), output=output, force=force, resume=resume, watcher=watch,
        )  # fmt: skip
        except KeyboardInterrupt:
            progress.clear()
            if output is not None and not calibrated:
                note(f"interrupted: finished samples are in {quote(output)}; to continue, repeat with --resume")
            raise
        progress("measuring")
        result = fidelity(run, world, given=conditions, seed=seed)
    if calibrated:
        note(worth(run[0].settings["calibration"]))
    if as_json:
        emit_json(json.dumps(result.to_dict()))
    else:
        emit(fidelity_table(result))


def worth(calibration: dict[str, Any]) -> str:
    """Return a note on how many texts the proposals are worth."""
    proposals, accepted, ess = calibration["proposals"], calibration["accepted"], calibration["ess"]
    return (
        f"note: {proposals} proposals, {accepted} accepted, effective sample size {ess:.0f}, worth "
        f"{calibration['worth']:.0f} different texts"
    )


def _world(
    path: str | None, given: list[str], seed: int, reading: TextOptions, model: "ResidualModel | None"
) -> "tuple[Reference | None, dict[str, Any] | None]":
    """Return the reference and conditions that the options give, or None for the embedded model's own world."""
    if path is None:
        if given:
            raise InputError("--given names columns of real texts: give them with --reference")
        return None, None
    if not given:
        raise InputError("--reference needs --given KEY=VALUE: the column and value that the expression steers")
    from steer.judges.labelled_reference import labelled_reference, parse_conditions
    from vectors.data.text_files import read_rows

    rows, texts = read_rows(path, format=reading.format, field=reading.text_column, how=reading.how(model))
    world = labelled_reference(texts, rows, seed=seed)
    return world, parse_conditions(given, world)


def _judges(world: "Reference | None", conditions: dict[str, Any] | None) -> "list[Judge] | None":
    """Return judges fitted on the reference, or None for the embedded model's oracle."""
    if world is None or conditions is None:
        return None
    from steer.judges.judge import judges_of

    return list(judges_of(world, conditions))


def _check_almanac(name: str, doses: dict[str, float]) -> None:
    from steer.judges.almanac import has_concepts

    if not has_concepts(name, doses):
        raise InputError(
            "true shares are known only for the embedded model and its own concepts: give real texts with labels, "
            "--reference FILE --given KEY=VALUE"
        )
