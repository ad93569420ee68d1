"""`steer report`: what came out of saved runs, in figures."""

import json
from typing import Annotated

import typer

from cli.layout import many_reports, one_report
from cli.options import Device, Dtype, Json, Model, Trust
from cli.output import emit, emit_json, note
from cli.progress import Progress
from cli.runs import Background, Positive, Seed, model_of, read_run, vectors_of, yardstick_of
from vectors.checks import MAX_SEED, shown, whole
from vectors.errors import SteerError

Runs = Annotated[list[str], typer.Argument(metavar="RUN...", help="Files that `steer compose -o` wrote.")]
Embedder = Annotated[
    str | None, typer.Option(metavar="NAME", help="Also compare texts by this sentence-transformers model.")
]


def command(
    runs: Runs,
    positive: Positive = None,
    background: Background = None,
    embedder: Embedder = None,
    seed: Seed = 0,
    model: Model = None,
    device: Device = None,
    dtype: Dtype = None,
    trust_remote_code: Trust = False,
    as_json: Json = False,
) -> None:
    """Print the figures of saved runs: success, diversity, typicality, pressure, and what else moved.

    A run of the embedded model is judged by the world that it learned. For other models give --model, and texts with
    what was asked for and without it: those that the concepts were found in, a quarter of which was kept from the
    directions, or others.
    """
    whole(seed, "--seed", high=MAX_SEED)
    loaded = [read_run(path) for path in runs]
    made = []
    with Progress() as progress:
        with_model = model_of(loaded, model, device, dtype, trust_remote_code, progress)
        from steer.figures.reported import report

        embedders = None
        if embedder is not None:
            from steer.figures.varied import sentence_transformer

            embedders = {"sentences": sentence_transformer(embedder)}
        for place, run in enumerate(loaded):
            progress("measuring", place, len(loaded))
            try:
                yardstick = yardstick_of(vectors_of(run, with_model), positive, background, seed)
                made.append(report(run, yardstick=yardstick, model=with_model, embedders=embedders, seed=seed))
            except SteerError as error:
                raise type(error)(f"{shown(runs[place])}: {error}") from error
    if as_json:
        for path, each in zip(runs, made, strict=True):
            emit_json(json.dumps({"run": path, **each.to_dict()}))
        return
    emit(one_report(runs[0], made[0]) if len(made) == 1 else many_reports(runs, made))
    for text in dict.fromkeys(text for each in made for text in each.notes):
        note(f"note: {text}")
