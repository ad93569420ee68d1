"""Learn shifts by gradient descent: the shift that makes the positive texts more likely."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor
from torch.nn.functional import log_softmax

from vectors.activations.text_activations import TokenIds, encode_by_text
from vectors.activations.text_likelihood import (
    BATCH,
    batches,
    check_likelihood,
    count_predicted,
    cut_to_beginnings,
    losses,
    mean_loss,
    predicted_states,
    token_nats,
)
from vectors.common.errors import InputError
from vectors.common.rng import Stream, rng
from vectors.common.validation import check_integer, check_number
from vectors.concepts.composition import compose_shifts
from vectors.model.hooks import read_layers, shift_layers
from vectors.model.output_head import map_logits
from vectors.model.positions import shift_by_position
from vectors.model.residual_model import ResidualModel

STEPS = 150
"""Optimiser steps for one concept."""

STEPS_MORE = 12
"""Additional steps for each further concept that is learned together with the first."""

ROWS = 16
"""Texts in a batch for one concept; one more for each further concept, up to `BATCH`."""

RATE = 0.1
"""Initial learning rate of Adam, relative to the layer's root-mean-square activation."""

MAX_RADIUS = 0.8
"""Perturbations are drawn with radii from 0 to this, so that the shifts work at a search radius too."""

NEGATIVES = 0.25
"""Fraction of training rows that are negatives: texts without the concept, with its shift subtracted."""

ALONE = 0.5
"""Fraction of those rows to which no other concept is added."""

VALIDATION_EVERY = 10
"""Steps between two evaluations on the validation set."""

_LOSS_SCALE = 2.0**10  # keeps half-precision gradients from underflowing; Adam's steps do not depend on it
_ROWS_PER_BACKGROUND_ROW = 4


