"""Entries of a stream that nothing was fitted to, shared by all tests, and a small tokenizer."""

from collections.abc import Iterator
from itertools import islice

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from vectors.almanac.training.tokenizer import train_tokenizer
from vectors.almanac.world.author import Entry, entry, stream

FRESH = 20_261_121
"""The seed of those entries."""


@pytest.fixture(scope="session")
def some_entries() -> list[Entry]:
    """3,000 fresh entries."""
    return [entry(FRESH, i) for i in range(3_000)]


@pytest.fixture(scope="session")
def many_entries(some_entries: list[Entry]) -> list[Entry]:
    """20,000 fresh entries, the first 3,000 among them."""
    return some_entries + [entry(FRESH, i) for i in range(3_000, 20_000)]


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer of 600 tokens, trained on another stream."""
    return train_tokenizer((entry.text for entry in islice(stream(5), 200)), vocab_size=600)


@pytest.fixture
def threads() -> Iterator[None]:
    """Restore torch's number of threads, which training changes."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
