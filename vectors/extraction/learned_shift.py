"""Directions learned by gradient: the shift that makes the positive texts likelier."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor
from torch.nn.functional import log_softmax

from vectors.activations.text_likelihood import (
    BATCH,
    batches,
    check_likelihood,
    count_predicted,
    encode_beginnings,
    losses,
    losses_and_logits,
    mean_loss,
)
from vectors.common.errors import InputError
from vectors.common.rng import Stream, rng
from vectors.common.validation import check_integer, check_number
from vectors.concepts.composition import compose_shifts
from vectors.model.hooks import read_layers, shift_layers
from vectors.model.positions import shift_by_position
from vectors.model.residual_model import ResidualModel

CHECKED = 10
"""Steps from one look at the texts kept aside to the next."""


@dataclass(frozen=True, kw_only=True)
class Learning:
    """How a shift is learned, other than by the likelihood of the texts that have its concept.

    Attributes:
        bound: length that no shift outgrows, as a multiple of the typical activation's at its layer; none if left out.
        background: what it costs to make texts without the concept likelier: nats for each nat.
        kl: what it costs to change what is written next in the texts that have it: nats for each nat of
            KL(shifted | base) per token.
        patience: looks at positives kept aside, one every ten steps, after which learning ends if none was better, and
            returns to the best; it never ends early with `None`, or where too few texts could be kept aside.

    Raises:
        InputError: a negative number, or a bound of 0.

    >>> Learning(kl=0.1).kl
    0.1
    """

    bound: float | None = None
    background: float = 0.0
    kl: float = 0.0
    patience: int | None = 3

    def __post_init__(self) -> None:
        """Check every number."""
        for name in ("background", "kl", *(["bound"] if self.bound is not None else [])):
            value = check_number(getattr(self, name), name)
            if value < 0 or (name == "bound" and not value):
                raise InputError(f"{name} is {value:g}: give {'more than' if name == 'bound' else 'at least'} 0")
        if self.patience is not None:
            check_integer(self.patience, "patience", low=1)


def objective(
    model: ResidualModel,
    rows: Sequence[Sequence[int]],
    layer: int,
    spread: Float[Tensor, "rows pos d_model"],
    how: Learning,
) -> Float[Tensor, ""]:
    """Return the mean nats per predicted token of some rows under their shifts, and what the shifts change besides."""
    with shift_layers(model, {layer: spread}):
        nats, logits = losses_and_logits(model, rows)
    loss = nats.sum() / count_predicted(rows)
    if not how.kl:
        return loss
    with torch.no_grad():
        base = log_softmax(losses_and_logits(model, rows)[1], dim=-1)
    now = log_softmax(logits, dim=-1)
    real = (nats != 0)[:, :, None]  # a padded position has no loss, and says nothing
    changed: Tensor = torch.where(real, now.exp() * (now - base), 0.0).sum() / count_predicted(rows)
    return loss + how.kl * changed


def background_gain(
    model: ResidualModel, rows: Sequence[Sequence[int]], layer: int, spread: Float[Tensor, "rows pos d_model"]
) -> Float[Tensor, ""]:
    """Return by how many nats per predicted token shifts make rows likelier; a row that gets less likely counts 0."""
    with torch.no_grad():
        without = losses(model, rows)
    with shift_layers(model, {layer: spread}):
        gained = (without - losses(model, rows)).sum(dim=1)
    return gained.clamp(min=0).sum() / count_predicted(rows)


STEPS = 150
STEPS_MORE = 12  # for each concept more that is learned together with the first
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

_SCALE = 2.0**10  # of the loss: keeps half-precision gradients off zero, and Adam does not mind

_BESIDE = 4  # one background row that must not get likelier for so many rows


def learn(
    model: ResidualModel,
    texts: Sequence[str],
    has: Bool[np.ndarray, "texts concepts"],
    layer: int,
    *,
    positions: str = "all",
    seed: int = 0,
    steps: int | None = None,
    how: Learning | None = None,
    aside: tuple[Sequence[str], Bool[np.ndarray, "aside concepts"]] | None = None,
    weights: Float64[np.ndarray, " texts"] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Float64[Tensor, "concepts d_model"]:
    """Return a shift a concept at `layer`, which composed most raise the likelihood of the texts that have them.

    Adam from near zero on the mean negative log-likelihood per token. Each row of a batch is a text that has a concept
    drawn at random, under the shift of that concept composed with those of any others it has, each with probability
    one half, and pushed off in a direction of its own as a radius would: what is learned works alone, in company and
    in a search. A share of the rows are texts without the concept drawn, under its shift taken away: nothing else says
    what a negative dose does, and some would bring the concept on. A text's end counts as a token where the model has
    an end token, so that a shift does not unlearn stopping.
    `how` adds to what is aimed at; with a `patience`, texts kept `aside` say when to end. A text of twice the weight is
    drawn twice as often.
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
    how = how or Learning()
    spared = rng(seed, layer, Stream.FIT, part=1)
    chances = [_chances(pool, weights) for pool in owners]
    typical = scale(model, [texts[place] for place in ranked[:BATCH]], layer)
    rate = RATE * typical
    best: tuple[float, Tensor] | None = None
    worse = 0
    shifts = _normal(order, has.shape[1], model).mul_(rate).requires_grad_(True)
    adam = torch.optim.Adam([shifts], lr=rate, betas=(0.9, 0.98))
    steps = steps_for(len(owners)) if steps is None else steps
    batch = min(BATCH, ROWS + len(owners) - 1)
    for step in range(steps):
        adam.param_groups[0]["lr"] = rate * (1 - step / steps)
        concepts = order.integers(len(owners), size=batch)
        denied = np.array([bool(others[concept]) for concept in concepts]) & (order.random(batch) < DENIED)
        places = [
            _drawn(others[concept], None, order) if no else _drawn(owners[concept], chances[concept], order)
            for concept, no in zip(concepts, denied, strict=True)
        ]
        beside = np.where(denied & (order.random(batch) < ALONE), 0.0, 0.5)[:, None]
        told = (has[places] & (order.random((batch, len(owners))) < beside)).astype(np.int64)
        told[np.arange(batch), concepts] = np.where(denied, -1, 1)
        rows = encode_beginnings(model, [texts[place] for place in places])
        with torch.enable_grad():
            added = compose_shifts(shifts, torch.from_numpy(told).to(shifts.device))
            radii = torch.from_numpy(order.random((batch, 1)) * SEARCHED).to(added)
            added = added + radii * _outward(added.detach(), _normal(order, batch, model))
            loss = objective(model, rows, layer, shift_by_position(added, max(map(len, rows)), 1, positions), how)
            if how.background:
                loss = loss + how.background * _raised(model, texts, others, shifts, layer, positions, spared, batch)
            check_likelihood(model, layer, loss.item())
            # not backward(): it would fill .grad of the caller's weights
            (shifts.grad,) = torch.autograd.grad(_SCALE * loss, [shifts])
        adam.step()
        if how.bound is not None:
            longest = how.bound * typical * model.d_model**0.5
            shifts.data *= (longest / shifts.detach().norm(dim=1, keepdim=True)).clamp(max=1.0)
        if progress:
            progress(1)
        if how.patience is None or aside is None or ((step + 1) % CHECKED and step + 1 < steps):
            continue
        nats = _nats_aside(model, *aside, shifts.detach(), layer, positions)
        if best is None or nats < best[0]:
            best, worse = (nats, shifts.detach().clone()), 0
        elif (worse := worse + 1) >= how.patience:
            break
    return (shifts if best is None else best[1]).detach().cpu().double()


