"""Options about saved runs: read samples, load their model, and read texts to judge them by."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from cli.options.model_options import open_model
from cli.options.text_options import TextOptions, both_sides
from cli.terminal.output import note
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
    str | None,
    typer.Option(metavar="FILE", help="Real texts with what was steered: for the judge, and to compare with."),
]
Background = Annotated[str | None, typer.Option(metavar="FILE", help="Real texts without it or mixed, for the judge.")]
Seed = Annotated[int, typer.Option(metavar="S", help="Seed of intervals, judges and permutations.")]


def read_run(path: str) -> "SampleSet":
    """Return the samples of a file.

    Raises:
        InputError: no such file, fewer than two samples, or samples of several runs.
    """
    from steer.runs.sample_set import SampleSet

    samples = SampleSet.load(path)
    if len(samples) < 2:
        rest = ", and an incomplete last line" if samples.torn else ""
        raise InputError(
            f"{quote(path)} holds {len(samples)} sample{'' if len(samples) == 1 else 's'}{rest}: metrics need at least "
            "two; `steer compose ... --resume` goes on with an interrupted run"
        )
    if samples.torn:
        note(f"note: {quote(path)} ends in an incomplete line, which is left out")
    try:
        samples.check_one_run()
    except InputError as error:
        raise InputError(f"{quote(path)}: {error}; write each run to its own file") from error
    return samples


def model_of(
    runs: list["SampleSet"], name: str | None, device: str | None, dtype: str | None, trust: bool, progress: Progress,
    base: str | None = None,
) -> "ResidualModel | None":  # fmt: skip
    """Load the named model; without a name, the embedded one if all runs are of it, else return None."""
    from vectors.common.paths import EMBEDDED_NAME

    if name is None and any(run[0].model != EMBEDDED_NAME for run in runs):
        return None
    return open_model(name, device, dtype, trust, progress, base)


def vectors_of(run: "SampleSet", model: "ResidualModel | None") -> "tuple[ConceptVector, ...]":
    """Return the vectors that steered a run; none without a model."""
    from steer.sampling.replay import point_of

    point = None if model is None else point_of(model, run)
    return () if point is None else point.vectors


JudgeTexts = tuple[tuple[str, ...], tuple[str, ...]]
"""Real texts with what was steered, and without it or mixed."""


def judge_texts(
    positive: str | None, background: str | None, reading: TextOptions, model: "ResidualModel | None"
) -> JudgeTexts | None:
    """Read the texts that a judge is fit on; None if there are no files.

    Raises:
        InputError: one file without the other, or files that cannot be read.
    """
    if positive is None and background is None:
        return None
    if positive is None or background is None:
        raise InputError("a judge needs texts of both kinds: give --positive and --background")
    return both_sides(positive, background, reading, model)


def evaluation_set_of(
    vectors: "Sequence[ConceptVector]", texts: JudgeTexts | None, seed: int
) -> "EvaluationSet | None":
    """Return an evaluation set from the texts of a judge, or None if there are none.

    Raises:
        InputError: too few texts that the vectors were not learned from.
    """
    if texts is None:
        return None
    from steer.judges.evaluation_set import labelled_evaluation_set

    return labelled_evaluation_set(*texts, vectors=vectors, seed=seed)


def check_pictures(pictures: Sequence[str | None], theme: str, force: bool) -> None:
    """Refuse pictures that cannot be written, before anything is sampled."""
    from pathlib import Path

    from vectors.common.files import check_output_path

    wanted = [picture for picture in pictures if picture is not None]
    if theme not in ("light", "dark"):
        raise InputError(f"--theme is {quote(theme)}: choose light or dark")
    for picture in wanted:
        if Path(picture).suffix.lower() not in (".png", ".svg", ".pdf"):
            raise InputError(f"{quote(picture)} is not a picture: end its name with .png, .svg or .pdf")
        check_output_path(picture, force=force, hint="pass --force to replace it")
    if len(set(map(Path, wanted))) < len(wanted):
        raise InputError(f"two pictures are both {quote(wanted[0])}: give each its own file")
