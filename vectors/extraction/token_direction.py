"""Directions towards words: what of the residual stream makes the model write certain tokens."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float64
from torch import Tensor

from vectors.activations.text_activations import TokenIds
from vectors.activations.text_likelihood import batches, check_likelihood, cut_to_beginnings
from vectors.common.errors import InputError
from vectors.common.validation import quote
from vectors.model.hooks import shift_layers
from vectors.model.positions import position_weights, shift_by_position
from vectors.model.residual_model import ResidualModel

ENOUGH = 0.1
"""Share of all tokens that the words get under a shift of the length that is given."""


def token_ids(model: ResidualModel, words: Sequence[str]) -> list[int]:
    """Return the ids of words that are single tokens: as they stand, capitalised, and after a space.

    Raises:
        InputError: no word, or one that is no single token in any of these forms.
    """
    if not words:
        raise InputError("no word is given: name the words that the direction should lead to")
    found: set[int] = set()
    for word in words:
        forms = {space + form for form in (word, word.capitalize()) for space in ("", " ")}
        ids = [model.encode([form])[0] for form in sorted(forms)]
        own = [row[1:] if model.bos_id is not None else row for row in ids]
        unknown = model.tokenizer.unk_token_id
        single = {row[0] for row in own if len(row) == 1 and row[0] != unknown}
        if not single:
            parts = ", ".join(quote(model.decode([each])) for each in own[-1]) or "nothing"
            raise InputError(f"{quote(word)} is no single token of model {model.name!r} ({parts}): name words that are")
        found |= single
    return sorted(found)


def towards_tokens(
    model: ResidualModel, tokens: Sequence[int], texts: Sequence[TokenIds], layers: Sequence[int], *, positions: str
) -> dict[int, Float64[Tensor, " d_model"]]:
    """Return by layer the rows of the unembedding for some tokens, mapped back through all that follows.

    It is the mean gradient, over the positions of the texts, of the log-probability of the tokens taken together, by
    one shift at some positions: the transposed Jacobian of the layers above, times the unembedding.

    Raises:
        InputError: a layer the model does not have.
        ModelError: likelihoods that are not finite.
    """
    sums = {layer: torch.zeros(model.d_model, dtype=torch.float64) for layer in layers}
    for batch in batches(texts):
        rows = cut_to_beginnings(model, batch)
        widest = max(map(len, rows))
        spread = position_weights(positions, widest, 1)[:, None]
        shifts = {layer: torch.zeros(model.d_model, requires_grad=True) for layer in layers}
        with torch.enable_grad():
            placed = {layer: (shift * spread).expand(len(rows), -1, -1) for layer, shift in shifts.items()}
            with shift_layers(model, placed):
                told = token_logprob(model, rows, tokens)
            check_likelihood(model, max(layers), float(told.detach().sum()))
            found = torch.autograd.grad(told.sum(), list(shifts.values()))
        for layer, grad in zip(shifts, found, strict=True):
            sums[layer] += grad.cpu().double() / len(texts)
    return sums


def token_share(
    model: ResidualModel,
    tokens: Sequence[int],
    texts: Sequence[TokenIds],
    *,
    layer: int,
    positions: str,
) -> Callable[[Float64[Tensor, " d_model"]], float]:
    """Return what tells how nearly a shift gives the tokens `ENOUGH` of the probability: 1 where it does, or more."""
    rows = cut_to_beginnings(model, texts)
    widest = max(map(len, rows))

    def share(shift: Float64[Tensor, " d_model"]) -> float:
        spread = shift_by_position(shift.float().expand(len(rows), -1), widest, 1, positions)
        with torch.no_grad(), shift_layers(model, {layer: spread}):
            return min(1.0, float(token_logprob(model, rows, tokens).exp().mean()) / ENOUGH)

    return share


def token_logprob(model: ResidualModel, rows: Sequence[Sequence[int]], tokens: Sequence[int]) -> Tensor:
    """Log-probability of any of the tokens, mean over each row's own positions."""
    batch = model.batch(rows)
    logits = model.hf(**batch, use_cache=False).logits.float()
    told = logits[:, :, list(tokens)].logsumexp(dim=-1) - logits.logsumexp(dim=-1)
    real = batch["attention_mask"].to(told.device).bool()
    summed: Tensor = torch.where(real, told, 0.0).sum(dim=1)
    return summed / real.sum(dim=1)
