"""The logit lens: which next tokens a direction of the residual stream makes more likely, and which less."""

import torch
from jaxtyping import Float
from torch import Tensor

from vectors.common.errors import InputError, VectorError
from vectors.common.validation import check_integer
from vectors.model.hooks import block_device, shift_layers_unchecked
from vectors.model.residual_model import ResidualModel, check_finite


def logit_lens_tokens(
    model: ResidualModel, direction: Float[Tensor, " d_model"], n: int
) -> tuple[list[str], list[str]]:
    """Return the `n` tokens whose logits a direction raises most, and the `n` that it lowers most, strongest first.

    Special tokens and ids without a text are left out. Effects through later blocks are ignored, so the result says
    little about a direction of an early layer. See `direction_logits` for the logits.

    Source: nostalgebraist, "Interpreting GPT: the logit lens" (2020).

    Args:
        model: the model.
        direction: a direction of its residual stream, of any length above zero.
        n: tokens on each side; fewer are returned if the vocabulary has fewer.

    Raises:
        InputError: `n` is no whole number of at least 1.
        VectorError: the direction has another width, length zero, or is not finite.

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
    candidates = torch.tensor(sorted(texts))
    order = candidates[scores[candidates].argsort(descending=True, stable=True)].tolist()
    return [texts[token] for token in order[:n]], [texts[token] for token in order[::-1][:n]]


def direction_logits(model: ResidualModel, directions: Float[Tensor, "rows d_model"]) -> Float[Tensor, "rows vocab"]:
    """Return the effect of each direction, at the end of the residual stream, on every token's logit.

    This is `W_U (w * d)`, with the final norm's weight `w` and, for a layer norm, the direction centred first; biases
    and the length that the norm divides by are left out. It is computed as half of the difference between the logits
    of the direction and of its opposite, through the model's own final norm and head, so that it holds for any
    architecture.

    Raises:
        VectorError: directions have another width, length zero, or are not finite.
    """
    if directions.ndim != 2 or directions.shape[1] != model.d_model:
        shape = tuple(directions.shape)
        raise VectorError(f"directions are {shape}: model {model.name!r} has width {model.d_model}, give rows of that")
    lengths = directions.norm(dim=1, keepdim=True)
    if not bool(lengths.isfinite().all()) or not bool((lengths > 0).all()):
        raise VectorError("a direction has length zero or is not finite: give one that points somewhere")
    last = model.n_layers - 1
    # rows long enough that the norm's epsilon does not matter
    rows = (directions / lengths).float() * model.d_model**0.5
    both = torch.cat([rows, -rows]).to(block_device(model, last))
    ids = [[model.bos_id or 0]] * len(both)
    with (
        torch.inference_mode(),
        # replaces the stream instead of adding to it
        shift_layers_unchecked(model, {last: both}, {last: lambda hidden, shift: shift.expand_as(hidden)}),
    ):
        logits: Tensor = model.hf(**model.batch(ids), use_cache=False).logits[:, -1].float().cpu()
    check_finite(model, logits, "logits", error=InputError)
    return (logits[: len(rows)] - logits[len(rows) :]) / 2


def token_texts(model: ResidualModel, size: int) -> dict[int, str]:
    """Return the text of every id below `size`, without special tokens and ids whose text is blank."""
    special = {*model.tokenizer.all_special_ids, *model.eos_ids, model.bos_id}
    known = [token for token in range(min(size, len(model.tokenizer))) if token not in special]
    decoded = model.tokenizer.batch_decode([[token] for token in known], clean_up_tokenization_spaces=False)
    return {token: text for token, text in zip(known, decoded, strict=True) if text.strip()}
