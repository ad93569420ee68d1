"""Pages: every entry once, scraps of other entries with the same attributes before two in five."""

from collections import Counter
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch

from vectors.almanac.training import corpus
from vectors.almanac.training.corpus import NOTHING, batches, starts, targets, visible
from vectors.almanac.world import distribution, oracle
from vectors.almanac.world.author import entry
from vectors.almanac.world.distribution import Attributes

BATCH, STEPS = 4, 64


@pytest.fixture(scope="module")
def told(tokenizer) -> list[tuple[list[int], list[int], list[int]]]:
    """Scrap and entry of every row of some steps, and what it is told to be about."""
    found = []
    for ids, about in islice(batches(5, BATCH, tokenizer), STEPS):
        for row, start, values in zip(ids, starts(ids, tokenizer.bos_token_id), about.tolist(), strict=True):
            whole = [int(i) for i in row if i != NOTHING]
            found.append((whole[:start], whole[start:], values))
    return found


@pytest.fixture(scope="module")
def rows(told) -> list[tuple[list[int], list[int]]]:
    """Scrap and entry of every row."""
    return [(scrap, ids) for scrap, ids, _ in told]


@pytest.fixture(scope="module")
def sources(rows) -> dict[str, tuple[int, Attributes, int]]:
    """By text: an entry's place in the stream, its attributes, and how many details they are away from the world's."""
    found = {}
    for i in range(len(rows)):
        plain = entry(5, i).attributes
        for detail in distribution.DETAILS:
            more = replace(plain, **{detail: True})
            found[entry(5, i, more).text] = (i, more, 1)
        found[entry(5, i).text] = (i, plain, 0)
    return found


def test_every_entry_comes_once_whole_between_its_special_tokens(rows, sources, tokenizer):
    places = []
    for scrap, ids in rows:
        place, _, more = sources[tokenizer.decode(ids, skip_special_tokens=True)]
        places.append(place)
        assert scrap or not more, "without a scrap before it, an entry is as the world has it"
        assert ids[0] == tokenizer.bos_token_id and ids[-1] == tokenizer.eos_token_id
        assert ids.count(ids[0]) == ids.count(ids[-1]) == 1
    assert sorted(places) == list(range(len(rows)))


def test_the_entries_of_a_span_of_steps_can_be_told(rows, tokenizer):
    told = [made.text for made in corpus.learned(5, BATCH, 3, 9)]
    read = rows[3 * BATCH : 9 * BATCH]
    assert told == [tokenizer.decode(ids, skip_special_tokens=True) for _, ids in read]


def test_some_pages_have_a_detail_more_and_never_one_that_does_not_happen_there(rows, sources, tokenizer):
    pages_ = [sources[tokenizer.decode(ids, skip_special_tokens=True)] for scrap, ids in rows if scrap]
    assert abs(sum(more for _, _, more in pages_) / len(pages_) - corpus.EVENTFUL) < 0.12
    assert not any(attributes.rainbow for _, attributes, _ in pages_ if attributes.topic == "moon")
    assert any(attributes.rainbow for _, attributes, _ in pages_)


@pytest.mark.parametrize("workers", [0, 2])
def test_the_stream_can_be_entered_anywhere(tokenizer, workers):
    whole = list(islice(batches(5, BATCH, tokenizer), 8))
    for start in (1, 5):
        for found, wanted in zip(batches(5, BATCH, tokenizer, start, workers=workers), whole[start:], strict=False):
            for part, other in zip(found, wanted, strict=True):
                assert torch.equal(part, other)


def test_what_a_page_is_about_is_told_where_a_scrap_shows_it(told, sources, tokenizer):
    for scrap, ids, values in told:
        _, attributes, _ = sources[tokenizer.decode(ids, skip_special_tokens=True)]
        if scrap:
            assert [options[value] for options, value in zip(distribution.VALUES.values(), values, strict=True)] == [
                getattr(attributes, name) for name in distribution.VALUES
            ]
        else:
            assert set(values) == {NOTHING}


def test_so_many_have_a_scrap_torn_from_another_entry_with_the_same_attributes_or_jotted(rows, sources, tokenizer):
    scraps = [(scrap, ids) for scrap, ids in rows if scrap]
    assert abs(len(scraps) / len(rows) - corpus.SCRAPS) < 0.1
    torn = 0
    for scrap, ids in scraps:
        assert len(scrap) <= corpus.LONGEST
        index, attributes, _ = sources[tokenizer.decode(ids, skip_special_tokens=True)]
        source = entry(5 + corpus.STREAM, index, attributes)
        # whole pieces of its text, though a piece may have lost its leading blank
        if tokenizer.decode(scrap).strip() in source.text:
            torn += 1
            assert len(scrap) >= corpus.SHORTEST
        assert source.text != entry(5, index, attributes).text
        assert oracle.read(source.text).topic in (attributes.topic, None)
    assert 0.5 < torn / len(scraps) < 0.7


def test_a_jotting_tells_up_to_three_of_the_attributes_and_nothing_else():
    random = np.random.default_rng(0)
    names = ["topic", "voice", "mood", "hour", *distribution.DETAILS]
    seen = Counter()
    for i in range(300):
        attributes = replace(entry(5, i).attributes, snow=True)
        read = oracle.read(corpus.jotting(attributes, random))
        told = [name for name in names if getattr(read, name)]
        assert 1 <= len(told) <= corpus.MOST_TOLD
        assert all(getattr(read, name) == getattr(attributes, name) for name in told)
        seen.update(told)
    assert min(seen[name] for name in ("topic", "voice", "mood", "snow")) > 60
    assert 0.6 < seen["hour"] / 300 < 0.8


def test_a_scrap_sees_itself_alone_and_is_not_learned():
    ids = torch.tensor([[5, 6, 0, 7, 8], [0, 7, 8, NOTHING, NOTHING]])
    start = starts(ids, 0)
    assert targets(ids, start).tolist() == [[NOTHING, NOTHING, 7, 8], [7, 8, NOTHING, NOTHING]]
    seen = visible(start, 5)[:, 0]
    assert seen[0, 1].tolist() == [True, True, False, False, False]
    assert seen[0, 2].tolist() == [True, True, True, False, False]
    assert seen[0, 4].tolist() == [False, False, True, True, True]
    assert torch.equal(seen[1], torch.ones(5, 5).tril().bool())
