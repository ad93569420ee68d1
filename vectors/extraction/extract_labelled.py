"""Extract a vector for each label of labelled texts, reading the texts once for all of them."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Literal

from vectors.activations.contrast_moments import contrast_moments
from vectors.activations.pooling import Pool
from vectors.common.errors import InputError
from vectors.common.option_names import CONTEST_METHODS
from vectors.common.progress import ProgressOption, count_progress, progress_callback, with_progress_bars
from vectors.common.validation import quote
from vectors.concepts.vector import ConceptVector
from vectors.data.labels import contrast_of_label, contrasts_of_labels
from vectors.extraction.extract import extract, layers_for
from vectors.extraction.extract_jointly import extract_together
from vectors.extraction.extraction_input import ExtractionInput, check_options, split_labelled_texts
from vectors.extraction.layer_selection import find_directions, select_layer
from vectors.extraction.methods import METHODS
from vectors.model.residual_model import ResidualModel

SECOND = {"mean-difference": False, "pca": True, "pca-centred": True, "lda": True}
"""Methods that need the moments of the texts only, and whether they need second moments."""


@with_progress_bars
def extract_each(
    model: ResidualModel,
    texts: Sequence[str],
    labels: Sequence[Collection[str]],
    *,
    method: str = "learned",
    layer: int | Literal["auto"] = "auto",
    positions: str | None = None,
    pool: Pool = "mean",
    calibrate: bool = True,
    budget: str | None = None,
    held_out: float = 0.25,
    seed: int = 0,
    checkpoint: Path | None = None,
    progress: ProgressOption = None,
) -> dict[str, ConceptVector]:
    """Extract the vector of every concept in the labels; the background of a concept are the texts without it.

    With `learned`, the shifts of all concepts are learned together, so that they work in combination (see
    `extract_together`). With the methods in `SECOND`, the texts are read once for all concepts. With `auto` and
    `distilled`, each concept has a contest of its own. Everything else is as in `extract`.

    Args:
        model: the model to steer.
        texts: texts of the same kind.
        labels: for each text, the concepts it has.
        method: `learned`, `auto`, `distilled`, or one of `SECOND`.
        layer: 0-based block, or `auto`: by effect (see `extract`); a quarter of the depth for `learned`.
        positions: where the directions are added; by default as the method has it.
        pool: how the activations of a text become one row.
        calibrate: find each unit with a pilot of samples.
        budget: of each contest.
        held_out: share of the texts that is held out.
        seed: of the split, the learning and the pilots.
        checkpoint: folder of the finished parts of the contests.
        progress: called as the work goes on, or `True` for progress bars.

    Returns:
        The vectors by name.

    Raises:
        InputError: texts and labels of unequal number, no label, a concept that too few texts have or lack, or a method
            that reads the texts again for each concept.
        VectorError: texts of both sides that look alike to the model.
    """
    if method == "learned":
        return extract_together(
            model, texts, labels, layer=None if layer == "auto" else layer, positions=positions, calibrate=calibrate,
            held_out=held_out, seed=seed, progress=progress,
        )  # fmt: skip
    if method in CONTEST_METHODS:
        return {
            name: extract(
                model, name, positive=side.positive, background=side.background, method=method, layer=layer,
                positions=positions, pool=pool, calibrate=calibrate, budget=budget, held_out=held_out, seed=seed,
                checkpoint=None if checkpoint is None else checkpoint / name, progress=progress,
            )
            for name, side in contrasts_of_labels(texts, labels)
        }  # fmt: skip
    if method not in SECOND:
        raise InputError(
            f"method {quote(method)} reads the texts anew for each concept: choose from learned, {', '.join(SECOND)}, "
            "or extract one concept at a time"
        )
    positions = check_options(
        model, calibrate=calibrate, positions=positions, default_positions=METHODS[method].positions, pool=pool
    )
    layers = layers_for(model, method, layer, choose=calibrate)
    labelled = split_labelled_texts(model, texts, labels, held_out=held_out, seed=seed)
    fit, has = labelled.fit
    report = progress_callback(progress)
    moments = contrast_moments(
        model, labelled.rows(fit), has, layers, second=SECOND[method], pool=pool,
        progress=count_progress(report, "reading texts", len(fit)),
    )  # fmt: skip
    vectors = {}
    advance = count_progress(
        report, "selecting layers and units" if calibrate else "selecting layers", len(labelled.names)
    )
    advance(0)
    for column, name in enumerate(labelled.names):
        data = ExtractionInput(
            model=model, fit=contrast_of_label(fit, has[:, column]), tokens=labelled.tokens, layers=tuple(layers),
            positions=positions, pool=pool, seed=labelled.seed, known_moments=moments[column],
        )  # fmt: skip
        vectors[name] = select_layer(
            name,
            find_directions(data, method),
            data,
            labelled.split(column),
            by_effect=layer == "auto" and calibrate,
            several=False,
            calibrated=calibrate,
            stability=False,  # it would read the texts again for each concept
        )
        advance(1)
    return vectors
