"""What the embedded model is trained on: entries, some behind a scrap of another entry from their page.

A page is two entries with the same attributes. All that an entry sees of the scrap before it is what its start token
took in: the start token alone looks back. So the model learns to gather there what a text will be about and to follow
it from there to the end, as it would follow a heading. An entry without a scrap sees nothing before it and is drawn
from the world as it is; that is how the model is sampled.
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

SCRAPS = 0.4
"""Share of the entries that have a scrap before them."""

EVENTFUL = 0.3
"""Share of the pages that have a detail more than the world gave them."""

JOTTED = 0.4
"""Share of the scraps that are jottings."""

HOURLY = 0.5
"""Share of the jottings that would not tell the hour which do: an entry gives it two places, and the mood a dozen."""

MOST_TOLD = 3
"""Attributes that a jotting tells, at most."""

EACH = 4
"""Phrases of a jotting for each attribute."""

SHORTEST, LONGEST = 6, 72
"""Tokens of a scrap: an hour or a detail shows in few places, and many scraps must have it."""

STREAM = 1 << 42
"""Added to the seed: the entries that scraps are torn from are none of those that are learned."""

NOTHING = -1
"""Fills up a row behind its end."""


Batch = tuple[Int64[Tensor, "rows pos"], Int64[Tensor, "rows attributes"]]
"""Rows of token ids, and what the page of each is about."""


def batches(
    seed: int, batch: int, tokenizer: PreTrainedTokenizerFast, start: int = 0, *, workers: int = 0
) -> Iterator[Batch]:
    """Yield batches of rows (scrap, start token, entry, end token) from step `start` on; every entry comes once.

    With each row comes what its page is about: the place of every attribute's value in `world.VALUES`, and `NOTHING`
    where no scrap tells it. They are drawn in this process, or by so many workers ahead of it.
    """
    steps = _Steps(seed, batch, tokenizer)
    return iter(DataLoader(steps, batch_size=None, sampler=count(start), num_workers=workers))


def learned(seed: int, batch: int, start: int, stop: int) -> Iterator[Entry]:
    """Yield the entries that steps from `start` to before `stop` read."""
    for step in range(start, stop):
        yield from _written(seed, step, batch, philox(seed + STREAM, step))[0]


def encode(tokenizer: PreTrainedTokenizerFast, entries: list[Entry]) -> list[list[int]]:
    """Entries as token ids, the start token first and the end token last."""
    return [[*ids, tokenizer.eos_token_id] for ids in tokenizer([made.text for made in entries])["input_ids"]]


def padded(rows: list[list[int]]) -> Int64[Tensor, "rows pos"]:
    """Rows of unequal length as one tensor."""
    return torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=NOTHING)


def starts(ids: Int64[Tensor, "rows pos"], bos_id: int) -> Int64[Tensor, " rows"]:
    """Return where the start token of each row is.

    >>> starts(torch.tensor([[0, 5, 6], [5, 0, 6]]), 0).tolist()
    [0, 1]
    """
    return (ids == bos_id).long().argmax(dim=1)


def visible(start: Int64[Tensor, " rows"], length: int) -> Bool[Tensor, "rows 1 pos pos"]:
    """Which positions each position attends to: none after it and, behind the start token, none before that.

    >>> visible(torch.tensor([1]), 3)[0, 0].int().tolist()
    [[1, 0, 0], [1, 1, 0], [0, 1, 1]]
    """
    place = torch.arange(length, device=start.device)
    query, key, begins = place[None, :, None], place[None, None, :], start[:, None, None]
    return ((key <= query) & ((query <= begins) | (key >= begins)))[:, None]


def targets(ids: Int64[Tensor, "rows pos"], start: Int64[Tensor, " rows"]) -> Int64[Tensor, "rows pos-1"]:
    """The token that each position but the last is to predict, and `NOTHING` where none is: a scrap is only read.

    A model that learned a scrap's words too fell to jotting where its start token was pushed far from what it knew.

    >>> targets(torch.tensor([[5, 6, 0, 7, -1]]), torch.tensor([2])).tolist()
    [[-1, -1, 7, -1]]
    """
    place = torch.arange(1, ids.shape[1], device=ids.device)
    return ids[:, 1:].masked_fill(place <= start[:, None], NOTHING)


@dataclass(frozen=True)
class _Steps(Dataset[Batch]):
    """The batch of every step."""

    seed: int
    batch: int
    tokenizer: PreTrainedTokenizerFast

    def __getitem__(self, step: int) -> Batch:
        ids, about = zip(*_rows(self.seed, step, self.batch, self.tokenizer), strict=True)
        return padded(list(ids)), torch.tensor(about)


def _rows(
    seed: int, step: int, batch: int, tokenizer: PreTrainedTokenizerFast
) -> list[tuple[list[int], tuple[int, ...]]]:
    random = philox(seed + STREAM, step)
    entries, torn = _written(seed, step, batch, random)
    jotted = {i for i in torn if random.random() < JOTTED}
    scraps = {}
    for i in torn:
        told = entries[i].attributes
        text = jotting(told, random) if i in jotted else entry(seed + STREAM, step * batch + i, told).text
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        scraps[i] = ids[:LONGEST] if i in jotted else _torn(ids, random)
    about = {
        i: tuple(distribution.VALUES[name].index(getattr(entries[i].attributes, name)) for name in distribution.VALUES)
        for i in torn
    }
    unknown = (NOTHING,) * len(distribution.VALUES)
    return [([*scraps.get(i, []), *ids], about.get(i, unknown)) for i, ids in enumerate(encode(tokenizer, entries))]


def jotting(attributes: Attributes, random: np.random.Generator) -> str:
    """Return phrases that tell some of the attributes, details among them, but never the form."""
    free = ["topic", "voice", "mood", "hour", *attributes.details]
    told = random.permutation(free)[: random.integers(1, MOST_TOLD + 1)]
    if "hour" not in told and random.random() < HOURLY:
        told[0] = "hour"
    phrases: list[str] = []
    for name in map(str, told):
        alone = ("detail", name) if name in distribution.DETAILS else (name, str(getattr(attributes, name)))
        phrases += random.choice(_phrases(alone), size=EACH, replace=False).tolist()
    return ", ".join(str(phrase) for phrase in random.permutation(phrases))


@cache
def _phrases(alone: tuple[str, str]) -> tuple[str, ...]:
    """What is said of one attribute and hangs on no other."""
    lists = [found for (_, condition), found in phrase_lists().items() if condition == (alone,)]
    return tuple(sorted({phrase for found in lists for phrase in found.phrases}))


def _written(seed: int, step: int, n: int, random: np.random.Generator) -> tuple[list[Entry], list[int]]:
    """The entries of a step, and which of them have a scrap before them."""
    entries = [entry(seed, step * n + i) for i in range(n)]
    torn = [int(i) for i in np.flatnonzero(random.random(n) < SCRAPS)]
    for i in torn:
        if random.random() < EVENTFUL:
            entries[i] = entry(seed, step * n + i, _eventful(entries[i].attributes, random))
    return entries, torn


def _eventful(attributes: Attributes, random: np.random.Generator) -> Attributes:
    """The attributes with one detail more that may happen there, if there is one."""
    free = [name for name in distribution.DETAILS if not getattr(attributes, name) and _happens(name, attributes.topic)]
    more: dict[str, Any] = {free[random.integers(len(free))]: True} if free else {}
    return replace(attributes, **more)


@cache
def _happens(detail: str, topic: str | None) -> bool:
    return distribution.probability({detail: True}, given={"topic": topic}) > 0


def _torn(ids: list[int], random: np.random.Generator) -> list[int]:
    size = min(len(ids), int(random.integers(SHORTEST, LONGEST + 1)))
    at = int(random.integers(len(ids) - size + 1))
    return ids[at : at + size]