@dataclass(frozen=True, kw_only=True)
class Learning:
    """Terms of the loss of a learned shift besides the likelihood of the positive texts, and early stopping.

    Attributes:
        bound: largest length of a shift, as a multiple of the typical activation norm at its layer; no limit if `None`.
        background: penalty on making texts without the concept more likely, in nats per nat.
        kl: penalty on changing the next-token distribution in the positive texts, in nats per nat of
            KL(shifted | base) per token.
        patience: stop after this many evaluations on a validation set, one every ten steps, without improvement, and
            return the best shift. With `None`, or too few texts for a validation set, all steps are taken.

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


def training_loss(
    model: ResidualModel,
    rows: Sequence[Sequence[int]],
    layer: int,
    shifts: Float[Tensor, "rows pos d_model"],
    objective: Learning,
) -> Float[Tensor, ""]:
    """Return the mean nats per predicted token of the shifted rows, plus the KL penalty of the objective."""
    with shift_layers(model, {layer: shifts}):
        states, targets, _ = predicted_states(model, rows)
    if not objective.kl:
        return map_logits(model, token_nats, states, beside=targets).sum() / count_predicted(rows)
    with torch.no_grad():
        base_states, _, _ = predicted_states(model, rows)

    def nats_and_penalty(steered: Tensor, base: Tensor, targets: Tensor) -> Tensor:
        logprobs = log_softmax(steered, dim=-1)
        kl = (logprobs.exp() * (logprobs - log_softmax(base, dim=-1))).sum(dim=-1)
        return token_nats(steered, targets) + objective.kl * kl

    return map_logits(model, nats_and_penalty, states, base_states, beside=targets).sum() / count_predicted(rows)


def background_gain(
    model: ResidualModel,
    rows: Sequence[Sequence[int]],
    layer: int,
    shifts: Float[Tensor, "rows pos d_model"],
) -> Float[Tensor, ""]:
    """Return the gain in likelihood of some rows by shifts, in nats per predicted token; losses count as 0."""
    with torch.no_grad():
        base = losses(model, rows)
    with shift_layers(model, {layer: shifts}):
        gained = (base - losses(model, rows)).sum(dim=1)
    return gained.clamp(min=0).sum() / count_predicted(rows)


def learn(
    model: ResidualModel,
    texts: Sequence[str],
    has: Bool[np.ndarray, "texts concepts"],
    layer: int,
    *,
    positions: str = "all",
    seed: int = 0,
    steps: int | None = None,
    objective: Learning | None = None,
    validation: tuple[Sequence[str], Bool[np.ndarray, "validation concepts"]] | None = None,
    weights: Float64[np.ndarray, " texts"] | None = None,
    tokens: Mapping[str, TokenIds] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Float64[Tensor, "concepts d_model"]:
    """Learn one shift per concept at `layer` that raises the likelihood of the texts with the concept.

    Adam minimises the mean negative log-likelihood per token, from shifts near zero. Each row of a batch is a text with
    a randomly drawn concept. Its shift is composed of that concept and, each with probability one half, of the other
    concepts of the text; then a random perturbation is added, as in sampling with a radius. So the shifts work alone,
    in combination, and in a search. A fraction of the rows (`NEGATIVES`) are texts without the drawn concept, with its
    shift subtracted: otherwise a negative dose may bring the concept on. The end of a text counts as a token if the
    model has an end token, so that a shift does not unlearn to stop.
    Source: Subramani et al., "Extracting latent steering vectors" (2022), with one vector for many texts.

    Args:
        model: the model that is steered.
        texts: training texts; their order has no effect.
        has: which text has which concept.
        layer: 0-based block.
        positions: where the shifts are added.
        seed: of all random draws.
        steps: optimiser steps; by default `steps_for` the number of concepts.
        objective: further terms of the loss, and the patience of early stopping.
        validation: texts for early stopping, and which of them have which concept.
        weights: sampling weight of each text.
        tokens: token ids by text, if the texts are encoded already.
        progress: called with 1 after each step.

    Returns:
        The shifts, "concepts d_model".

    Raises:
        InputError: a layer that the model does not have.
        ModelError: likelihoods that are not finite.
    """
    model.check_layer(layer)
    objective = objective or Learning()
    if tokens is None:
        every = [*texts, *(validation[0] if validation else ())]
        tokens = encode_by_text(model, every)
    text_rows = [tokens[text] for text in texts]
    by_text = sorted(range(len(texts)), key=lambda index: texts[index])  # so that the order of the texts has no effect
    with_concept, without_concept = (
        [[index for index in by_text if has[index, concept] == wanted] for concept in range(has.shape[1])]
        for wanted in (True, False)
    )
    n_concepts = has.shape[1]
    random = rng(seed, layer, Stream.FIT)
    background_random = rng(seed, layer, Stream.FIT, part=1)
    cumulative = [_cumulative_weights(indices, weights) for indices in with_concept]
    typical = typical_activation(model, [text_rows[index] for index in by_text[:BATCH]], layer)
    rate = RATE * typical
    best: tuple[float, Tensor] | None = None
    without_improvement = 0
    shifts = _standard_normal(random, n_concepts, model).mul_(rate).requires_grad_(True)
    adam = torch.optim.Adam([shifts], lr=rate, betas=(0.9, 0.98))
    steps = steps_for(n_concepts) if steps is None else steps
    batch = min(BATCH, ROWS + n_concepts - 1)
    for step in range(steps):
        adam.param_groups[0]["lr"] = rate * (1 - step / steps)
        concepts = random.integers(n_concepts, size=batch)
        negative = np.array([bool(without_concept[concept]) for concept in concepts]) & (
            random.random(batch) < NEGATIVES
        )
        drawn = [
            _draw(without_concept[concept], None, random)
            if is_negative
            else _draw(with_concept[concept], cumulative[concept], random)
            for concept, is_negative in zip(concepts, negative, strict=True)
        ]
        probability = np.where(negative & (random.random(batch) < ALONE), 0.0, 0.5)[:, None]
        signs = (has[drawn] & (random.random((batch, n_concepts)) < probability)).astype(np.int64)
        signs[np.arange(batch), concepts] = np.where(negative, -1, 1)
        rows = cut_to_beginnings(model, [text_rows[index] for index in drawn])
        with torch.enable_grad():
            delta = compose_shifts(shifts, torch.from_numpy(signs).to(shifts.device))
            radii = torch.from_numpy(random.random((batch, 1)) * MAX_RADIUS).to(delta)
            delta = delta + radii * _perpendicular(delta.detach(), _standard_normal(random, batch, model))
            by_position = shift_by_position(delta, max(map(len, rows)), 1, positions)
            loss = training_loss(model, rows, layer, by_position, objective)
            if objective.background:
                loss = loss + objective.background * _background_loss(
                    model, text_rows, without_concept, shifts, layer, positions, background_random, batch
                )
            check_likelihood(model, layer, loss.item())
            # not backward(): it would fill .grad of the caller's weights
            (shifts.grad,) = torch.autograd.grad(_LOSS_SCALE * loss, [shifts])
        adam.step()
        if objective.bound is not None:
            longest = objective.bound * typical * model.d_model**0.5
            shifts.data *= (longest / shifts.detach().norm(dim=1, keepdim=True)).clamp(max=1.0)
        if progress:
            progress(1)
        evaluate = (step + 1) % VALIDATION_EVERY == 0 or step + 1 == steps
        if objective.patience is None or validation is None or not evaluate:
            continue
        nats = _validation_loss(model, *validation, tokens, shifts.detach(), layer, positions)
        if best is None or nats < best[0]:
            best, without_improvement = (nats, shifts.detach().clone()), 0
        elif (without_improvement := without_improvement + 1) >= objective.patience:
            break
    return (shifts if best is None else best[1]).detach().cpu().double()


def steps_for(concepts: int) -> int:
    """Return the default number of optimiser steps for so many concepts."""
    return STEPS + STEPS_MORE * (concepts - 1)


def typical_activation(model: ResidualModel, texts: Sequence[TokenIds], layer: int) -> float:
    """Return the median over positions of the root-mean-square activation at a layer."""
    batch = model.batch(cut_to_beginnings(model, texts))
    with torch.no_grad():
        rms = read_layers(model, batch, [layer])[layer].float().square().mean(dim=-1).sqrt()
    return float(np.median(rms[batch["attention_mask"].to(rms.device).bool()].cpu().numpy()))


def _perpendicular(shifts: Tensor, noise: Tensor) -> Tensor:
    """The noise projected at right angles to each shift and scaled to the shift's length."""
    lengths = shifts.norm(dim=1, keepdim=True)
    directions = shifts / lengths
    rest = noise - (noise * directions).sum(dim=1, keepdim=True) * directions
    perturbations: Tensor = rest / rest.norm(dim=1, keepdim=True) * lengths
    return perturbations


