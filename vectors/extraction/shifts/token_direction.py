"""The direction that leads to certain tokens: the gradient of their log-probability by a shift."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from vectors.activations.text_activations import TokenIds
from vectors.activations.text_likelihood import batches, check_likelihood, cut_to_beginnings
from vectors.common.errors import InputError
from vectors.common.validation import quote
from vectors.model.hooks import shift_layers
from vectors.model.output_head import final_states, map_logits
from vectors.model.positions import position_weights, shift_by_position
from vectors.model.residual_model import ResidualModel

TARGET_SHARE = 0.1
"""Probability of the words under a shift of sufficient length."""


def token_ids(model: ResidualModel, words: Sequence[str]) -> list[int]:
    """Return the ids of words that are single tokens: as given, capitalised, and each with a space before it.

    Raises:
        InputError: no words, or a word that is no single token in any of these forms.
    """
    if not words:
        raise InputError("no word is given: name the words that the direction should lead to")
    word_ids: set[int] = set()
    for word in words:
        forms = {space + form for form in (word, word.capitalize()) for space in ("", " ")}
        encoded = [model.encode([form])[0] for form in sorted(forms)]
        without_start = [ids[1:] if model.bos_id is not None else ids for ids in encoded]
        unknown = model.tokenizer.unk_token_id
        single = {ids[0] for ids in without_start if len(ids) == 1 and ids[0] != unknown}
        if not single:
            parts = ", ".join(quote(model.decode([token])) for token in without_start[-1]) or "nothing"
            raise InputError(f"{quote(word)} is no single token of model {model.name!r} ({parts}): name words that are")
        word_ids |= single
    return sorted(word_ids)


def towards_tokens(
    model: ResidualModel, tokens: Sequence[int], texts: Sequence[TokenIds], layers: Sequence[int], *, positions: str
) -> dict[int, Float64[Tensor, " d_model"]]:
    """Return by layer the mean gradient of the log-probability of any of the tokens by a shift.

    The log-probability is averaged over the positions of each text, and the gradient over the texts. It is the
    unembedding of the tokens times the transposed Jacobian of the layers above.

    Args:
        model: the model.
        tokens: ids of the tokens.
        texts: token ids of each text.
        layers: 0-based blocks.
        positions: where the shift is added.

    Raises:
        InputError: a layer that the model does not have.
        ModelError: likelihoods that are not finite.
    """
    gradients = {layer: torch.zeros(model.d_model, dtype=torch.float64) for layer in layers}
    for batch in batches(texts):
        rows = cut_to_beginnings(model, batch)
        width = max(map(len, rows))
        is_shifted = position_weights(positions, width, 1)[:, None]
        shifts = {layer: torch.zeros(model.d_model, requires_grad=True) for layer in layers}
        with torch.enable_grad():
            by_position = {layer: (shift * is_shifted).expand(len(rows), -1, -1) for layer, shift in shifts.items()}
            with shift_layers(model, by_position):
                log_probs = token_logprob(model, rows, tokens)
            check_likelihood(model, max(layers), float(log_probs.detach().sum()))
            batch_gradients = torch.autograd.grad(log_probs.sum(), list(shifts.values()))
        for layer, gradient in zip(shifts, batch_gradients, strict=True):
            gradients[layer] += gradient.cpu().double() / len(texts)
    return gradients


def token_share(
    model: ResidualModel,
    tokens: Sequence[int],
    texts: Sequence[TokenIds],
    *,
    layer: int,
    positions: str,
) -> Callable[[Float64[Tensor, " d_model"]], float]:
    """Return a score of shifts: the probability of the tokens under the shift over `TARGET_SHARE`, at most 1."""
    rows = cut_to_beginnings(model, texts)
    width = max(map(len, rows))

    def score(shift: Float64[Tensor, " d_model"]) -> float:
        by_position = shift_by_position(shift.float().expand(len(rows), -1), width, 1, positions)
        with torch.no_grad(), shift_layers(model, {layer: by_position}):
            return min(1.0, float(token_logprob(model, rows, tokens).exp().mean()) / TARGET_SHARE)

    return score


def token_logprob(model: ResidualModel, rows: Sequence[Sequence[int]], tokens: Sequence[int]) -> Float[Tensor, " rows"]:
    """Return the log-probability that the next token is any of `tokens`, averaged over the positions of each row."""
    batch = model.batch(rows)
    states = final_states(model, batch)
    is_token = batch["attention_mask"].to(states.device).bool()

    def logprob(logits: Tensor) -> Tensor:
        return logits[:, list(tokens)].logsumexp(dim=-1) - logits.logsumexp(dim=-1)

    log_probs = map_logits(model, logprob, states[is_token])
    sums = log_probs.new_zeros(is_token.shape).masked_scatter(is_token, log_probs).sum(dim=1)
    return sums / is_token.sum(dim=1)
