"""Where a shift is added."""

import pytest
import torch

from vectors.errors import InputError
from vectors.positions import POSITIONS, check_positions, on_positions

SHIFTED = {"bos": [0], "all": [0, 1, 2, 3, 4], "generated": [2, 3, 4], "not-bos": [1, 2, 3, 4]}


@pytest.mark.parametrize("positions", POSITIONS)
def test_the_shift_stands_there_and_nowhere_else(positions):
    delta = torch.tensor([[1.0, -2.0], [3.0, 4.0]])
    spread = on_positions(delta, 5, 2, positions)
    for place in range(5):
        expected = delta if place in SHIFTED[positions] else torch.zeros_like(delta)
        assert torch.equal(spread[:, place], expected)


def test_what_is_no_position_is_refused():
    with pytest.raises(InputError, match="choose from bos, all, generated, not-bos"):
        check_positions("some")
    for positions in ("bos", "not-bos"):
        with pytest.raises(InputError, match="no start token"):
            check_positions(positions, bos=False)
    assert check_positions("all", bos=False) == "all"
