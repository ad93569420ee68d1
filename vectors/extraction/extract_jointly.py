"""Extract the vectors of several concepts from labelled texts, learned together so that they work in combination."""

from collections.abc import Collection, Sequence
from dataclasses import replace

from torch import Tensor

from vectors.activations.contrast_moments import contrast_moments
from vectors.activations.layer_auc import auc_by_concept_and_layer, layers_over_depth
from vectors.calibration.calibrate import MAX_TOKENS
from vectors.calibration.calibrate import calibrate as calibrated
from vectors.calibration.companions import learned_companions
from vectors.calibration.word_judge import WordJudge
from vectors.common.progress import ProgressOption, count_progress, progress_callback, with_progress_bars
from vectors.concepts.vector import ConceptVector, passport_of
from vectors.data.contrast import ContrastSet, pick_texts
from vectors.extraction.diagnostics import LayerScore, evidence, held_out_auc
from vectors.extraction.extraction_input import ContrastSplit, LabelledTexts, check_options, split_labelled_texts
from vectors.extraction.linear import normalise
from vectors.extraction.methods import LEARNED_DEPTH, METHODS
from vectors.extraction.shifts.away_shift import with_away_shifts
from vectors.extraction.shifts.learned_shift import learn, steps_for
from vectors.model.residual_model import ResidualModel

RANKED = 96
"""Most held-out texts of each side that the AUC of a concept is measured on."""


@with_progress_bars
def extract_together(
    model: ResidualModel,
    texts: Sequence[str],
    labels: Sequence[Collection[str]],
    *,
    layer: int | None = None,
    positions: str | None = None,
    calibrate: bool = True,
    held_out: float = 0.25,
    seed: int = 0,
    steps: int | None = None,
    progress: ProgressOption = None,
) -> dict[str, ConceptVector]:
    """Learn the shifts of all concepts in the labels together.

    Shifts that are learned one by one interfere when they are added; these are learned in combination. Everything else
    is as in `extract` with `method="learned"`. The background of a concept are the texts without it.

    Args:
        model: the model to steer.
        texts: texts of the same kind.
        labels: for each text, the concepts it has.
        layer: 0-based block; by default a quarter of the depth.
        positions: where the shifts are added; by default `bos`, or `all` for a model without a start token.
        calibrate: find each unit with a pilot of samples that have other concepts too, as the texts do; otherwise
            dose 1 is the length that was learned.
        held_out: share of the texts that is held out for the AUC and for the judge of the pilot.
        seed: of the split, the learning and the pilots.
        steps: optimiser steps; by default more for more concepts.
        progress: called as the work goes on, or `True` for progress bars.

    Returns:
        The vectors by name.

    Raises:
        InputError: texts and labels of unequal number, no label, or a concept that too few texts have or lack.
    """
    positions = check_options(
        model, calibrate=calibrate, positions=positions, default_positions=METHODS["learned"].positions
    )
    layer = model.check_layer(int(model.n_layers * LEARNED_DEPTH) if layer is None else layer)
    labelled = split_labelled_texts(model, texts, labels, held_out=held_out, seed=seed)
    names, (fit, fit_has), (held, held_has) = labelled.names, labelled.fit, labelled.held_out
    report = progress_callback(progress)
    total = steps_for(len(names)) if steps is None else steps
    shifts = learn(
        model, fit, fit_has, layer, positions=positions, seed=labelled.seed, steps=total, tokens=labelled.tokens,
        progress=count_progress(report, f"learning {len(names)} concepts at layer {layer}", total),
    )  # fmt: skip
    layers = sorted({layer, *layers_over_depth(model.n_layers)})
    count = count_progress(report, "reading texts", len(fit))
    moments = contrast_moments(model, labelled.rows(fit), fit_has, layers, progress=count)
    auc_rows = auc_by_concept_and_layer(model, moments, labelled.rows(held), held_has, seed=labelled.seed)
    vectors = {}
    advance = count_progress(report, "measuring units" if calibrate else "measuring concepts", len(names))
    advance(0)
    for column, name in enumerate(names):
        split = labelled.split(column)
        score = _score(model, split, labelled, layer, shifts[column], positions)
        vector = ConceptVector(
            name=name,
            model=model.name,
            model_hash=model.hash,
            passport=passport_of(model),
            layer=layer,
            direction=normalise(shifts[column], what=f"the shift learned for {name!r}").float(),
            mean=moments[column][layer].background.mean.float(),
            gap=float(shifts[column].norm()),
            method="learned-together",
            positions=positions,
            contrast_hash=split.whole.hash,
            held_out=split.share,
            split_seed=split.seed,
            n_positive=len(split.whole.positive),
            n_background=len(split.whole.background),
            auc=score.auc,
        )
        facts = evidence(model, vector, split.whole, labelled.tokens, [score], None, auc_rows=auc_rows[column])
        vector = replace(vector, evidence=facts)
        if calibrate:
            company = learned_companions(shifts, held_has, column, layer=layer, seed=labelled.seed)
            vector = calibrated(model, vector, split.held_out, seed=labelled.seed, company=company, balanced=True)
            judge = WordJudge(split.held_out.positive, split.held_out.background)
            vector = with_away_shifts(model, vector, judge, max_tokens=MAX_TOKENS, seed=labelled.seed)
        vectors[name] = vector
        advance(1)
    return vectors


def _score(
    model: ResidualModel, split: ContrastSplit, labelled: LabelledTexts, layer: int, shift: Tensor, positions: str
) -> LayerScore:
    """How well a shift ranks held-out texts by how much more likely it makes them."""
    positive, background = (
        pick_texts(side, RANKED, split.seed) for side in (split.held_out.positive, split.held_out.background)
    )
    length = float(shift.norm())
    return held_out_auc(
        model, ContrastSet(positive, background), {layer: shift / length}, {layer: length}, True, labelled.tokens,
        positions=positions, pool="mean", seed=split.seed,
    )[layer]  # fmt: skip
