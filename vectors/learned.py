"""Directions learned by gradient: the shift that makes the positive texts likelier."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor
from torch.nn.functional import cross_entropy

from vectors.errors import ModelError
from vectors.model import ResidualModel
from vectors.positions import on_positions
from vectors.randomness import Stream, rng
from vectors.residual import capture, shifted

STEPS = 150
STEPS_MORE = 12  # for each concept more that is learned together with the first
BATCH = 48
ROWS = 16
"""Texts in a step for one concept; one more for each concept more, up to `BATCH`."""

RATE = 0.1
"""Adam's step for each coordinate, relative to the layer's root-mean-square activation."""

SEARCHED = 0.8
"""Largest radius that the shifts are learned to bear."""

DENIED = 0.25
"""Share of the rows that are texts without a concept, under its shift taken away."""

ALONE = 0.5
"""Share of those rows that nothing else is added to."""

_RIDGE = 1e-4  # on the Gram matrix, so that two concepts may be parallel on the way

_SCALE = 2.0**10  # of the loss: keeps half-precision gradients off zero, and Adam does not mind

MAX_TOKENS = 64
"""Tokens of each text that are learned from: what it is about shows in its first sentences, if not all in the first."""


def learn(
    model: ResidualModel,
    texts: Sequence[str],
    has: Bool[np.ndarray, "texts concepts"],
    layer: int,
    *,
    positions: str = "all",
    seed: int = 0,
    steps: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Float64[Tensor, "concepts d_model"]:
    """Return a shift a concept at `layer`, which composed most raise the likelihood of the texts that have them.

    Adam from near zero on the mean negative log-likelihood per token. Each row of a batch is a text that has a concept
    drawn at random, under the shift of that concept composed with those of any others it has, each with probability
    one half, and pushed off in a direction of its own as a radius would: what is learned works alone, in company and
    in a search. A share of the rows are texts without the concept drawn, under its shift taken away: nothing else says
    what a negative dose does, and some would bring the concept on. A text's end counts as a token where the model has
    an end token, so that a shift does not unlearn stopping.
    Source: Subramani et al., "Extracting latent steering vectors" (2022), with one vector for many texts.

    Raises:
        InputError: a layer the model does not have.
        ModelError: likelihoods that are not finite.
    """
    model.check_layer(layer)
    ranked = sorted(range(len(texts)), key=lambda place: texts[place])  # the order in a file means nothing
    owners, others = (
        [[place for place in ranked if has[place, concept] == having] for concept in range(has.shape[1])]
        for having in (True, False)
    )
    order = rng(seed, layer, Stream.FIT)
    some = _rows(model, [texts[place] for place in ranked[:BATCH]])
    rate = RATE * _scale(model, some, layer)
    shifts = _normal(order, has.shape[1], model).mul_(rate).requires_grad_(True)
    adam = torch.optim.Adam([shifts], lr=rate, betas=(0.9, 0.98))
    steps = steps_for(len(owners)) if steps is None else steps
    batch = min(BATCH, ROWS + len(owners) - 1)
    for step in range(steps):
        adam.param_groups[0]["lr"] = rate * (1 - step / steps)
        concepts = order.integers(len(owners), size=batch)
        denied = np.array([bool(others[concept]) for concept in concepts]) & (order.random(batch) < DENIED)
        pools = [(others if no else owners)[concept] for concept, no in zip(concepts, denied, strict=True)]
        places = [pool[order.integers(len(pool))] for pool in pools]
        beside = np.where(denied & (order.random(batch) < ALONE), 0.0, 0.5)[:, None]
        told = (has[places] & (order.random((batch, len(owners))) < beside)).astype(np.int64)
        told[np.arange(batch), concepts] = np.where(denied, -1, 1)
        rows = _rows(model, [texts[place] for place in places])
        with torch.enable_grad():
            added = composed(shifts, torch.from_numpy(told).to(shifts.device))
            radii = torch.from_numpy(order.random((batch, 1)) * SEARCHED).to(added)
            added = added + radii * _outward(added.detach(), _normal(order, batch, model))
            with shifted(model, {layer: on_positions(added, max(map(len, rows)), 1, positions)}):
                loss = _loss(model, rows)
            _check_finite(model, layer, loss.item())
            # not backward(): it would fill .grad of the caller's weights
            (shifts.grad,) = torch.autograd.grad(_SCALE * loss, [shifts])
        adam.step()
        if progress:
            progress(1)
    return shifts.detach().cpu().double()


def composed(
    shifts: Float[Tensor, "concepts d_model"], told: Int64[Tensor, "rows concepts"]
) -> Float[Tensor, "rows d_model"]:
    """Return for each row the smallest shift whose projection on each told concept is that concept's own shift.

    A concept is told with 1, taken away with -1, and left alone with 0.

    >>> composed(torch.tensor([[1.0, 0.0], [1.0, 1.0]]), torch.tensor([[1, 1], [-1, 0]])).round(decimals=2).tolist()
    [[1.0, 1.0], [-1.0, 0.0]]
    """
    inside = (told != 0).to(shifts)
    lengths = shifts.norm(dim=1).clamp(min=torch.finfo(shifts.dtype).tiny)
    directions = shifts / lengths[:, None]
    gram = inside[:, :, None] * (directions @ directions.T) * inside[:, None, :]
    rest = torch.diag_embed(1 - inside + _RIDGE)
    weights = torch.linalg.solve(gram + rest, (told * lengths)[:, :, None])[:, :, 0]
    added: Tensor = weights @ directions
    return added


def steps_for(concepts: int) -> int:
    """Return how many steps so many concepts are learned in."""
    return STEPS + STEPS_MORE * (concepts - 1)


def gains(
    model: ResidualModel, texts: Sequence[str], *, layer: int, shift: Float64[Tensor, " d_model"], positions: str
) -> list[float]:
    """Return by how many nats the shift makes the beginning of each text likelier.

    Raises:
        InputError: a layer the model does not have.
        ModelError: likelihoods that are not finite.
    """
    found = []
    for start in range(0, len(texts), BATCH):
        rows = _rows(model, texts[start : start + BATCH])
        spread = on_positions(shift.float().expand(len(rows), -1), max(map(len, rows)), 1, positions)
        with torch.no_grad():
            without = _losses(model, rows)
            with shifted(model, {layer: spread}):
                gained = (without - _losses(model, rows)).sum(dim=1).tolist()
        _check_finite(model, layer, sum(gained))
        found += gained
    return found


def _check_finite(model: ResidualModel, layer: int, nats: float) -> None:
    if not math.isfinite(nats):
        raise ModelError(
            f"model {model.name!r} gives texts no finite likelihood under a shift at layer {layer}: load it in float32"
        )


def _rows(model: ResidualModel, texts: Sequence[str]) -> list[list[int]]:
    """Texts as ids, cut at `MAX_TOKENS`; those that are not cut close with the end token."""
    longest = min(MAX_TOKENS, model.max_context - 1)
    end = sorted(model.eos_ids)[:1]
    encoded = model.encode(texts, max_tokens=longest + 1)
    return [[*ids, *end] if len(ids) <= longest else list(ids[:longest]) for ids in encoded]


def _loss(model: ResidualModel, rows: Sequence[Sequence[int]]) -> Tensor:
    """Mean negative log-likelihood in nats per predicted token."""
    return _losses(model, rows).sum() / sum(len(row) - 1 for row in rows)


def _losses(model: ResidualModel, rows: Sequence[Sequence[int]]) -> Tensor:
    """Negative log-likelihood of every predicted token, 0 where there is none."""
    batch = model.batch(rows)
    logits = model.hf(**batch, use_cache=False).logits[:, :-1].float()
    targets = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)[:, 1:]
    return cross_entropy(logits.transpose(1, 2), targets, ignore_index=-100, reduction="none")


def _outward(shifts: Tensor, drawn: Tensor) -> Tensor:
    """Return what was drawn at right angles to each shift, as long as the shift."""
    lengths = shifts.norm(dim=1, keepdim=True)
    along = shifts / lengths
    rest = drawn - (drawn * along).sum(dim=1, keepdim=True) * along
    pushes: Tensor = rest / rest.norm(dim=1, keepdim=True) * lengths
    return pushes


def _normal(order: np.random.Generator, rows: int, model: ResidualModel) -> Tensor:
    return torch.from_numpy(order.standard_normal((rows, model.d_model), dtype=np.float32)).to(model.device)


def _scale(model: ResidualModel, rows: Sequence[Sequence[int]], layer: int) -> float:
    batch = model.batch(rows)
    with torch.no_grad(), capture(model, [layer]) as read:
        model.hf(**batch, use_cache=False, **model.last_only)
    hidden = read[layer].float().square().mean(dim=-1).sqrt()[batch["attention_mask"].bool()]
    return float(np.median(hidden.cpu().numpy()))
