"""From labelled texts to a concept for every label, in one reading of the texts."""

from collections.abc import Collection, Sequence
from typing import Literal

from vectors.activations.contrast_moments import contrast_moments
from vectors.activations.pooling import Pool, check_pool
from vectors.activations.text_activations import check_texts
from vectors.common.errors import InputError
from vectors.common.progress import ProgressOption, count_progress, progress_callback, with_progress_bars
from vectors.common.validation import check_integer, quote
from vectors.concepts.vector import ConceptVector
from vectors.data.contrast import check_share
from vectors.data.labels import contrast_of_label, held_out_mask, label_matrix
from vectors.extraction.extract import layers_for
from vectors.extraction.extract_jointly import extract_together
from vectors.extraction.extraction_input import ExtractionInput
from vectors.extraction.layer_selection import Sides, find, select_layer
from vectors.extraction.methods import METHODS
from vectors.model.positions import check_positions
from vectors.model.residual_model import ResidualModel

SECOND = {"mean-difference": False, "pca": True, "pca-centred": True, "lda": True}
"""Methods that need moments alone, and whether the second ones."""


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
    held_out: float = 0.25,
    seed: int = 0,
    progress: ProgressOption = None,
) -> dict[str, ConceptVector]:
    """Find the direction of every concept that the labels name; a concept's background are the texts without it.

    By `learned`, all are learned together, so that they work in each other's company (see `extract_together`). By the
    methods in `SECOND` the texts are read once for all concepts. Everything else is as in `extract`.

    Args:
        model: the model to look in.
        texts: texts of one world.
        labels: for each text, the concepts it has.
        method: `learned`, or one of `SECOND`.
        layer: 0-based block, or `auto`: by effect (see `extract`); a quarter of the depth for `learned`.
        positions: where the directions are added; by default as the method has it.
        pool: how a text's activations become one row.
        calibrate: find each unit by a pilot of samples.
        held_out: share of the texts kept from the directions.
        seed: of the split, the learning and the pilots.
        progress: called as the work goes on, or `True` for bars.

    Raises:
        InputError: texts and labels of unequal number, no label, a concept that too few texts have or lack, or a method
            that reads texts anew for each concept.
        VectorError: texts that look alike to the model.
    """
    if method == "learned":
        return extract_together(
            model, texts, labels, layer=None if layer == "auto" else layer, positions=positions, calibrate=calibrate,
            held_out=held_out, seed=seed, progress=progress,
        )  # fmt: skip
    if method not in SECOND:
        raise InputError(
            f"method {quote(method)} reads the texts anew for each concept: choose from learned, {', '.join(SECOND)}, "
            "or extract one concept at a time"
        )
    check_pool(pool)
    bos, share, seed = model.bos_id is not None, check_share(held_out), check_integer(seed, "seed")
    if calibrate and not bos:
        raise InputError(f"model {model.name!r} has no start token for the pilots to begin with: pass calibrate=False")
    added_at = check_positions(positions or (METHODS[method].positions if bos else "all"), bos=bos)
    layers = layers_for(model, method, layer, choose=calibrate)
    names, has = label_matrix(texts, labels)
    check_texts(model, texts)
    out = held_out_mask(texts, names, has, share=share, seed=seed)
    tell = progress_callback(progress)
    fit, held = ([text for text, kept in zip(texts, out, strict=True) if kept == wanted] for wanted in (False, True))
    more = count_progress(tell, "reading texts", len(fit))
    found = contrast_moments(model, fit, has[~out], layers, second=SECOND[method], pool=pool, progress=more)
    made = {}
    for column, name in enumerate(names):
        tell(f"measuring {name}", column, len(names))
        material = ExtractionInput(
            model=model, fit=contrast_of_label(fit, has[~out, column]), layers=tuple(layers),
            positions=added_at, pool=pool, seed=seed, tell=tell, given=found[column],
        )  # fmt: skip
        seen = Sides(
            whole=contrast_of_label(texts, has[:, column]), held=contrast_of_label(held, has[out, column]),
            share=share, seed=seed,
        )  # fmt: skip
        made[name] = select_layer(
            name,
            find(material, method),
            material,
            seen,
            by_effect=layer == "auto" and calibrate,
            several=False,
            calibrated=calibrate,
            stability=False,  # it would read the texts anew for each concept
        )
    return made
