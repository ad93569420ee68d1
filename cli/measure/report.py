"""`steer report`: the figures of saved runs, in the terminal, as JSON, and as a page."""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from cli.options.model_options import Base, Device, Dtype, Json, Model, Trust
from cli.options.run_options import (
    Background,
    Positive,
    Seed,
    evaluation_set_of,
    judge_texts,
    model_of,
    read_run,
    vectors_of,
)
from cli.options.text_options import TextOptions, with_text_options
from cli.terminal.output import emit, emit_json, is_terminal, note, width, wrap
from cli.terminal.progress import Progress
from cli.terminal.report_tables import report_table, several_reports_table, summary_block
from vectors.common.errors import InputError, SteerError
from vectors.common.files import check_output_path, write_atomically
from vectors.common.validation import MAX_SEED, check_integer, quote

if TYPE_CHECKING:
    from pathlib import Path

    from steer.runs.sample_set import SampleSet


def _meanings(wanted: bool) -> None:
    """Print what each figure means, and exit."""
    if not wanted:
        return
    from steer.reports.glossary import LABELS, NAMES, meaning

    size = max(map(len, NAMES))
    for name in NAMES:
        shown_as = f"(shown as: {LABELS[name]}) " if name in LABELS else ""
        first, *rest = wrap(f"{shown_as}{meaning(name)}", max(20, width() - size - 2)).split("\n")
        emit("\n".join([f"{name:<{size}}  {first}", *(" " * (size + 2) + line for line in rest)]))
    raise typer.Exit


Runs = Annotated[list[str], typer.Argument(metavar="RUN...", help="Files that `steer compose -o` wrote.")]
Html = Annotated[str | None, typer.Option(metavar="FILE", help="Also write a page for a browser, with every text.")]
Force = Annotated[bool, typer.Option("--force", help="Replace an existing page.")]
Meanings = Annotated[
    bool,
    typer.Option("--meanings", is_eager=True, callback=_meanings, help="Say what each figure means, and exit."),
]
Embedder = Annotated[
    str | None, typer.Option(metavar="NAME", help="Also compare texts by a sentence-transformers model.")
]


@with_text_options
def command(
    runs: Runs,
    positive: Positive = None,
    background: Background = None,
    reading: TextOptions = TextOptions(),  # noqa: B008 (frozen)
    embedder: Embedder = None,
    html: Html = None,
    force: Force = False,
    seed: Seed = 0,
    model: Model = None,
    base: Base = None,
    device: Device = None,
    dtype: Dtype = None,
    trust_remote_code: Trust = False,
    as_json: Json = False,
    meanings: Meanings = False,
) -> None:
    """Print the figures of saved runs: success, diversity, typicality, pressure, and what else moved.

    Four figures and one sentence come first; the others take about a minute. A run of the embedded model is judged by
    the world that it learned. For other models give --model, and texts with what you asked for and texts without: the
    ones that the concepts were extracted from (the judge uses the quarter that extraction held out), or others.
    """
    check_integer(seed, "--seed", high=MAX_SEED)
    page_path = None if html is None else _page_path(html, force)
    samples = [read_run(path) for path in runs]
    reports = []
    with Progress() as progress:
        progress("computing the first figures")
        needs_vectors = positive is not None or background is not None  # the judge must not see their texts
        opened = (
            None if not needs_vectors else model_of(samples, model, device, dtype, trust_remote_code, progress, base)
        )
        from steer.reports.report import first_figures, notes_by_run, report
        from steer.reports.summary import summarise

        texts = judge_texts(positive, background, reading, opened)
        evaluation_sets = []
        for path, run in zip(runs, samples, strict=True):
            with _naming(path):
                evaluation_set = evaluation_set_of(vectors_of(run, opened), texts, seed)
                first = first_figures(run, evaluation_set=evaluation_set, seed=seed)
            evaluation_sets.append(first.evaluation_set)
            if not as_json:
                progress.clear()
                emit(summary_block(path, len(run), summarise(run, first)) + "\n")
        if not needs_vectors:
            opened = model_of(samples, model, device, dtype, trust_remote_code, progress, base)
        embedders = None
        if embedder is not None:
            from steer.metrics.diversity.diversity import sentence_transformer

            embedders = {"sentences": sentence_transformer(embedder)}
        for path, run, evaluation_set in zip(runs, samples, evaluation_sets, strict=True):
            with _naming(path):
                reports.append(
                    report(
                        run, evaluation_set=evaluation_set, model=opened, embedders=embedders, seed=seed,
                        progress=_progress_of(path if len(runs) > 1 else "", progress),
                    )
                )  # fmt: skip
        if page_path is not None:
            from steer.reports.html.page import page

            progress("writing the page")
            content = page(_unique_names(runs, samples), reports, model=opened)
            write_atomically(page_path, content.encode(), force=force)
    if as_json:
        for path, each in zip(runs, reports, strict=True):
            emit_json(json.dumps({"run": path, **each.to_dict()}))
    else:
        emit(report_table(reports[0]) if len(reports) == 1 else several_reports_table(reports))
        for text in notes_by_run(runs, reports):
            note(f"note: {text}")
        if len(reports) > 1 and is_terminal(sys.stdout):
            note("what each figure means: steer report --meanings")
    if page_path is not None:
        note(f"open {quote(page_path)} in a browser")


@contextmanager
def _naming(path: str) -> Iterator[None]:
    """Put the path of a run in front of what is wrong with it."""
    try:
        yield
    except SteerError as error:
        raise type(error)(f"{quote(path)}: {error}") from error


def _progress_of(path: str, progress: Progress) -> Callable[[str, int, int], None]:
    """Return a progress callback that names the run, if there are several."""
    return lambda stage, done, total: progress(f"{path}: {stage}" if path else stage, done, total)


def _page_path(html: str, force: bool) -> "Path":
    """Return the path of the page, checked before anything is measured.

    Raises:
        InputError: a name that does not end with .html, so that no run is overwritten.
        OutputError: a file that exists (unless `force`) or cannot be written.
    """
    if not html.lower().endswith((".html", ".htm")):
        raise InputError(f"--html is {quote(html)}: end its name with .html")
    return check_output_path(html, force=force, hint="pass --force to replace it")


def _unique_names(paths: Sequence[str], samples: Sequence["SampleSet"]) -> dict[str, "SampleSet"]:
    """Return runs by their paths; a path that is given twice gets a number."""
    named: dict[str, SampleSet] = {}
    for number, (path, run) in enumerate(zip(paths, samples, strict=True), 1):
        named[path if path not in named else f"{path} ({number})"] = run
    return named
