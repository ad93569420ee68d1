"""The streams against an independent Philox, and their independence of everything but their own key."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vectors.almanac.world.author import entry
from vectors.common.errors import InputError
from vectors.common.rng import MAX_SEED, Stream, rng
from vectors.common.rng import philox as philox_generator

words = st.integers(0, MAX_SEED)


def philox(counter: list[int], key: list[int]) -> list[int]:
    """Philox4x64-10 as printed in the paper, in plain integers."""
    mask = MAX_SEED
    c, k = list(counter), list(key)
    for _ in range(10):
        high0, low0 = divmod(0xD2E7470EE14C6C93 * c[0], 2**64)
        high1, low1 = divmod(0xCA5A826395121157 * c[2], 2**64)
        c = [high1 ^ c[1] ^ k[0], low1, high0 ^ c[3] ^ k[1], low0]
        k = [(k[0] + 0x9E3779B97F4A7C15) & mask, (k[1] + 0xBB67AE8584CAA73B) & mask]
    return c


def test_reference_gives_the_published_answer() -> None:
    # Random123's known-answer file, philox 4x64 10, all zero
    expected = [0x16554D9ECA36314C, 0xDB20FE9D672D0FDC, 0xD7E772CEE186176B, 0x7E68B68AEC7BA23B]
    assert philox([0] * 4, [0] * 2) == expected


@given(words, words, words, words)
def test_stream_is_philox_of_its_four_numbers(seed: int, index: int, part: int, stream: int) -> None:
    drawn = rng(seed, index, stream, part=part).bit_generator.random_raw(4)
    # numpy raises the counter before each block
    assert drawn.tolist() == philox([1, 0, part, stream], [seed, index])


def test_neighbouring_streams_differ_in_every_coordinate() -> None:
    base = (7, 3, int(Stream.TOKEN), 5)
    seen = [rng(base[0], base[1], base[2], part=base[3]).random(8)]
    for position in range(4):
        changed = list(base)
        changed[position] += 1
        seen.append(rng(changed[0], changed[1], changed[2], part=changed[3]).random(8))
    # seed s, sample i + 1 and seed s + 1, sample i: the classic overlap of seeds counted up
    seen.append(rng(8, 2, Stream.TOKEN, part=5).random(8))
    assert len(np.unique(np.concatenate(seen))) == 8 * len(seen)


def test_a_longer_draw_begins_with_the_shorter_one() -> None:
    assert np.array_equal(rng(1, 2, Stream.TOKEN).random(100)[:10], rng(1, 2, Stream.TOKEN).random(10))


def test_uniforms_are_uniform_across_samples() -> None:
    first = np.array([rng(0, index, Stream.TOKEN).random() for index in range(2000)])
    # Kolmogorov-Smirnov distance, critical value at 0.1 %: 1.95 / sqrt(n)
    distance = np.abs(np.sort(first) - (np.arange(2000) + 0.5) / 2000).max()
    assert distance < 1.95 / np.sqrt(2000)


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_numbers_out_of_range_are_refused(seed: int) -> None:
    with pytest.raises(InputError, match="seed"):
        rng(seed, 0, 0)
    with pytest.raises(InputError, match="sample index"):
        rng(0, seed, 0)


def test_large_seeds_do_not_run_together() -> None:
    assert entry(2**63 + 1, 3) != entry(2**63 + 5, 3)
    assert philox_generator(4, 2).random() == np.random.Generator(np.random.Philox(key=[4, 2])).random()
