"""Where a shift is added."""

import pytest
import torch

from vectors.common.errors import InputError
from vectors.model.positions import POSITIONS, check_positions, position_weights, shift_by_position

SHIFTED = {"bos": [0], "all": [0, 1, 2, 3, 4], "generated": [2, 3, 4], "not-bos": [1, 2, 3, 4]}


@pytest.mark.parametrize("positions", POSITIONS)
def test_the_shift_stands_there_and_nowhere_else(positions):
    delta = torch.tensor([[1.0, -2.0], [3.0, 4.0]])
    spread = shift_by_position(delta, 5, 2, positions)
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


def test_a_scope_ends_or_fades_with_the_tokens_that_are_drawn():
    # of five positions two were given: the second draws the first token
    assert position_weights("first:1", 5, 2).tolist() == [1, 1, 0, 0, 0]
    assert position_weights("first:3", 5, 2).tolist() == [1, 1, 1, 1, 0]
    assert position_weights("first:999999999", 5, 2).tolist() == position_weights("all", 5, 2).tolist()
    assert position_weights("decay:2", 6, 2).tolist() == pytest.approx([1, 1, 0.5**0.5, 0.5, 0.5**1.5, 0.25])
    assert position_weights("decay:999999999", 5, 2).tolist() == pytest.approx([1] * 5)


@pytest.mark.parametrize(
    "given",
    ["first", "first:", "first:0", "first:-1", "first:1.5", "first:1e3", "first: 3", "decay:", "decay:x", "decay:nan",
     "decay:-1", "decay:1.", "first:3\n", "first:\u0663", 3, None],
)  # fmt: skip
def test_what_is_no_scope_is_refused(given):
    with pytest.raises(InputError, match=r"choose from bos, all, generated, not-bos, first:N, decay:H, such as"):
        check_positions(given, scopes=True)


def test_a_scope_is_about_sampling_and_ends_at_some_time():
    assert check_positions("decay:0.5", scopes=True, bos=False) == "decay:0.5"
    with pytest.raises(InputError, match="halves at once"):
        check_positions("decay:0.0", scopes=True)
    with pytest.raises(InputError, match=r"choose from bos, all, generated, not-bos$"):
        check_positions("first:3")
