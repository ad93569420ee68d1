"""Shifts distilled from a prompt: without it, the steered model predicts what the plain model predicts behind it."""

from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Float, Float64
from torch import Tensor
from torch.nn.functional import log_softmax

from vectors.activations.text_likelihood import check_likelihood
from vectors.common.errors import InputError
from vectors.common.rng import Stream, rng
from vectors.extraction.shifts.learned_shift import RATE, typical_activation
from vectors.model.hooks import shift_layers
from vectors.model.output_head import final_states, map_logits
from vectors.model.positions import Site, sum_by_layer
from vectors.model.residual_model import ResidualModel

STEPS = 80
"""Optimiser steps."""

ROWS = 8
"""Texts in a batch."""

TOKENS = 28
"""Tokens read of each text."""

TokenIds = Sequence[int]
_LOSS_SCALE = 2.0**10  # keeps half-precision gradients from underflowing; Adam's steps do not depend on it


def distil(
    model: ResidualModel,
    pairs: Callable[[int], Sequence[tuple[TokenIds, TokenIds]]],
    start: Mapping[Site, Float[Tensor, " d_model"]],
    *,
    steps: int = STEPS,
    rate: float = RATE,
    progress: Callable[[float], None] | None = None,
) -> dict[Site, Float64[Tensor, " d_model"]]:
    """Return shifts under which the model predicts texts as it does behind a prompt, without the prompt.

    Adam minimises the mean over tokens of KL(prompted || steered): the prompted model reads the prompt and the text,
    the steered one the start token and the text. Unlike the likelihood of the texts, this says for each token how
    likely all others are, so that few texts and steps are enough.
    Source: Snell, Klein and Zhong, "Learning by distilling context" (2022), with shifts in place of weights.

    Args:
        model: the model that is steered.
        pairs: maps a step to the token ids of some prompts, the start token included, and of the text behind each.
        start: shifts to begin with, by layer and positions; all of them are learned together.
        steps: optimiser steps.
        rate: initial learning rate, relative to the root-mean-square activation of each layer.
        progress: called after each step with its loss in nats per token.

    Raises:
        InputError: a prompt and its text exceed the context of the model.
        ModelError: a loss that is not finite, or a model without a start token.
    """
    first = pairs(0)
    texts = [[*model.start_ids(), *text] for _, text in first]
    typical = {layer: typical_activation(model, texts, layer) for layer in {layer for layer, _ in start}}
    shifts = {
        site: shift.detach().float().to(model.device).clone().requires_grad_(True) for site, shift in start.items()
    }
    groups = [{"params": [shift], "lr": rate * typical[layer]} for (layer, _), shift in shifts.items()]
    adam = torch.optim.Adam(groups, betas=(0.9, 0.98))
    for step in range(steps):
        for group, (layer, _) in zip(adam.param_groups, shifts, strict=True):
            group["lr"] = rate * typical[layer] * (1 - step / steps)
        with torch.enable_grad():
            loss = distance_to_prompted(model, pairs(step) if step else first, shifts)
            check_likelihood(model, next(iter(shifts))[0], loss.item())
            gradients = torch.autograd.grad(_LOSS_SCALE * loss, list(shifts.values()))
        for shift, gradient in zip(shifts.values(), gradients, strict=True):
            shift.grad = gradient
        adam.step()
        if progress:
            progress(loss.item())
    return {site: shift.detach().cpu().double() for site, shift in shifts.items()}


def distance_to_prompted(
    model: ResidualModel,
    pairs: Sequence[tuple[TokenIds, TokenIds]],
    shifts: Mapping[Site, Float[Tensor, " d_model"]],
) -> Float[Tensor, ""]:
    """Return the mean KL(prompted || steered) over the tokens of some texts, in nats.

    Args:
        model: the model.
        pairs: token ids of each prompt, the start token included, and of the text behind it.
        shifts: by layer and positions; empty for the plain model.

    Raises:
        InputError: a prompt and its text exceed the context of the model.
    """
    longest = max(len(prompt) + len(text) for prompt, text in pairs)
    if longest > model.max_context:
        raise InputError(
            f"a prompt and its text have {longest} tokens, more than the context of {model.max_context}: shorten one"
        )
    start = model.start_ids()
    with torch.no_grad():
        prompted = _text_states(model, pairs)
    rows = [(start, text) for _, text in pairs]
    length = max(len(start) + len(text) for _, text in pairs)
    by_position = sum_by_layer(
        {site: shift.expand(len(rows), -1) for site, shift in shifts.items()}, length, len(start), "all"
    )
    with shift_layers(model, by_position):
        steered = _text_states(model, rows)
    return map_logits(model, _kl_from_second, steered, prompted).mean()


def _kl_from_second(logits: Float[Tensor, "n vocab"], target: Float[Tensor, "n vocab"]) -> Float[Tensor, " n"]:
    """Return KL(target || logits) of each row."""
    wanted = log_softmax(target, dim=-1)
    kl: Tensor = (wanted.exp() * (wanted - log_softmax(logits, dim=-1))).sum(dim=-1)
    return kl


def _text_states(model: ResidualModel, rows: Sequence[tuple[TokenIds, TokenIds]]) -> Float[Tensor, "n width"]:
    """Return the final states that predict the tokens of each text behind its prefix, row after row."""
    batch = model.batch([[*prefix, *text] for prefix, text in rows])
    states = final_states(model, batch)
    return torch.cat(
        [states[row, len(prefix) - 1 : len(prefix) + len(text) - 1] for row, (prefix, text) in enumerate(rows)]
    )


def few_shot_pairs(
    model: ResidualModel, texts: Sequence[TokenIds], *, shots: int, between: TokenIds, seed: int
) -> Callable[[int], list[tuple[TokenIds, TokenIds]]]:
    """Return batches of texts, each behind a prompt of a few other texts.

    Args:
        model: the model.
        texts: token ids of texts without the start token; at least one more than `shots`.
        shots: number of texts in a prompt.
        between: token ids after each of them, such as a blank line.
        seed: of the draws.

    Raises:
        InputError: too few texts.
    """
    if len(texts) <= shots:
        raise InputError(f"there are {len(texts)} texts for prompts of {shots}: give {shots + 1} or more")
    start = model.start_ids()

    def pairs(step: int) -> list[tuple[TokenIds, TokenIds]]:
        random = rng(seed, step, Stream.FIT)
        drawn: list[tuple[TokenIds, TokenIds]] = []
        for _ in range(ROWS):
            *examples, target = random.choice(len(texts), size=shots + 1, replace=False)
            prompt = [*start, *(token for index in examples for token in (*texts[index], *between))]
            drawn.append((prompt, texts[target][:TOKENS]))
        return drawn

    return pairs
