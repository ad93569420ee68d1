"""From a candidate of a discovery to a concept: the direction that reads it, or a learned shift, with a unit."""

from dataclasses import replace

import torch

from vectors.calibration.calibrate import calibrate as calibrated
from vectors.calibration.companions import find_companions
from vectors.common.errors import InputError, VectorError
from vectors.common.progress import ProgressOption, progress_callback, with_progress_bars
from vectors.common.validation import check_name
from vectors.concepts.vector import ConceptVector
from vectors.discovery.candidates import Discovery
from vectors.extraction.extract import extract
from vectors.model.residual_model import ResidualModel

HELD_OUT = 0.5
"""Share of the texts that the pilot's judge is fit on: no direction is fit on the others, only its gap read."""

HELD_FROM_LEARNING = 0.25
"""The same where the others are learned from."""


@with_progress_bars
def promote_candidate(
    model: ResidualModel,
    discovery: Discovery,
    number: int,
    name: str,
    *,
    away: bool = False,
    learn: bool = True,
    calibrate: bool = True,
    seed: int = 0,
    progress: ProgressOption = None,
) -> ConceptVector:
    """Return a candidate of a discovery as a concept.

    The tenth of the texts that has most of it counts as its texts, the rest as background, and from them a shift is
    learned as `extract` learns it: that steers far oftener than the direction that was found, but is another one.

    Without `learn` the direction is that of the candidate's filter, which tells texts apart better than its part does
    and steers about as well (see benchmarks/RESULTS.md), added at every position. The gap is how far the means of the
    two kinds of texts lie apart along it; there is no AUC, since which texts have the concept nobody has said.

    Args:
        model: the model that the discovery was made in.
        discovery: what was found.
        number: of the candidate, from 1.
        name: what expressions will call the concept.
        away: take the opposite of the candidate.
        learn: learn a shift from the texts by gradient; else the direction itself is kept.
        calibrate: find the unit by a pilot of samples, with a judge fit on texts kept from the direction; where the
            pilot shows no effect, the vector says so and dose 1 stands for its gap.
        seed: of the split and of the pilot.
        progress: called as the work goes on, or `True` for bars.

    Raises:
        InputError: no candidate of that number, too few texts on one side of it, or a model without a start token
            that is to be calibrated.
        VectorError: a discovery in another model, or texts that the direction does not tell apart.

    >>> from itertools import islice
    >>> from vectors.almanac.world.author import stream
    >>> from vectors.discovery.discover import discover
    >>> from vectors.model.residual_model import load_model
    >>> model = load_model()
    >>> found = discover(model, [made.text for made in islice(stream(1), 48)], k=2)
    >>> vector = promote_candidate(model, found, 2, "stormy", learn=False, calibrate=False)
    >>> vector.method, vector.n_positive, vector.gap > 0
    ('discovered-ica', 5, True)
    """
    name = check_name(name)
    check_made_in(discovery, model)
    if calibrate and model.bos_id is None:
        raise InputError(
            f"model {model.name!r} has no start token, so that no pilot can sample it without a prompt: pass "
            "calibrate=False (--no-calibrate)"
        )
    candidate, contrast = discovery.candidate(number), discovery.contrast(number, away=away)
    if learn:
        learned = extract(
            model,
            name,
            positive=contrast.positive,
            background=contrast.background,
            calibrate=calibrate,
            held_out=HELD_FROM_LEARNING,
            seed=seed,
            progress=progress,
        )
        return replace(learned, method=f"learned-discovered-{discovery.method}")
    fit, held = contrast.split(held_out=HELD_OUT, seed=seed)
    sides = [torch.tensor([text in set(side) for text in discovery.texts]) for side in (fit.positive, fit.background)]
    positive, background = (discovery.means[side].double().mean(dim=0) for side in sides)
    direction = candidate.filter.double() * (-1 if away else 1)
    direction = direction / direction.norm()
    gap = float(direction @ (positive - background))
    if gap <= 0:
        raise VectorError(
            f"candidate {number} points away from its own texts (gap {gap:.3g}): keep another, or discover with more "
            "texts"
        )
    vector = ConceptVector(
        name=name,
        model=model.name,
        model_hash=model.hash,
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
    tell = progress_callback(progress)
    return calibrated(
        model, vector, held, seed=seed, progress=lambda what: tell(what, 0, 0),
        company=find_companions(model, vector, seed=seed),
    )  # fmt: skip


def check_made_in(discovery: Discovery, model: ResidualModel) -> None:
    """Refuse a discovery that was made in another model, or says so wrongly.

    Raises:
        VectorError: naming both.
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
