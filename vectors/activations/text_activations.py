"""Texts to per-layer moments of the residual stream, streaming: memory does not grow with the number of texts."""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vectors.activations.pooling import Pool, pool_tokens
from vectors.common.errors import InputError, ModelError
from vectors.common.validation import quote
from vectors.model.hooks import read_layers
from vectors.model.residual_model import ResidualModel

BATCH_TOKENS = 4096
"""Tokens of one forward, padding included."""

_CHUNK = 512  # texts tokenised and sorted by length together, so that a batch holds little padding


def text_means(
    model: ResidualModel, texts: Sequence[str], layers: Sequence[int], *, pool: Pool = "mean"
) -> Iterator[tuple[list[int], dict[int, Float[Tensor, "batch d_model"]]]]:
    """Yield batches of the residual stream averaged over each text's own tokens, with the texts' places in `texts`.

    `pool` is the average, or another one of `vectors.common.option_names.POOLS`, or a function.
    Special tokens (start, end, padding) are in no average: a start token is an attention sink with a huge norm. Of a
    text longer than the model's context only the beginning is read. Texts come shortest first within a chunk, so
    batches are not in the order of `texts`.

    Raises:
        InputError: a text without a single token of its own, or a layer the model does not have.
        ModelError: activations that are not finite.
    """
    for places, found, own in token_activations(model, texts, layers):
        with torch.inference_mode():
            means = {layer: pool_tokens(found[layer], own, pool) for layer in layers}
        for layer in layers:
            if not bool(means[layer].isfinite().all()):
                raise ModelError(
                    f"activations of model {model.name!r} at layer {layer} are not finite: load it in float32"
                )
        yield places, means


def token_activations(
    model: ResidualModel, texts: Sequence[str], layers: Sequence[int]
) -> Iterator[tuple[list[int], dict[int, Float[Tensor, "batch pos d_model"]], Bool[Tensor, "batch pos"]]]:
    """Yield batches of the residual stream, with the texts' places and with which positions are a text's own tokens.

    Raises:
        InputError: a text without a single token of its own, or a layer the model does not have.
    """
    special = torch.tensor(sorted(special_ids(model)), dtype=torch.long)
    for first in range(0, len(texts), _CHUNK):
        chunk = texts[first : first + _CHUNK]
        rows = model.encode(chunk, max_tokens=model.max_context)
        _check_own(model, chunk, rows)
        order = sorted(range(len(rows)), key=lambda place: len(rows[place]))
        for places in _batches(order, rows):
            batch = model.batch([rows[place] for place in places])
            own = batch["attention_mask"].bool() & ~torch.isin(batch["input_ids"], special.to(model.device))
            with torch.inference_mode():
                found = read_layers(model, batch, layers)
            yield [first + place for place in places], found, own


def check_texts(model: ResidualModel, texts: Sequence[str]) -> None:
    """Refuse a text that holds nothing for the model to read, before anything slow.

    Raises:
        InputError: a text without a single token of its own.
    """
    for first in range(0, len(texts), _CHUNK):
        chunk = texts[first : first + _CHUNK]
        _check_own(model, chunk, model.encode(chunk, max_tokens=model.max_context))


def _check_own(model: ResidualModel, texts: Sequence[str], rows: Sequence[Sequence[int]]) -> None:
    special = special_ids(model)
    for text, row in zip(texts, rows, strict=True):
        if special.issuperset(row):
            raise InputError(f"the text {quote(text)} has no token of its own: leave it out")


def special_ids(model: ResidualModel) -> set[int]:
    """Return the ids that are no text; the one that stands for an unknown word is some."""
    tokenizer = model.tokenizer
    marks = {model.bos_id, tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id} - {None}
    return {*tokenizer.all_special_ids} - {tokenizer.unk_token_id} | {*model.eos_ids} | marks


def _batches(order: Sequence[int], rows: Sequence[Sequence[int]]) -> Iterator[list[int]]:
    places: list[int] = []
    for place in order:
        if places and (len(places) + 1) * len(rows[place]) > BATCH_TOKENS:
            yield places
            places = []
        places.append(place)
    if places:
        yield places
