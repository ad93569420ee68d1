"""Counter-based random streams: what sample `i` of seed `s` draws is a pure function of `(s, i)`."""

from collections.abc import Sequence
from enum import IntEnum

import numpy as np

from vectors.common.validation import MAX_SEED, check_integer


class Stream(IntEnum):
    """What a stream is drawn for; the numbers are part of what a seed means, so they never change."""

    DIRECTION = 0
    TOKEN = 1
    FIT = 3
    COMPANIONS = 4
    RESAMPLE = 5


def rng(seed: int, index: int, stream: int, *, part: int = 0) -> np.random.Generator:
    """Return the generator of one sample and one purpose: `Philox(key=[seed, index], counter=[0, 0, part, stream])`.

    Streams that differ in any of the four numbers never overlap (each owns 2**128 blocks), and none depends on how
    many others exist. `part` tells apart what one sample draws several times for one purpose: for directions it is
    the layer.

    Raises:
        InputError: when a number is not whole or outside `[0, 2**64 - 1]`.

    Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (2011), Philox4x64-10.

    >>> float(rng(7, 3, Stream.TOKEN).random()) == float(rng(7, 3, Stream.TOKEN).random())
    True
    """
    return philox(
        seed,
        index,
        counter=(0, 0, check_integer(part, "part", high=MAX_SEED), check_integer(stream, "stream", high=MAX_SEED)),
    )


def philox(seed: int, index: int, *, counter: Sequence[int] = (0, 0, 0, 0)) -> np.random.Generator:
    """Return the generator `Philox(key=[seed, index], counter=counter)`.

    Raises:
        InputError: when seed or index is not whole or outside `[0, 2**64 - 1]`.

    >>> float(philox(1, 2).random()) == float(philox(1, 3).random())
    False
    """
    key = [check_integer(seed, "seed", high=MAX_SEED), check_integer(index, "sample index", high=MAX_SEED)]
    # arrays of uint64: numpy would otherwise pass a list that holds a number above 2**63 through float64 and lose bits
    return np.random.Generator(
        np.random.Philox(key=np.array(key, dtype=np.uint64), counter=np.array(counter, dtype=np.uint64))
    )
