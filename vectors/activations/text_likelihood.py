"""The likelihood of the beginnings of texts under a model, from which shifts are learned."""

from collections.abc import Iterator, Mapping, Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from vectors.model.hooks import shift_layers
from vectors.model.output_head import final_states, map_logits
from vectors.model.positions import Site, sum_by_layer
from vectors.model.residual_model import ResidualModel, check_finite

MAX_TOKENS = 64
"""Tokens read of each text: its first sentences show what it is about."""

BATCH = 48
"""Maximum number of texts of one forward."""


def cut_to_beginnings(model: ResidualModel, rows: Sequence[Sequence[int]]) -> list[list[int]]:
    """Return the token ids of texts cut at `MAX_TOKENS`; texts that are not cut end with the end token."""
    longest = min(MAX_TOKENS, model.max_context - 1)
    end = sorted(model.eos_ids)[:1]
    return [[*ids, *end] if len(ids) <= longest else list(ids[:longest]) for ids in rows]


def losses(model: ResidualModel, rows: Sequence[Sequence[int]]) -> Float[Tensor, "rows pos"]:
    """Return the negative log-likelihood, in nats, of every token after the first; 0 at padding."""
    states, targets, predicted = predicted_states(model, rows)
    nats = map_logits(model, token_nats, states, beside=targets)
    return nats.new_zeros(predicted.shape).masked_scatter(predicted, nats)


def predicted_states(
    model: ResidualModel, rows: Sequence[Sequence[int]]
) -> tuple[Float[Tensor, "n width"], Int[Tensor, " n"], Bool[Tensor, "rows pos"]]:
    """Return the final states that predict the tokens after the first, those tokens, and where they lie in the rows."""
    batch = model.batch(rows)
    states = final_states(model, batch)
    predicted = batch["attention_mask"][:, 1:].bool()
    return (
        states[:, :-1][predicted.to(states.device)],
        batch["input_ids"][:, 1:][predicted].to(states.device),
        predicted,
    )


def token_nats(logits: Float[Tensor, "n vocab"], targets: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Return the negative log-likelihood of each target in nats."""
    return cross_entropy(logits, targets.to(logits.device), reduction="none")


def mean_loss(model: ResidualModel, rows: Sequence[Sequence[int]]) -> Float[Tensor, ""]:
    """Return the mean negative log-likelihood in nats per predicted token."""
    return losses(model, rows).sum() / count_predicted(rows)


def count_predicted(rows: Sequence[Sequence[int]]) -> int:
    """Return the number of predicted tokens: all but the first of each row."""
    return sum(len(row) - 1 for row in rows)


def batches(rows: Sequence[Sequence[int]]) -> Iterator[Sequence[Sequence[int]]]:
    """Yield the token ids of texts in batches of `BATCH`."""
    for start in range(0, len(rows), BATCH):
        yield rows[start : start + BATCH]


def likelihood_gains(
    model: ResidualModel,
    rows: Sequence[Sequence[int]],
    shifts: Mapping[Site, Float[Tensor, " d_model"]],
) -> list[float]:
    """Return by how many nats shifts raise the log-likelihood of each text's beginning.

    Raises:
        InputError: the model has no such layer.
        ModelError: likelihoods are not finite.
    """
    gains = []
    for batch in batches(rows):
        cut = cut_to_beginnings(model, batch)
        by_row = {site: shift.float().expand(len(cut), -1) for site, shift in shifts.items()}
        with torch.no_grad():
            base = losses(model, cut)
            with shift_layers(model, sum_by_layer(by_row, max(map(len, cut)), 1, "all")):
                batch_gains = (base - losses(model, cut)).sum(dim=1).tolist()
        check_likelihood(model, next(iter(shifts))[0], sum(batch_gains))
        gains += batch_gains
    return gains


def check_likelihood(model: ResidualModel, layer: int, nats: float) -> None:
    """Raise ModelError unless a log-likelihood under a shift at `layer` is finite."""
    check_finite(model, [nats], f"likelihoods under a shift at layer {layer}")
