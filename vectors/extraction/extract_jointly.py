"""From labelled texts to several concepts, learned together so that they work in each other's company."""

from collections.abc import Collection, Sequence
from dataclasses import replace

from torch import Tensor

from vectors.activations.contrast_moments import contrast_moments
from vectors.activations.layer_auc import auc_by_concept_and_layer, layers_over_depth
from vectors.activations.text_activations import check_texts
from vectors.calibration.calibrate import calibrate as calibrated
from vectors.calibration.companions import in_company
from vectors.common.errors import InputError
from vectors.common.progress import ProgressOption, count_progress, progress_callback, with_progress_bars
from vectors.common.validation import check_integer
from vectors.concepts.vector import ConceptVector
from vectors.data.contrast import ContrastSet, check_share, pick_texts
from vectors.data.labels import contrast_of_label, held_out_mask, label_matrix
from vectors.extraction.diagnostics import Row, evidence, held_out_auc
from vectors.extraction.learned_shift import learn, steps_for
from vectors.extraction.linear import unit
from vectors.extraction.methods import LEARNED_DEPTH
from vectors.model.positions import check_positions
from vectors.model.residual_model import ResidualModel

RANKED = 96
"""Held-out texts of each side that a concept's AUC is measured on, at most."""


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
    """Find the directions of all concepts that the labels name, in one go over texts that say which of them they have.

    Directions that are learned each by itself crowd each other out when they are added up; these were learned in each
    other's company. Everything else is as in `extract` with `method="learned"`; a concept's background are the texts
    without it.

    Args:
        model: the model to look in.
        texts: texts of one world.
        labels: for each text, the concepts it has.
        layer: 0-based block; by default a quarter of the depth.
        positions: where the directions are added; by default `bos`, or `all` for a model without a start token.
        calibrate: find each unit by a pilot of samples that carry others of the concepts too, as the texts with it do;
            else dose 1 stands for the length that was learned.
        held_out: share of the texts kept from the directions, for the AUC and for the pilot's judge.
        seed: of the split, the learning and the pilots.
        steps: how long to learn; by default longer for more concepts.
        progress: called as the work goes on, or `True` for bars.

    Raises:
        InputError: texts and labels of unequal number, no label, or a concept that too few texts have or lack.
    """
    names, has = label_matrix(texts, labels)
    bos = model.bos_id is not None
    if calibrate and not bos:
        raise InputError(f"model {model.name!r} has no start token for the pilots to begin with: pass calibrate=False")
    added_at = check_positions(positions or ("bos" if bos else "all"), bos=bos)
    at = model.check_layer(int(model.n_layers * LEARNED_DEPTH) if layer is None else layer)
    whole_sets = {name: contrast_of_label(texts, has[:, column]) for column, name in enumerate(names)}
    check_texts(model, texts)
    share, seed = check_share(held_out), check_integer(seed, "seed")
    out = held_out_mask(texts, names, has, share=share, seed=seed)
    tell = progress_callback(progress)
    total = steps_for(len(names)) if steps is None else steps
    more = count_progress(tell, f"learning {len(names)} concepts at layer {at}", total)
    fit = [text for text, held in zip(texts, out, strict=True) if not held]
    shifts = learn(model, fit, has[~out], at, positions=added_at, seed=seed, steps=total, progress=more)
    kept_out = [text for text, held in zip(texts, out, strict=True) if held]
    layers = sorted({at, *layers_over_depth(model.n_layers)})
    found = contrast_moments(model, fit, has[~out], layers, progress=count_progress(tell, "reading texts", len(fit)))
    read = auc_by_concept_and_layer(model, found, kept_out, has[out], seed=seed)
    made = {}
    for column, name in enumerate(names):
        tell(f"measuring {name}", column, len(names))
        held = contrast_of_label(kept_out, has[out, column])
        row = _row(model, held, at, shifts[column], positions=added_at, seed=seed)
        vector = ConceptVector(
            name=name,
            model=model.name,
            model_hash=model.hash,
            layer=at,
            direction=unit(shifts[column], what=f"the shift learned for {name!r}").float(),
            mean=found[column][at].background.mean.float(),
            gap=float(shifts[column].norm()),
            method="learned-together",
            positions=added_at,
            contrast_hash=whole_sets[name].hash,
            held_out=share,
            split_seed=seed,
            n_positive=len(whole_sets[name].positive),
            n_background=len(whole_sets[name].background),
            auc=row.auc,
        )
        told = evidence(model, vector, whole_sets[name], [row], None, read=read[column])
        vector = replace(vector, evidence=told)
        if calibrate:
            beside = in_company(shifts, has[out], column, layer=at, seed=seed)
            vector = calibrated(model, vector, held, seed=seed, company=beside, balanced=True)
        made[name] = vector
    return made


def _row(model: ResidualModel, held: ContrastSet, layer: int, shift: Tensor, *, positions: str, seed: int) -> Row:
    """How well a shift ranks held-out texts by what it gains them."""
    some = [pick_texts(side, RANKED, seed) for side in (held.positive, held.background)]
    length = float(shift.norm())
    return held_out_auc(
        model, ContrastSet(some[0], some[1]), {layer: shift / length}, {layer: length}, True, positions=positions,
        pool="mean", seed=seed,
    )[layer]  # fmt: skip
