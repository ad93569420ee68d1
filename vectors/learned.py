"""Directions learned by gradient: the shift that makes the positive texts likelier."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from vectors.model import ResidualModel
from vectors.nll import BATCH, batches, beginnings, check_finite, mean_loss
from vectors.objective import CHECKED, Learning, objective, raised
from vectors.positions import on_positions
from vectors.randomness import Stream, rng
from vectors.residual import read, shifted

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

_RIDGE = 1e-4  # on the Gram matrix, so that two concepts may be parallel on the way

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
        rows = beginnings(model, [texts[place] for place in places])
        with torch.enable_grad():
            added = composed(shifts, torch.from_numpy(told).to(shifts.device))
            radii = torch.from_numpy(order.random((batch, 1)) * SEARCHED).to(added)
            added = added + radii * _outward(added.detach(), _normal(order, batch, model))
            loss = objective(model, rows, layer, on_positions(added, max(map(len, rows)), 1, positions), how)
            if how.background:
                loss = loss + how.background * _raised(model, texts, others, shifts, layer, positions, spared, batch)
            check_finite(model, layer, loss.item())
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
    batch = model.batch(beginnings(model, texts))
    with torch.no_grad():
        hidden = read(model, batch, [layer])[layer].float().square().mean(dim=-1).sqrt()
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
    rows = beginnings(model, [texts[place] for place in chosen])
    return raised(model, rows, layer, on_positions(shifts[concepts], max(map(len, rows)), 1, positions))


def _nats_aside(
    model: ResidualModel, texts: Sequence[str], has: np.ndarray, shifts: Tensor, layer: int, positions: str
) -> float:
    """Mean nats per token of texts kept aside under the shift of each concept that they have."""
    found = []
    for concept in range(has.shape[1]):
        for some in batches([text for text, having in zip(texts, has[:, concept], strict=True) if having]):
            rows = beginnings(model, some)
            spread = on_positions(shifts[concept].expand(len(rows), -1), max(map(len, rows)), 1, positions)
            with torch.no_grad(), shifted(model, {layer: spread}):
                found.append(float(mean_loss(model, rows)))
    return float(np.mean(found))
