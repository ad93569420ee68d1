"""The training data: every entry once, two in five with a prefix that has the same attributes."""

from collections import Counter
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch

from vectors.almanac.training import corpus
from vectors.almanac.training.corpus import IGNORED, attention_mask, batches, start_positions, targets
from vectors.almanac.world import distribution, oracle
from vectors.almanac.world.author import entry
from vectors.almanac.world.distribution import Attributes

BATCH, STEPS = 4, 64


@pytest.fixture(scope="module")
def told(tokenizer) -> list[tuple[list[int], list[int], list[int]]]:
    """Prefix, entry and attributes of every row of some steps."""
    found = []
    for ids, attributes in islice(batches(5, BATCH, tokenizer), STEPS):
        for row, start, values in zip(
            ids, start_positions(ids, tokenizer.bos_token_id), attributes.tolist(), strict=True
        ):
            whole = [int(i) for i in row if i != IGNORED]
            found.append((whole[:start], whole[start:], values))
    return found


@pytest.fixture(scope="module")
def rows(told) -> list[tuple[list[int], list[int]]]:
    """Prefix and entry of every row."""
    return [(prefix, ids) for prefix, ids, _ in told]


@pytest.fixture(scope="module")
def sources(rows) -> dict[str, tuple[int, Attributes, int]]:
    """By text: the index of an entry in the stream, its attributes, and the number of details added to it."""
    found = {}
    for i in range(len(rows)):
        plain = entry(5, i).attributes
        for detail in distribution.DETAILS:
            more = replace(plain, **{detail: True})
            found[entry(5, i, more).text] = (i, more, 1)
        found[entry(5, i).text] = (i, plain, 0)
    return found


@pytest.mark.slow
def test_every_entry_comes_once_between_its_special_tokens(rows, sources, tokenizer):
    indices = []
    for prefix, ids in rows:
        index, _, more = sources[tokenizer.decode(ids, skip_special_tokens=True)]
        indices.append(index)
        assert prefix or not more, "an entry without a prefix has the attributes it was drawn with"
        assert ids[0] == tokenizer.bos_token_id and ids[-1] == tokenizer.eos_token_id
        assert ids.count(ids[0]) == ids.count(ids[-1]) == 1
    assert sorted(indices) == list(range(len(rows)))


def test_the_entries_of_some_steps_are_those_of_their_batches(rows, tokenizer):
    told = [made.text for made in corpus.trained_entries(5, BATCH, 3, 9)]
    read = rows[3 * BATCH : 9 * BATCH]
    assert told == [tokenizer.decode(ids, skip_special_tokens=True) for _, ids in read]


def test_added_details_are_possible_under_the_topic(rows, sources, tokenizer):
    prefixed = [sources[tokenizer.decode(ids, skip_special_tokens=True)] for prefix, ids in rows if prefix]
    assert abs(sum(more for _, _, more in prefixed) / len(prefixed) - corpus.ADDED_DETAILS) < 0.12
    assert not any(attributes.rainbow for _, attributes, _ in prefixed if attributes.topic == "moon")
    assert any(attributes.rainbow for _, attributes, _ in prefixed)


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_can_start_at_any_step(tokenizer, workers):
    whole = list(islice(batches(5, BATCH, tokenizer), 8))
    for start in (1, 5):
        for found, wanted in zip(batches(5, BATCH, tokenizer, start, workers=workers), whole[start:], strict=False):
            for part, other in zip(found, wanted, strict=True):
                assert torch.equal(part, other)


def test_attributes_are_given_for_rows_with_a_prefix(told, sources, tokenizer):
    for prefix, ids, values in told:
        _, attributes, _ = sources[tokenizer.decode(ids, skip_special_tokens=True)]
        if prefix:
            assert [options[value] for options, value in zip(distribution.VALUES.values(), values, strict=True)] == [
                getattr(attributes, name) for name in distribution.VALUES
            ]
        else:
            assert set(values) == {IGNORED}


def test_prefixes_are_fragments_of_entries_with_the_same_attributes_or_notes(rows, sources, tokenizer):
    prefixes = [(prefix, ids) for prefix, ids in rows if prefix]
    assert abs(len(prefixes) / len(rows) - corpus.PREFIXES) < 0.1
    fragments = 0
    for prefix, ids in prefixes:
        assert len(prefix) <= corpus.MAX_PREFIX
        index, attributes, _ = sources[tokenizer.decode(ids, skip_special_tokens=True)]
        source = entry(5 + corpus.STREAM, index, attributes)
        # whole tokens of its text, though the first may have lost its leading blank
        if tokenizer.decode(prefix).strip() in source.text:
            fragments += 1
            assert len(prefix) >= corpus.MIN_PREFIX
        assert source.text != entry(5, index, attributes).text
        assert oracle.read(source.text).topic in (attributes.topic, None)
    assert 0.5 < fragments / len(prefixes) < 0.7


def test_a_note_mentions_one_to_three_attributes_and_nothing_else():
    random = np.random.default_rng(0)
    names = ["topic", "voice", "mood", "hour", *distribution.DETAILS]
    seen = Counter()
    for i in range(300):
        attributes = replace(entry(5, i).attributes, snow=True)
        read = oracle.read(corpus.note(attributes, random))
        told = [name for name in names if getattr(read, name)]
        assert 1 <= len(told) <= corpus.MAX_NOTE_ATTRIBUTES
        assert all(getattr(read, name) == getattr(attributes, name) for name in told)
        seen.update(told)
    assert min(seen[name] for name in ("topic", "voice", "mood", "snow")) > 60
    assert 0.6 < seen["hour"] / 300 < 0.8


def test_a_prefix_attends_to_itself_alone_and_is_not_predicted():
    ids = torch.tensor([[5, 6, 0, 7, 8], [0, 7, 8, IGNORED, IGNORED]])
    start = start_positions(ids, 0)
    assert targets(ids, start).tolist() == [[IGNORED, IGNORED, 7, 8], [7, 8, IGNORED, IGNORED]]
    seen = attention_mask(start, 5)[:, 0]
    assert seen[0, 1].tolist() == [True, True, False, False, False]
    assert seen[0, 2].tolist() == [True, True, True, False, False]
    assert seen[0, 4].tolist() == [False, False, True, True, True]
    assert torch.equal(seen[1], torch.ones(5, 5).tril().bool())
