"""Where texts want to be shifted: the gradient of their likelihood, one backward pass a batch for all layers."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from vectors.activations.text_activations import TokenIds, special_ids
from vectors.activations.text_likelihood import batches, check_likelihood, cut_to_beginnings, losses
from vectors.model.hooks import capture, shift_layers
from vectors.model.positions import position_weights
from vectors.model.residual_model import ResidualModel

_SCALE = 2.0**10  # of the loss: keeps half-precision gradients off zero


@dataclass(frozen=True, eq=False)
class Read:
    """Some texts: their ids, and at each layer their activations and the gradient of their log-likelihood."""

    rows: list[list[int]]
    hidden: dict[int, Float[Tensor, "rows pos d_model"]]
    gradient: dict[int, Float[Tensor, "rows pos d_model"]]


def text_gradients(model: ResidualModel, texts: Sequence[TokenIds], layers: Sequence[int]) -> Iterator[Read]:
    """Yield batches of texts in order, with the gradient of each text's log-likelihood at every position.

    It is that of the mean nats per predicted token of the beginning of the text (see
    `vectors.activations.text_likelihood.cut_to_beginnings`) by a shift of the residual stream at that
    position, where nothing is shifted.

    Raises:
        InputError: a layer the model does not have.
        ModelError: likelihoods that are not finite.
    """
    for batch in batches(texts):
        rows = cut_to_beginnings(model, batch)
        widest = max(map(len, rows))
        shifts = {layer: torch.zeros(len(rows), widest, model.d_model, requires_grad=True) for layer in layers}
        counts = torch.tensor([len(row) - 1 for row in rows], device=model.device)
        with torch.enable_grad(), shift_layers(model, shifts), capture(model, layers) as hidden:
            nats = (losses(model, rows).sum(dim=1) / counts.clamp(min=1)).sum()
            check_likelihood(model, max(layers), nats.item())
            found = torch.autograd.grad(-_SCALE * nats, list(shifts.values()))
        gradient = {layer: grad.float().cpu() / _SCALE for layer, grad in zip(shifts, found, strict=True)}
        yield Read(rows, {layer: hidden[layer].detach().float().cpu() for layer in layers}, gradient)


def mean_gradient(
    model: ResidualModel, texts: Sequence[TokenIds], layers: Sequence[int], *, positions: str,
    weights: Float64[Tensor, " texts"] | None = None, progress: Callable[[int], None] | None = None,
) -> dict[int, Float64[Tensor, " d_model"]]:  # fmt: skip
    """Return by layer the mean gradient of the texts' log-likelihood by one shift, added at some positions of each.

    Raises:
        InputError: a layer the model does not have.
        ModelError: likelihoods that are not finite.
    """
    sums = {layer: torch.zeros(model.d_model, dtype=torch.float64) for layer in layers}
    weights = torch.ones(len(texts), dtype=torch.float64) if weights is None else weights
    done = 0
    for read in text_gradients(model, texts, layers):
        counts = weights[done : done + len(read.rows)]
        done += len(read.rows)
        for layer, grad in read.gradient.items():
            spread = position_weights(positions, grad.shape[1], 1)
            sums[layer] += counts @ (grad * spread[None, :, None]).sum(dim=1).double()
        if progress:
            progress(len(read.rows))
    return {layer: summed / weights.sum() for layer, summed in sums.items()}


def weighted_means(
    model: ResidualModel,
    texts: Sequence[TokenIds],
    layers: Sequence[int],
    *,
    weights: Float64[Tensor, " texts"] | None = None,
    progress: Callable[[int], None] | None = None,
) -> dict[int, Float64[Tensor, " d_model"]]:
    """Return by layer the mean of the texts' activations, each position as long as the gradient of the text there.

    Where a text would not be any likelier for another residual stream, nothing of what it is about is decided. The
    start token, whose activation is huge, counts for nothing.

    Raises:
        InputError: a layer the model does not have.
        ModelError: likelihoods that are not finite.
    """
    special = torch.tensor(sorted(special_ids(model)), dtype=torch.long)
    sums = {layer: torch.zeros(model.d_model, dtype=torch.float64) for layer in layers}
    weights = torch.ones(len(texts), dtype=torch.float64) if weights is None else weights
    done = 0
    for read in text_gradients(model, texts, layers):
        counts = weights[done : done + len(read.rows)]
        done += len(read.rows)
        batch = model.batch(read.rows)
        own = batch["attention_mask"].cpu().bool() & ~torch.isin(batch["input_ids"].cpu(), special)
        for layer in layers:
            lengths = torch.where(own, read.gradient[layer].norm(dim=-1), 0.0) + 1e-30 * own
            rows = torch.where(own[:, :, None], read.hidden[layer], 0.0) * lengths[:, :, None]
            sums[layer] += counts @ (rows.sum(dim=1) / lengths.sum(dim=1, keepdim=True)).double()
        if progress:
            progress(len(read.rows))
    return {layer: summed / weights.sum() for layer, summed in sums.items()}
