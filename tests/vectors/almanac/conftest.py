"""Entries of a stream that nothing was fitted to, written once for all the tests that read them."""

import pytest

from vectors.almanac.generate import Entry, entry

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
