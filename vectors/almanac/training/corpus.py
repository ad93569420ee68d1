"""The training data of the embedded model: entries, some of them preceded by a prefix with the same attributes.

A prefix is either a fragment of another entry with the same attributes, or a note: a few phrases about some of the
attributes. It comes before the entry's start token, and only the start token attends to it; the entry itself attends to
the start token and to what follows. So the model learns to collect in its start token what a text will be about, and to
follow it from there to the end. An entry without a prefix has nothing before its start token and is drawn from the
world's distribution; this is how the model is sampled.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from itertools import count
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Int64
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from transformers import PreTrainedTokenizerFast

from vectors.almanac.world import distribution
from vectors.almanac.world.author import Entry, entry
from vectors.almanac.world.distribution import Attributes
from vectors.almanac.world.lexicon import phrase_lists
from vectors.common.rng import philox

PREFIXES = 0.4
"""Fraction of the entries that have a prefix."""

ADDED_DETAILS = 0.3
"""Fraction of the entries with a prefix that get one more detail than they were drawn with."""

NOTES = 0.4
"""Fraction of the prefixes that are notes."""

ADDED_HOURS = 0.5
"""Chance that a note without the hour is given it: entries mention the hour far less often than the mood."""

MAX_NOTE_ATTRIBUTES = 3

PHRASES_PER_ATTRIBUTE = 4
"""Phrases that a note has about each attribute."""

MIN_PREFIX, MAX_PREFIX = 6, 72
"""Tokens of a prefix; it is long so that many prefixes mention the hour or a detail, which have few phrases."""

STREAM = 1 << 42
"""Added to the seed, so that the model does not learn the entries that fragments are taken from."""

IGNORED = -1
"""Token id of padding, and target of positions that predict nothing."""


Batch = tuple[Int64[Tensor, "rows pos"], Int64[Tensor, "rows attributes"]]
"""Rows of token ids, and the attributes of each row as indices into `distribution.VALUES`."""


def batches(
    seed: int, batch: int, tokenizer: PreTrainedTokenizerFast, start: int = 0, *, workers: int = 0
) -> Iterator[Batch]:
    """Yield batches of rows (prefix, start token, entry, end token) from step `start` on; every entry comes once.

    The attributes of rows without a prefix are `IGNORED`. Batches are built in this process, or ahead of it by
    `workers` processes.
    """
    steps = _Steps(seed, batch, tokenizer)
    return iter(DataLoader(steps, batch_size=None, sampler=count(start), num_workers=workers))


def trained_entries(seed: int, batch: int, start: int, stop: int) -> Iterator[Entry]:
    """Yield the entries of the steps from `start` to before `stop`."""
    for step in range(start, stop):
        yield from _entries(seed, step, batch, philox(seed + STREAM, step))[0]


def encode(tokenizer: PreTrainedTokenizerFast, entries: list[Entry]) -> list[list[int]]:
    """Return the token ids of entries, from the start token to the end token."""
    return [[*ids, tokenizer.eos_token_id] for ids in tokenizer([entry.text for entry in entries])["input_ids"]]


def pad(rows: list[list[int]]) -> Int64[Tensor, "rows pos"]:
    """Return rows of unequal length as one tensor, padded on the right."""
    return torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=IGNORED)


def start_positions(ids: Int64[Tensor, "rows pos"], bos_id: int) -> Int64[Tensor, " rows"]:
    """Return the position of the start token in each row.

    >>> start_positions(torch.tensor([[0, 5, 6], [5, 0, 6]]), 0).tolist()
    [0, 1]
    """
    return (ids == bos_id).long().argmax(dim=1)


def attention_mask(start: Int64[Tensor, " rows"], length: int) -> Bool[Tensor, "rows 1 pos pos"]:
    """Return where each position attends: to no later one and, after the start token, to none before the start token.

    >>> attention_mask(torch.tensor([1]), 3)[0, 0].int().tolist()
    [[1, 0, 0], [1, 1, 0], [0, 1, 1]]
    """
    position = torch.arange(length, device=start.device)
    query, key, first = position[None, :, None], position[None, None, :], start[:, None, None]
    return ((key <= query) & ((query <= first) | (key >= first)))[:, None]


def targets(ids: Int64[Tensor, "rows pos"], start: Int64[Tensor, " rows"]) -> Int64[Tensor, "rows pos-1"]:
    """Return the token that each position but the last predicts, `IGNORED` for those of the prefix and the padding.

    A model that also learned to predict prefixes wrote notes when its start token was shifted far from known states.

    >>> targets(torch.tensor([[5, 6, 0, 7, -1]]), torch.tensor([2])).tolist()
    [[-1, -1, 7, -1]]
    """
    position = torch.arange(1, ids.shape[1], device=ids.device)
    return ids[:, 1:].masked_fill(position <= start[:, None], IGNORED)


@dataclass(frozen=True)
class _Steps(Dataset[Batch]):
    """The batch of every step."""

    seed: int
    batch: int
    tokenizer: PreTrainedTokenizerFast

    def __getitem__(self, step: int) -> Batch:
        ids, attributes = zip(*_rows(self.seed, step, self.batch, self.tokenizer), strict=True)
        return pad(list(ids)), torch.tensor(attributes)


def _rows(
    seed: int, step: int, batch: int, tokenizer: PreTrainedTokenizerFast
) -> list[tuple[list[int], tuple[int, ...]]]:
    random = philox(seed + STREAM, step)
    entries, prefixed = _entries(seed, step, batch, random)
    with_note = {i for i in prefixed if random.random() < NOTES}
    prefixes = {}
    for i in prefixed:
        attributes = entries[i].attributes
        text = note(attributes, random) if i in with_note else entry(seed + STREAM, step * batch + i, attributes).text
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        prefixes[i] = ids[:MAX_PREFIX] if i in with_note else _fragment(ids, random)
    known = {
        i: tuple(distribution.VALUES[name].index(getattr(entries[i].attributes, name)) for name in distribution.VALUES)
        for i in prefixed
    }
    unknown = (IGNORED,) * len(distribution.VALUES)
    return [([*prefixes.get(i, []), *ids], known.get(i, unknown)) for i, ids in enumerate(encode(tokenizer, entries))]


def note(attributes: Attributes, random: np.random.Generator) -> str:
    """Return phrases about some of the attributes, which may include details but not the form."""
    free = ["topic", "voice", "mood", "hour", *attributes.details]
    chosen = random.permutation(free)[: random.integers(1, MAX_NOTE_ATTRIBUTES + 1)]
    if "hour" not in chosen and random.random() < ADDED_HOURS:
        chosen[0] = "hour"
    phrases: list[str] = []
    for name in map(str, chosen):
        value = ("detail", name) if name in distribution.DETAILS else (name, str(getattr(attributes, name)))
        phrases += random.choice(_phrases(value), size=PHRASES_PER_ATTRIBUTE, replace=False).tolist()
    return ", ".join(str(phrase) for phrase in random.permutation(phrases))


@cache
def _phrases(value: tuple[str, str]) -> tuple[str, ...]:
    """Return the phrases that depend on one value of one attribute and on nothing else."""
    lists = [phrase_list for (_, condition), phrase_list in phrase_lists().items() if condition == (value,)]
    return tuple(sorted({phrase for phrase_list in lists for phrase in phrase_list.phrases}))


def _entries(seed: int, step: int, n: int, random: np.random.Generator) -> tuple[list[Entry], list[int]]:
    """Return the entries of a step, and the indices of those with a prefix."""
    entries = [entry(seed, step * n + i) for i in range(n)]
    prefixed = [int(i) for i in np.flatnonzero(random.random(n) < PREFIXES)]
    for i in prefixed:
        if random.random() < ADDED_DETAILS:
            entries[i] = entry(seed, step * n + i, _add_detail(entries[i].attributes, random))
    return entries, prefixed


def _add_detail(attributes: Attributes, random: np.random.Generator) -> Attributes:
    """Return the attributes with one more detail that is possible there, if there is one."""
    free = [
        name for name in distribution.DETAILS if not getattr(attributes, name) and _is_possible(name, attributes.topic)
    ]
    added: dict[str, Any] = {free[random.integers(len(free))]: True} if free else {}
    return replace(attributes, **added)


@cache
def _is_possible(detail: str, topic: str | None) -> bool:
    return distribution.probability({detail: True}, given={"topic": topic}) > 0


def _fragment(ids: list[int], random: np.random.Generator) -> list[int]:
    size = min(len(ids), int(random.integers(MIN_PREFIX, MAX_PREFIX + 1)))
    first = int(random.integers(len(ids) - size + 1))
    return ids[first : first + size]