def _standard_normal(random: np.random.Generator, rows: int, model: ResidualModel) -> Tensor:
    return torch.from_numpy(random.standard_normal((rows, model.d_model), dtype=np.float32)).to(model.device)


def _cumulative_weights(indices: Sequence[int], weights: np.ndarray | None) -> np.ndarray | None:
    """The cumulative sampling probabilities of some texts; `None` if all are equally likely."""
    if weights is None or len({weights[index] for index in indices}) < 2:
        return None
    cumulative: np.ndarray = np.cumsum(weights[list(indices)])
    cumulative /= cumulative[-1]
    return cumulative


def _draw(indices: Sequence[int], cumulative: np.ndarray | None, random: np.random.Generator) -> int:
    if cumulative is None:
        return indices[int(random.integers(len(indices)))]
    return indices[int(np.searchsorted(cumulative, random.random(), side="right"))]


def _background_loss(
    model: ResidualModel, text_rows: Sequence[TokenIds], without_concept: Sequence[Sequence[int]], shifts: Tensor,
    layer: int, positions: str, random: np.random.Generator, batch: int,
) -> Tensor:  # fmt: skip
    """Gain in likelihood of texts without a concept by that concept's shift."""
    drawn = random.integers(len(without_concept), size=max(1, batch // _ROWS_PER_BACKGROUND_ROW))
    concepts = [concept for concept in drawn if without_concept[concept]]
    if not concepts:
        return shifts.sum() * 0.0
    rows = cut_to_beginnings(model, [text_rows[_draw(without_concept[concept], None, random)] for concept in concepts])
    return background_gain(model, rows, layer, shift_by_position(shifts[concepts], max(map(len, rows)), 1, positions))


def _validation_loss(
    model: ResidualModel, texts: Sequence[str], has: np.ndarray, tokens: Mapping[str, TokenIds], shifts: Tensor,
    layer: int, positions: str,
) -> float:  # fmt: skip
    """Mean nats per token of the validation texts, each under the shift of each concept that it has."""
    nats = []
    for concept in range(has.shape[1]):
        for batch in batches(
            [tokens[text] for text, is_positive in zip(texts, has[:, concept], strict=True) if is_positive]
        ):
            rows = cut_to_beginnings(model, batch)
            by_position = shift_by_position(shifts[concept].expand(len(rows), -1), max(map(len, rows)), 1, positions)
            with torch.no_grad(), shift_layers(model, {layer: by_position}):
                nats.append(float(mean_loss(model, rows)))
    return float(np.mean(nats))
