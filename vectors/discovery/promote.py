"""Turn a candidate of a discovery into a concept vector: its own direction, or a shift learned from its texts."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import torch
from jaxtyping import Float64
from torch import Tensor

from vectors.calibration.calibrate import calibrate as calibrated
from vectors.calibration.companions import find_companions
from vectors.common.errors import VectorError
from vectors.common.progress import ProgressOption, with_progress_bars
from vectors.common.validation import check_name
from vectors.concepts.vector import ConceptVector, passport_of
from vectors.discovery.candidates import Discovery
from vectors.extraction.extract import extract
from vectors.extraction.extraction_input import check_options
from vectors.model.residual_model import ResidualModel

HELD_OUT = 0.5
"""Fraction of the texts that the pilot's judge is fit on; the rest only measure the gap."""

LEARNING_HELD_OUT = 0.25
"""The same if a shift is learned from the rest."""


@with_progress_bars
def promote_candidate(
    model: ResidualModel,
    discovery: Discovery,
    number: int,
    name: str,
    *,
    away: bool = False,
    learn: bool = True,
    layer: int | Literal["auto"] = "auto",
    calibrate: bool = True,
    seed: int = 0,
    progress: ProgressOption = None,
) -> ConceptVector:
    """Return a candidate of a discovery as a concept vector.

    The tenth of the texts with the highest scores are the positives, all others the background, and a shift is learned
    from them as in `extract`. It steers far more reliably than the candidate's own direction, but differs from it.

    Without `learn` the direction is the candidate's filter, added at every position: it separates texts better than
    the part does and steers about as well (see benchmarks/RESULTS.md). The gap is the distance between the means of
    both groups of texts along it. There is no AUC, since the texts have no labels.

    Args:
        model: the model of the discovery.
        discovery: the candidates and their texts.
        number: of the candidate, from 1.
        name: of the concept.
        away: take the opposite of the candidate.
        learn: learn a shift from the texts by gradient descent instead of using the candidate's direction.
        layer: at which the shift is learned; by default three are tried.
        calibrate: find the unit by a pilot of samples, with a judge fit on held-out texts. If the pilot shows no
            effect, the vector says so and dose 1 is its gap.
        seed: of the split and of the pilot.
        progress: called with a description, the amount done and the total, or `True` for progress bars.

    Raises:
        InputError: no candidate of that number, too few texts in one of the groups, or a model without a start token
            that cannot be calibrated.
        VectorError: a discovery in another model, or a direction that does not separate the texts.

    >>> from itertools import islice
    >>> from vectors.almanac.world.author import stream
    >>> from vectors.discovery.discover import discover
    >>> from vectors.model.residual_model import load_model
    >>> model = load_model()
    >>> discovery = discover(model, [entry.text for entry in islice(stream(1), 48)], k=2)
    >>> vector = promote_candidate(model, discovery, 2, "stormy", learn=False, calibrate=False)
    >>> vector.method, vector.n_positive, vector.gap > 0
    ('discovered-ica', 5, True)
    """
    name = check_name(name)
    check_discovery(discovery, model)
    check_options(model, calibrate=calibrate)
    candidate, contrast = discovery.candidate(number), discovery.contrast(number, away=away)
    if learn:
        learned = extract(
            model,
            name,
            positive=contrast.positive,
            background=contrast.background,
            method="learned",
            layer=layer,
            calibrate=calibrate,
            held_out=LEARNING_HELD_OUT,
            seed=seed,
            progress=progress,
        )
        return replace(learned, method=f"learned-discovered-{discovery.method}")
    train, held_out = contrast.split(held_out=HELD_OUT, seed=seed)
    positive, background = (_mean_of(discovery, texts) for texts in (train.positive, train.background))
    direction = candidate.filter.double() * (-1 if away else 1)
    direction = direction / direction.norm()
    gap = float(direction @ (positive - background))
    if gap <= 0:
        raise VectorError(
            f"candidate {number} points away from its own texts (gap {gap:.3g}): keep another candidate, or discover "
            "with more texts"
        )
    vector = ConceptVector(
        name=name,
        model=model.name,
        model_hash=model.hash,
        passport=passport_of(model),
        layer=discovery.layer,
        direction=direction.float(),
        mean=background.float(),
        gap=gap,
        method=f"discovered-{discovery.method}",
        positions="all",
        contrast_hash=contrast.hash,
        held_out=HELD_OUT,
        split_seed=seed,
        n_positive=len(contrast.positive),
        n_background=len(contrast.background),
    )
    if not calibrate:
        return vector
    company = find_companions(model, vector, seed=seed)
    return calibrated(model, vector, held_out, seed=seed, progress=progress, company=company)


def _mean_of(discovery: Discovery, texts: Sequence[str]) -> Float64[Tensor, " d_model"]:
    chosen = set(texts)
    return discovery.means[torch.tensor([text in chosen for text in discovery.texts])].double().mean(dim=0)


def check_discovery(discovery: Discovery, model: ResidualModel) -> None:
    """Check that a discovery was made in this model.

    Raises:
        VectorError: another model, or a layer or width that the model does not have.
    """
    if discovery.model_hash != model.hash:
        raise VectorError(
            f"the discovery was made in model {discovery.model!r} (hash {discovery.model_hash[:8]!r}), not in "
            f"{model.name!r} (hash {model.hash[:8]!r}): run `steer discover` on this one"
        )
    if discovery.layer >= model.n_layers or discovery.means.shape[1] != model.d_model:
        raise VectorError(
            f"the discovery is of layer {discovery.layer} and width {discovery.means.shape[1]}, but model "
            f"{model.name!r} has layers 0 to {model.n_layers - 1} and width {model.d_model}: run `steer discover` again"
        )
