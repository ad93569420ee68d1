"""Saved runs as the commands read them: their samples, their model, and what texts on files say they were to be."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from cli.options.model_options import open_model
from cli.terminal.progress import Progress
from vectors.common.errors import InputError
from vectors.common.validation import quote

if TYPE_CHECKING:
    from steer.judges.evaluation_set import EvaluationSet
    from steer.runs.sample_set import SampleSet
    from vectors.concepts.vector import ConceptVector
    from vectors.model.residual_model import ResidualModel

Run = Annotated[str, typer.Argument(metavar="RUN", help="A file that `steer compose -o` wrote.")]
Positive = Annotated[
    str | None, typer.Option(metavar="FILE", help="Texts that have what was asked for: to judge by, and as real ones.")
]
Background = Annotated[str | None, typer.Option(metavar="FILE", help="Texts that need not have it, to judge by.")]
Seed = Annotated[int, typer.Option(metavar="S", help="Of intervals, judges and permutations.")]


def read_run(path: str) -> "SampleSet":
    """Return the samples of a file.

    Raises:
        InputError: no such file, or one that holds no samples, fewer than two, or those of several runs.
    """
    from steer.runs.sample_set import SampleSet

    found = SampleSet.load(path)
    if len(found) < 2:
        raise InputError(f"{quote(path)} holds {len(found)} samples: figures need at least two")
    try:
        found.check_one_run()
    except InputError as error:
        raise InputError(f"{quote(path)}: {error}; give one run a file") from error
    return found


def model_of(
    runs: list["SampleSet"], name: str | None, device: str | None, dtype: str | None, trust: bool, progress: Progress
) -> "ResidualModel | None":
    """Load the model that was named, or the embedded one where every run is of it; else none."""
    from vectors.common.paths import EMBEDDED_NAME

    if name is None and any(run[0].model != EMBEDDED_NAME for run in runs):
        return None
    return open_model(name, device, dtype, trust, progress)


def vectors_of(run: "SampleSet", model: "ResidualModel | None") -> "tuple[ConceptVector, ...]":
    """Return the vectors that a run was steered by, where there is a model to find them for."""
    from steer.sampling.replay import point_of

    point = None if model is None else point_of(model, run)
    return () if point is None else point.vectors


def yardstick_of(
    vectors: "Sequence[ConceptVector]", positive: str | None, background: str | None, seed: int
) -> "EvaluationSet | None":
    """Return what texts on files say that a run by these vectors is to be, or None.

    Raises:
        InputError: one file without the other, or too few texts that the directions have not seen.
    """
    if positive is None and background is None:
        return None
    if positive is None or background is None:
        raise InputError("a judge needs texts of both kinds: give --positive and --background")
    from steer.judges.evaluation_set import labelled_evaluation_set
    from vectors.data.text_files import read_texts

    return labelled_evaluation_set(read_texts(positive), read_texts(background), vectors=vectors, seed=seed)


def check_pictures(pictures: Sequence[str | None], theme: str, force: bool) -> None:
    """Refuse pictures that could not be drawn, before anything is sampled for them."""
    from pathlib import Path

    from vectors.common.files import check_output_path

    wanted = [picture for picture in pictures if picture is not None]
    if theme not in ("light", "dark"):
        raise InputError(f"--theme is {quote(theme)}: choose light or dark")
    for picture in wanted:
        if Path(picture).suffix.lower() not in (".png", ".svg", ".pdf"):
            raise InputError(f"{quote(picture)} is no picture: end its name with .png, .svg or .pdf")
        check_output_path(picture, force=force, hint="pass --force to replace it")
    if len(set(map(Path, wanted))) < len(wanted):
        raise InputError(f"two pictures are both {quote(wanted[0])}: give each a file of its own")
