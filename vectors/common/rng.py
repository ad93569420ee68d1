"""Counter-based random streams: the numbers of sample `i` under seed `s` depend on `(s, i)` alone."""

from collections.abc import Sequence
from enum import IntEnum

import numpy as np

from vectors.common.validation import MAX_SEED, check_integer


class Stream(IntEnum):
    """What random numbers are used for. The values must never change: they are part of what a seed means."""

    DIRECTION = 0
    TOKEN = 1
    FIT = 3
    COMPANIONS = 4
    RESAMPLE = 5


def rng(seed: int, index: int, stream: int, *, part: int = 0) -> np.random.Generator:
    """Return the generator `Philox(key=[seed, index], counter=[0, 0, part, stream])`.

    Generators that differ in any of the four numbers never overlap (each has 2**128 blocks), and none depends on how
    many others are used.

    Args:
        seed: The user's seed.
        index: The sample's index.
        stream: What the numbers are used for, a `Stream`.
        part: Distinguishes several generators of one sample and stream; for directions it is the layer.

    Raises:
        InputError: A number is not a whole number in `[0, 2**64 - 1]`.

    Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (2011), Philox4x64-10.

    >>> float(rng(7, 3, Stream.TOKEN).random()) == float(rng(7, 3, Stream.TOKEN).random())
    True
    """
    part, stream = check_integer(part, "part", high=MAX_SEED), check_integer(stream, "stream", high=MAX_SEED)
    return philox(seed, index, counter=(0, 0, part, stream))


def philox(seed: int, index: int, *, counter: Sequence[int] = (0, 0, 0, 0)) -> np.random.Generator:
    """Return the generator `Philox(key=[seed, index], counter=counter)`.

    Raises:
        InputError: Seed or index is not a whole number in `[0, 2**64 - 1]`.

    >>> float(philox(1, 2).random()) == float(philox(1, 3).random())
    False
    """
    key = [check_integer(seed, "seed", high=MAX_SEED), check_integer(index, "sample index", high=MAX_SEED)]
    # uint64 arrays, because numpy converts lists with numbers above 2**63 to float64, which loses bits
    return np.random.Generator(
        np.random.Philox(key=np.array(key, dtype=np.uint64), counter=np.array(counter, dtype=np.uint64))
    )
