"""Directions learned by gradient: the shift that makes the positive texts likelier."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor
from torch.nn.functional import cross_entropy

from vectors.model import ResidualModel
from vectors.randomness import Stream, rng
from vectors.residual import capture, shifted

STEPS = 120
BATCH = 16
RATE = 0.05
"""Adam's step for each coordinate, relative to the layer's root-mean-square activation."""

MAX_TOKENS = 128


def learn(
    model: ResidualModel,
    positive: Sequence[str],
    layer: int,
    *,
    seed: int = 0,
    steps: int = STEPS,
    progress: Callable[[int], None] | None = None,
) -> Float64[Tensor, " d_model"]:
    """Return the shift at `layer`, added at every position, that most raises the likelihood of `positive`.

    Adam from zero on the mean negative log-likelihood per token, over batches drawn with the seed. A text's end counts
    as a token where the model has an end token, so that the shift does not unlearn stopping.
    Source: Subramani et al., "Extracting latent steering vectors" (2022), with one vector for many texts.

    Raises:
        InputError: a layer the model does not have.
    """
    model.check_layer(layer)
    positive = sorted(positive)  # the order in a file means nothing
    order = rng(seed, layer, Stream.FIT)
    size = min(BATCH, len(positive))
    some = [positive[place] for place in order.choice(len(positive), size=size, replace=False)]
    shift = torch.zeros(model.d_model, device=model.device, requires_grad=True)
    adam = torch.optim.Adam([shift], lr=RATE * _scale(model, _rows(model, some), layer), betas=(0.9, 0.98))
    for step in range(steps):
        for group in adam.param_groups:
            group["lr"] = group["initial_lr"] = group.get("initial_lr", group["lr"])
            group["lr"] *= 1 - step / steps
        picked = order.choice(len(positive), size=size, replace=False)
        rows = _rows(model, [positive[place] for place in picked])
        with torch.enable_grad(), shifted(model, {layer: shift}):
            loss = _loss(model, rows)
            # not backward(): it would fill .grad of the caller's weights
            (shift.grad,) = torch.autograd.grad(loss, [shift])
        adam.step()
        if progress:
            progress(1)
    return shift.detach().cpu().double()


def _rows(model: ResidualModel, texts: Sequence[str]) -> list[list[int]]:
    """Texts as ids, cut at `MAX_TOKENS`; those that are not cut close with the end token."""
    longest = min(MAX_TOKENS, model.max_context - 1)
    end = sorted(model.eos_ids)[:1]
    encoded = model.encode(texts, max_tokens=longest + 1)
    return [[*ids, *end] if len(ids) <= longest else list(ids[:longest]) for ids in encoded]


def _loss(model: ResidualModel, rows: Sequence[Sequence[int]]) -> Tensor:
    batch = model.batch(rows)
    logits = model.hf(**batch, use_cache=False).logits[:, :-1].float()
    targets = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)[:, 1:]
    return cross_entropy(logits.reshape(-1, logits.shape[-1]), targets.reshape(-1), ignore_index=-100)


def _scale(model: ResidualModel, rows: Sequence[Sequence[int]], layer: int) -> float:
    batch = model.batch(rows)
    with torch.no_grad(), capture(model, [layer]) as read:
        model.hf(**batch, use_cache=False, **model.last_only)
    hidden = read[layer].float().square().mean(dim=-1).sqrt()[batch["attention_mask"].bool()]
    return float(np.median(hidden.cpu().numpy()))
