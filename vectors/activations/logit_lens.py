"""The logit lens: which next tokens a direction of the residual stream speaks for, and which against."""

import torch
from jaxtyping import Float
from torch import Tensor

from vectors.common.errors import InputError, VectorError
from vectors.common.validation import check_integer
from vectors.model.hooks import block_device, shift_layers_unchecked
from vectors.model.residual_model import ResidualModel


def logit_lens_tokens(
    model: ResidualModel, direction: Float[Tensor, " d_model"], n: int
) -> tuple[list[str], list[str]]:
    """Return the `n` tokens that a direction makes likeliest, and the `n` least likely, the strongest first.

    The direction is unembedded by itself: `W_U (w * d)`, with the final norm's weight `w` folded in and, for a layer
    norm, the direction centred first. What later blocks would make of it is left out (of a direction of an early layer
    this says little), and so are the norm's and the head's biases and the length that the norm would divide by, which
    is the same for all tokens. Special tokens and ids without a text are no candidates.

    The tail of the model itself is run, on the direction and on its opposite, so that whatever an architecture has
    there is in it; half of the difference is taken.

    Source: nostalgebraist, "Interpreting GPT: the logit lens" (2020).

    Args:
        model: the model whose stream it lies in.
        direction: of any length but zero.
        n: tokens on each side; fewer come back where the vocabulary has fewer.

    Raises:
        InputError: no whole number of tokens, at least one.
        VectorError: a direction of another width, of length zero, or that is not finite.

    >>> from vectors.model.residual_model import load_model
    >>> from vectors.concepts.library import load
    >>> model = load_model()
    >>> top, bottom = logit_lens_tokens(model, load("sea", model).direction, 4)
    >>> len(top), len(set(top) & set(bottom))
    (4, 0)
    """
    n = check_integer(n, "n", low=1)
    scores = direction_logits(model, direction[None])[0]
    texts = token_texts(model, len(scores))
    kept = torch.tensor(sorted(texts))
    order = kept[scores[kept].argsort(descending=True, stable=True)].tolist()
    return [texts[token] for token in order[:n]], [texts[token] for token in order[::-1][:n]]


def direction_logits(model: ResidualModel, directions: Float[Tensor, "rows d_model"]) -> Float[Tensor, "rows vocab"]:
    """Return how far each direction, by itself at the end of the residual stream, moves every token's logit.

    Raises:
        VectorError: directions of another width, of length zero, or not finite.
    """
    if directions.ndim != 2 or directions.shape[1] != model.d_model:
        given = tuple(directions.shape)
        raise VectorError(f"directions are {given}: model {model.name!r} has width {model.d_model}, give rows of that")
    lengths = directions.norm(dim=1, keepdim=True)
    if not bool(lengths.isfinite().all()) or not bool((lengths > 0).all()):
        raise VectorError("a direction has length zero or is not finite: give one that points somewhere")
    last = model.n_layers - 1
    # long enough that a norm's epsilon is nothing beside it
    rows = (directions / lengths).float() * model.d_model**0.5
    both = torch.cat([rows, -rows]).to(block_device(model, last))
    ids = [[model.bos_id or 0]] * len(both)
    with (
        torch.inference_mode(),
        # put in place of the stream instead of added to it
        shift_layers_unchecked(model, {last: both}, {last: lambda hidden, shift: shift.expand_as(hidden)}),
    ):
        logits: Tensor = model.hf(**model.batch(ids), use_cache=False).logits[:, -1].float().cpu()
    if not bool(logits.isfinite().all()):
        raise InputError(f"the logits of model {model.name!r} are not finite: load it in float32")
    return (logits[: len(rows)] - logits[len(rows) :]) / 2


def token_texts(model: ResidualModel, size: int) -> dict[int, str]:
    """Return the text of every id below `size` that has one and is no special token."""
    special = {*model.tokenizer.all_special_ids, *model.eos_ids, model.bos_id}
    known = [token for token in range(min(size, len(model.tokenizer))) if token not in special]
    decoded = model.tokenizer.batch_decode([[token] for token in known], clean_up_tokenization_spaces=False)
    return {token: text for token, text in zip(known, decoded, strict=True) if text.strip()}
