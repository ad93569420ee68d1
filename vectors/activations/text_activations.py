"""Read texts in batches and yield their residual-stream activations; memory use does not grow with their number."""

from array import array
from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vectors.activations.pooling import Pool, pool_tokens
from vectors.common.errors import InputError
from vectors.common.validation import quote
from vectors.model.hooks import read_layers
from vectors.model.residual_model import ResidualModel, check_finite

BATCH_TOKENS = 4096
"""Maximum number of tokens of one forward, padding included."""

_CHUNK = 512  # texts encoded together, or sorted by length so that batches have little padding

TokenIds = Sequence[int]
"""The token ids of one text, with the start token if the model has one."""


def encode_texts(model: ResidualModel, texts: Sequence[str]) -> list[TokenIds]:
    """Return the token ids of each text, cut at the model's context length; copies of a text are encoded once.

    Raises:
        InputError: a text has no token of its own, or `texts` is not a list of strings.

    >>> from vectors.model.residual_model import load_model
    >>> first, second, third = encode_texts(load_model(), ["A cat purrs.", "The tide turns.", "A cat purrs."])
    >>> first == third, len(second) > 1
    (True, True)
    """
    rows = encode_by_text(model, texts)
    return [rows[text] for text in texts]


def encode_by_text(model: ResidualModel, texts: Sequence[str]) -> dict[str, TokenIds]:
    """Return the token ids of each different text, as `encode_texts`."""
    special, rows = special_ids(model), dict[str, TokenIds]()
    different = texts if isinstance(texts, str) else list(dict.fromkeys(texts))  # `encode` refuses a string
    for first in range(0, len(different), _CHUNK):
        chunk = different[first : first + _CHUNK]
        for text, ids in zip(chunk, model.encode(chunk, max_tokens=model.max_context), strict=True):
            if special.issuperset(ids):
                raise InputError(f"the text {quote(text)} has no token of its own: leave it out")
            rows[text] = array("i", ids)  # a tenth of the memory of a list
    return rows


def text_means(
    model: ResidualModel, rows: Sequence[TokenIds], layers: Sequence[int], *, pool: Pool = "mean"
) -> Iterator[tuple[list[int], dict[int, Float[Tensor, "batch d_model"]]]]:
    """Yield in batches the indices of texts and, by layer, their activations pooled over each text's own tokens.

    Special tokens (start, end, padding) are left out: a start token is an attention sink with a huge norm.
    Batches are sorted by length, so they are not in the order of `rows`.

    Args:
        model: the model.
        rows: the token ids of the texts, see `encode_texts`.
        layers: 0-based blocks.
        pool: one of `vectors.common.option_names.POOLS`, or a function; see `pool_tokens`.

    Raises:
        InputError: the model has no such layer.
        ModelError: activations are not finite.
    """
    for indices, hidden, own in token_activations(model, rows, layers):
        with torch.inference_mode():
            means = {layer: pool_tokens(hidden[layer], own, pool) for layer in layers}
        for layer in layers:
            check_finite(model, means[layer], f"activations at layer {layer}")
        yield indices, means


def token_activations(
    model: ResidualModel, rows: Sequence[TokenIds], layers: Sequence[int]
) -> Iterator[tuple[list[int], dict[int, Float[Tensor, "batch pos d_model"]], Bool[Tensor, "batch pos"]]]:
    """Yield in batches the indices of texts, their residual stream by layer, and the mask of each text's own tokens.

    Raises:
        InputError: the model has no such layer.
    """
    special = torch.tensor(sorted(special_ids(model)), dtype=torch.long)
    for first in range(0, len(rows), _CHUNK):
        order = sorted(range(first, min(first + _CHUNK, len(rows))), key=lambda index: len(rows[index]))
        for indices in _batches(order, rows):
            batch = model.batch([rows[index] for index in indices])
            own = batch["attention_mask"].bool() & ~torch.isin(batch["input_ids"], special.to(model.device))
            with torch.inference_mode():
                hidden = read_layers(model, batch, layers)
            yield indices, hidden, own


def special_ids(model: ResidualModel) -> set[int]:
    """Return the ids of special tokens; the unknown-word token counts as text."""
    tokenizer = model.tokenizer
    marks = {model.bos_id, tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id} - {None}
    return {*tokenizer.all_special_ids} - {tokenizer.unk_token_id} | {*model.eos_ids} | marks


def _batches(order: Sequence[int], rows: Sequence[Sequence[int]]) -> Iterator[list[int]]:
    """Split row indices, sorted by length, into batches of at most `BATCH_TOKENS` tokens."""
    batch: list[int] = []
    for index in order:
        if batch and (len(batch) + 1) * len(rows[index]) > BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch
