"""`steer report`: what came out of saved runs, in figures."""

import json
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from cli.options.model_options import Device, Dtype, Json, Model, Trust
from cli.options.run_options import Background, Positive, Seed, model_of, read_run, vectors_of, yardstick_of
from cli.terminal.output import emit, emit_json, is_terminal, note, width, wrap
from cli.terminal.progress import Progress
from cli.terminal.report_tables import many_reports, one_report
from vectors.common.errors import InputError, SteerError
from vectors.common.files import check_output_path, write_atomically
from vectors.common.validation import MAX_SEED, check_integer, quote

if TYPE_CHECKING:
    from pathlib import Path

    from steer.runs.sample_set import SampleSet


def _meanings(wanted: bool) -> None:
    """Print every figure's sentence."""
    if not wanted:
        return
    from steer.reports.glossary import NAMES, meaning

    size = max(map(len, NAMES))
    for name in NAMES:
        first, *rest = wrap(meaning(name), max(20, width() - size - 2)).split("\n")
        emit("\n".join([f"{name:<{size}}  {first}", *(" " * (size + 2) + line for line in rest)]))
    raise typer.Exit


Runs = Annotated[list[str], typer.Argument(metavar="RUN...", help="Files that `steer compose -o` wrote.")]
Html = Annotated[
    str | None, typer.Option(metavar="FILE", help="Also write a page to look at in a browser, every text included.")
]
Force = Annotated[bool, typer.Option("--force", help="Replace the page's file.")]
Meanings = Annotated[
    bool,
    typer.Option("--meanings", is_eager=True, callback=_meanings, help="Say what each figure means, and exit."),
]
Embedder = Annotated[
    str | None, typer.Option(metavar="NAME", help="Also compare texts by this sentence-transformers model.")
]


def command(
    runs: Runs,
    positive: Positive = None,
    background: Background = None,
    embedder: Embedder = None,
    html: Html = None,
    force: Force = False,
    seed: Seed = 0,
    model: Model = None,
    device: Device = None,
    dtype: Dtype = None,
    trust_remote_code: Trust = False,
    as_json: Json = False,
    meanings: Meanings = False,
) -> None:
    """Print the figures of saved runs: success, diversity, typicality, pressure, and what else moved.

    A run of the embedded model is judged by the world that it learned. For other models give --model, and texts with
    what was asked for and without it: those that the concepts were found in, a quarter of which was kept from the
    directions, or others.
    """
    check_integer(seed, "--seed", high=MAX_SEED)
    where = None if html is None else _page_place(html, force)
    loaded = [read_run(path) for path in runs]
    made = []
    with Progress() as progress:
        with_model = model_of(loaded, model, device, dtype, trust_remote_code, progress)
        from steer.reports.report import notes_by_run, report

        embedders = None
        if embedder is not None:
            from steer.metrics.diversity.diversity import sentence_transformer

            embedders = {"sentences": sentence_transformer(embedder)}
        for place, run in enumerate(loaded):
            try:
                evaluation_set = yardstick_of(vectors_of(run, with_model), positive, background, seed)
                made.append(
                    report(
                        run, evaluation_set=evaluation_set, model=with_model, embedders=embedders, seed=seed,
                        progress=_said_of(runs[place] if len(runs) > 1 else "", progress),
                    )
                )  # fmt: skip
            except SteerError as error:
                raise type(error)(f"{quote(runs[place])}: {error}") from error
        if where is not None:
            from steer.reports.html.page import page

            progress("writing the page")
            page_of = page(_named(runs, loaded), made, model=with_model)
            write_atomically(where, page_of.encode(), force=force)
    if as_json:
        for path, each in zip(runs, made, strict=True):
            emit_json(json.dumps({"run": path, **each.to_dict()}))
    else:
        emit(one_report(runs[0], made[0]) if len(made) == 1 else many_reports(runs, made))
        for text in notes_by_run(runs, made):
            note(f"note: {text}")
        if is_terminal(sys.stdout):
            note("what each figure means: steer report --meanings")
    if where is not None:
        note(f"open {quote(where)} in a browser")


def _said_of(path: str, progress: Progress) -> Callable[[str, int, int], None]:
    """Return progress that says of which run it is, where there are several."""
    return lambda what, done, total: progress(f"{path}: {what}" if path else what, done, total)


def _page_place(html: str, force: bool) -> "Path":
    """Return where a page can go, or say why not, before anything is measured for it.

    Raises:
        InputError: a name that is not a page's, so that no run is written over.
        OutputError: a file that exists (unless `force`) or cannot be written.
    """
    if not html.lower().endswith((".html", ".htm")):
        raise InputError(f"--html is {quote(html)}: end its name with .html")
    return check_output_path(html, force=force, hint="pass --force to replace it")


def _named(paths: Sequence[str], loaded: Sequence["SampleSet"]) -> dict[str, "SampleSet"]:
    """Return runs by their paths; one that comes twice is numbered."""
    found: dict[str, SampleSet] = {}
    for at, (path, run) in enumerate(zip(paths, loaded, strict=True), 1):
        found[path if path not in found else f"{path} ({at})"] = run
    return found