def steps_for(concepts: int) -> int:
    """Return how many steps so many concepts are learned in."""
    return STEPS + STEPS_MORE * (concepts - 1)


def _outward(shifts: Tensor, drawn: Tensor) -> Tensor:
    """Return what was drawn at right angles to each shift, as long as the shift."""
    lengths = shifts.norm(dim=1, keepdim=True)
    along = shifts / lengths
    rest = drawn - (drawn * along).sum(dim=1, keepdim=True) * along
    pushes: Tensor = rest / rest.norm(dim=1, keepdim=True) * lengths
    return pushes


def _normal(order: np.random.Generator, rows: int, model: ResidualModel) -> Tensor:
    return torch.from_numpy(order.standard_normal((rows, model.d_model), dtype=np.float32)).to(model.device)


def scale(model: ResidualModel, texts: Sequence[str], layer: int) -> float:
    """Return the median root mean square, over the coordinates, of the activations of texts at a layer."""
    batch = model.batch(encode_beginnings(model, texts))
    with torch.no_grad():
        hidden = read_layers(model, batch, [layer])[layer].float().square().mean(dim=-1).sqrt()
    return float(np.median(hidden[batch["attention_mask"].to(hidden.device).bool()].cpu().numpy()))


def _chances(pool: Sequence[int], weights: np.ndarray | None) -> np.ndarray | None:
    """How far along [0, 1] each text of a pool ends; None where all are drawn alike."""
    if weights is None or len({weights[place] for place in pool}) < 2:
        return None
    reached: np.ndarray = np.cumsum(weights[list(pool)])
    reached /= reached[-1]
    return reached


def _drawn(pool: Sequence[int], chances: np.ndarray | None, order: np.random.Generator) -> int:
    place = order.integers(len(pool)) if chances is None else np.searchsorted(chances, order.random(), side="right")
    return pool[int(place)]


def _raised(
    model: ResidualModel, texts: Sequence[str], others: Sequence[Sequence[int]], shifts: Tensor, layer: int,
    positions: str, spared: np.random.Generator, batch: int,
) -> Tensor:  # fmt: skip
    """By how much the shifts raise texts without their concepts."""
    concepts = [concept for concept in spared.integers(len(others), size=max(1, batch // _BESIDE)) if others[concept]]
    if not concepts:
        return shifts.sum() * 0.0
    chosen = [_drawn(others[concept], None, spared) for concept in concepts]
    rows = encode_beginnings(model, [texts[place] for place in chosen])
    return background_gain(model, rows, layer, shift_by_position(shifts[concepts], max(map(len, rows)), 1, positions))


def _nats_aside(
    model: ResidualModel, texts: Sequence[str], has: np.ndarray, shifts: Tensor, layer: int, positions: str
) -> float:
    """Mean nats per token of texts kept aside under the shift of each concept that they have."""
    found = []
    for concept in range(has.shape[1]):
        for some in batches([text for text, having in zip(texts, has[:, concept], strict=True) if having]):
            rows = encode_beginnings(model, some)
            spread = shift_by_position(shifts[concept].expand(len(rows), -1), max(map(len, rows)), 1, positions)
            with torch.no_grad(), shift_layers(model, {layer: spread}):
                found.append(float(mean_loss(model, rows)))
    return float(np.mean(found))
