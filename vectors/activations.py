"""Texts to per-layer moments of the residual stream, streaming: memory does not grow with the number of texts."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from vectors.checks import shown
from vectors.errors import InputError, ModelError
from vectors.model import ResidualModel
from vectors.pooling import Pool, pooled
from vectors.progress import More
from vectors.residual import read

BATCH_TOKENS = 4096
"""Tokens of one forward, padding included."""

_CHUNK = 512  # texts tokenised and sorted by length together, so that a batch holds little padding


@dataclass
class Moments:
    """Running first and, if asked for, second moments of one layer's text means, in float64.

    >>> import torch
    >>> moments = Moments.empty(2)
    >>> moments.add(torch.tensor([[1.0, 0.0], [3.0, 2.0]]))
    >>> moments.count, moments.mean.tolist()
    (2, [2.0, 1.0])
    """

    count: float
    """How many rows there were, or the sum of their weights."""

    mean: Float64[Tensor, " d_model"]
    scatter: Float64[Tensor, "d_model d_model"] | None
    """Sum of outer products of deviations from the mean."""

    @classmethod
    def empty(cls, d_model: int, *, second: bool = False) -> "Moments":
        """Moments of nothing yet."""
        scatter = torch.zeros(d_model, d_model, dtype=torch.float64) if second else None
        return cls(0, torch.zeros(d_model, dtype=torch.float64), scatter)

    def add(self, rows: Float[Tensor, "rows d_model"], weights: Float64[Tensor, " rows"] | None = None) -> None:
        """Take more rows in. Source: Chan, Golub and LeVeque, "Updating formulae" (1979)."""
        rows = rows.cpu().double()  # in this order: not every device knows float64
        more = len(rows) if weights is None else float(weights.sum())
        if not more:
            return
        mean, count = rows.mean(dim=0) if weights is None else weights @ rows / more, self.count + more
        step = mean - self.mean
        if self.scatter is not None:
            centred = rows - mean
            spread = centred if weights is None else centred * weights[:, None]
            self.scatter += centred.T @ spread + torch.outer(step, step) * (self.count * more / count)
        self.mean = self.mean + step * (more / count)
        self.count = count

    def without(self, part: "Moments") -> "Moments":
        """Return the moments of the rows that are not in a part of them.

        >>> import torch
        >>> every, part = Moments.empty(1), Moments.empty(1)
        >>> every.add(torch.tensor([[1.0], [2.0], [6.0]])), part.add(torch.tensor([[6.0]]))
        (None, None)
        >>> every.without(part).mean.tolist()
        [1.5]
        """
        count = self.count - part.count
        if count <= 0:
            return Moments.empty(len(self.mean), second=self.scatter is not None)
        mean = self.mean + (self.mean - part.mean) * (part.count / count)
        if self.scatter is None or part.scatter is None:
            return Moments(count, mean, None)
        step = part.mean - mean
        spread = torch.outer(step, step) * (part.count * count / self.count)
        return Moments(count, mean, self.scatter - part.scatter - spread)


def text_means(
    model: ResidualModel, texts: Sequence[str], layers: Sequence[int], *, pool: Pool = "mean"
) -> Iterator[tuple[list[int], dict[int, Float[Tensor, "batch d_model"]]]]:
    """Yield batches of the residual stream averaged over each text's own tokens, with the texts' places in `texts`.

    With another `pool`, one of `vectors.choices.POOLS` or a function, it is not the average but what that says.
    Special tokens (start, end, padding) are in no average: a start token is an attention sink with a huge norm. Of a
    text longer than the model's context only the beginning is read. Texts come shortest first within a chunk, so
    batches are not in the order of `texts`.

    Raises:
        InputError: a text without a single token of its own, or a layer the model does not have.
        ModelError: activations that are not finite.
    """
    for places, found, own in own_tokens(model, texts, layers):
        with torch.inference_mode():
            means = {layer: pooled(found[layer], own, pool) for layer in layers}
        for layer in layers:
            if not bool(means[layer].isfinite().all()):
                raise ModelError(
                    f"activations of model {model.name!r} at layer {layer} are not finite: load it in float32"
                )
        yield places, means


def own_tokens(
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
                found = read(model, batch, layers)
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
            raise InputError(f"the text {shown(text)} has no token of its own: leave it out")


def special_ids(model: ResidualModel) -> set[int]:
    """Return the ids that are no text; the one that stands for an unknown word is some."""
    tokenizer = model.tokenizer
    marks = {model.bos_id, tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id} - {None}
    return {*tokenizer.all_special_ids} - {tokenizer.unk_token_id} | {*model.eos_ids} | marks


def moments(
    model: ResidualModel,
    texts: Sequence[str],
    layers: Sequence[int],
    *,
    second: bool = False,
    pool: Pool = "mean",
    weights: Mapping[str, float] | None = None,
    progress: More | None = None,
) -> dict[int, Moments]:
    """Return, for each layer, the moments of the texts' mean activations, or of what another `pool` makes of them.

    A text counts as much as its weight says, and 1 where nothing is said.

    Raises:
        InputError: a text without a token of its own, or a layer the model does not have.
    """
    found = {layer: Moments.empty(model.d_model, second=second) for layer in layers}
    for places, means in text_means(model, texts, layers, pool=pool):
        counts = None
        if weights:
            counts = torch.tensor([weights.get(texts[place], 1.0) for place in places], dtype=torch.float64)
        for layer in layers:
            found[layer].add(means[layer], counts)
        if progress:
            progress(len(places))
    return found


def _batches(order: Sequence[int], rows: Sequence[Sequence[int]]) -> Iterator[list[int]]:
    places: list[int] = []
    for place in order:
        if places and (len(places) + 1) * len(rows[place]) > BATCH_TOKENS:
            yield places
            places = []
        places.append(place)
    if places:
        yield places
