"""Gradients of the likelihood of texts by shifts of the residual stream; one backward pass serves all layers."""

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

_LOSS_SCALE = 2.0**10  # keeps half-precision gradients from underflowing


@dataclass(frozen=True, eq=False)
class TextGradients:
    """A batch of texts with their activations and gradients.

    Attributes:
        rows: token ids of each text.
        hidden: residual stream by layer.
        gradient: by layer the gradient of each text's log-likelihood by a shift at each position.
    """

    rows: list[list[int]]
    hidden: dict[int, Float[Tensor, "rows pos d_model"]]
    gradient: dict[int, Float[Tensor, "rows pos d_model"]]


def text_gradients(model: ResidualModel, texts: Sequence[TokenIds], layers: Sequence[int]) -> Iterator[TextGradients]:
    """Yield batches of texts, in order, with the gradient of each text's log-likelihood at every position.

    The log-likelihood is the mean over the predicted tokens of the beginning of the text, in nats (see
    `vectors.activations.text_likelihood.cut_to_beginnings`). The gradient is taken at a shift of zero.

    Raises:
        InputError: a layer that the model does not have.
        ModelError: likelihoods that are not finite.
    """
    for batch in batches(texts):
        rows = cut_to_beginnings(model, batch)
        width = max(map(len, rows))
        shifts = {layer: torch.zeros(len(rows), width, model.d_model, requires_grad=True) for layer in layers}
        counts = torch.tensor([len(row) - 1 for row in rows], device=model.device)
        with torch.enable_grad(), shift_layers(model, shifts), capture(model, layers) as hidden:
            nats = (losses(model, rows).sum(dim=1) / counts.clamp(min=1)).sum()
            check_likelihood(model, max(layers), nats.item())
            scaled = torch.autograd.grad(-_LOSS_SCALE * nats, list(shifts.values()))
        gradient = {layer: grad.float().cpu() / _LOSS_SCALE for layer, grad in zip(shifts, scaled, strict=True)}
        yield TextGradients(rows, {layer: hidden[layer].detach().float().cpu() for layer in layers}, gradient)


def mean_gradient(
    model: ResidualModel,
    texts: Sequence[TokenIds],
    layers: Sequence[int],
    *,
    positions: str,
    weights: Float64[Tensor, " texts"] | None = None,
    progress: Callable[[int], None] | None = None,
) -> dict[int, Float64[Tensor, " d_model"]]:
    """Return by layer the mean gradient of the texts' log-likelihood by a shift that is added at some positions.

    Args:
        model: the model.
        texts: token ids of each text.
        layers: 0-based blocks.
        positions: where the shift is added.
        weights: weight of each text in the mean.
        progress: called with the number of texts after each batch.

    Raises:
        InputError: a layer that the model does not have.
        ModelError: likelihoods that are not finite.
    """

    def sum_over_positions(batch: TextGradients, layer: int) -> Float64[Tensor, "rows d_model"]:
        gradient = batch.gradient[layer]
        is_shifted = position_weights(positions, gradient.shape[1], 1)
        return (gradient * is_shifted[None, :, None]).sum(dim=1).double()

    return _weighted_mean(model, texts, layers, sum_over_positions, weights, progress)


def weighted_means(
    model: ResidualModel,
    texts: Sequence[TokenIds],
    layers: Sequence[int],
    *,
    weights: Float64[Tensor, " texts"] | None = None,
    progress: Callable[[int], None] | None = None,
) -> dict[int, Float64[Tensor, " d_model"]]:
    """Return by layer the mean activation of the texts, each position weighted by the norm of its gradient.

    Positions where a shift does not change the likelihood of the text get little weight. Special tokens are left out;
    the activation at the start token is huge.

    Args:
        model: the model.
        texts: token ids of each text.
        layers: 0-based blocks.
        weights: weight of each text in the mean.
        progress: called with the number of texts after each batch.

    Raises:
        InputError: a layer that the model does not have.
        ModelError: likelihoods that are not finite.
    """
    special = torch.tensor(sorted(special_ids(model)), dtype=torch.long)

    def mean_over_positions(batch: TextGradients, layer: int) -> Float64[Tensor, "rows d_model"]:
        arguments = model.batch(batch.rows)
        is_text = arguments["attention_mask"].cpu().bool() & ~torch.isin(arguments["input_ids"].cpu(), special)
        # 1e-30: equal weights if all gradients are zero
        norms = torch.where(is_text, batch.gradient[layer].norm(dim=-1), 0.0) + 1e-30 * is_text
        activations = torch.where(is_text[:, :, None], batch.hidden[layer], 0.0) * norms[:, :, None]
        return (activations.sum(dim=1) / norms.sum(dim=1, keepdim=True)).double()

    return _weighted_mean(model, texts, layers, mean_over_positions, weights, progress)


def _weighted_mean(
    model: ResidualModel,
    texts: Sequence[TokenIds],
    layers: Sequence[int],
    row_of_each_text: Callable[[TextGradients, int], Float64[Tensor, "rows d_model"]],
    weights: Float64[Tensor, " texts"] | None,
    progress: Callable[[int], None] | None,
) -> dict[int, Float64[Tensor, " d_model"]]:
    """The weighted mean over texts, by layer, of one row for each text."""
    sums = {layer: torch.zeros(model.d_model, dtype=torch.float64) for layer in layers}
    weights = torch.ones(len(texts), dtype=torch.float64) if weights is None else weights
    n_done = 0
    for batch in text_gradients(model, texts, layers):
        batch_weights = weights[n_done : n_done + len(batch.rows)]
        n_done += len(batch.rows)
        for layer in layers:
            sums[layer] += batch_weights @ row_of_each_text(batch, layer)
        if progress:
            progress(len(batch.rows))
    return {layer: total / weights.sum() for layer, total in sums.items()}
