"""A shift is added at the named positions only, with the weight of its scope."""

import pytest
import torch

from vectors.common.errors import InputError
from vectors.model.positions import PARTS, POSITIONS, check_positions, parts_of, position_weights, shift_by_position

SHIFTED = {"bos": [0], "all": [0, 1, 2, 3, 4], "generated": [2, 3, 4], "not-bos": [1, 2, 3, 4]}


@pytest.mark.parametrize("positions", POSITIONS)
def test_only_the_named_positions_are_shifted(positions):
    delta = torch.tensor([[1.0, -2.0], [3.0, 4.0]])
    shifts = shift_by_position(delta, 5, 2, positions)
    for position in range(5):
        expected = delta if position in SHIFTED[positions] else torch.zeros_like(delta)
        assert torch.equal(shifts[:, position], expected)


@pytest.mark.parametrize(
    "positions", [*POSITIONS, "prompt", "first:2", "decay:3", "generated*first:2", "generated*decay:3"]
)
def test_the_parts_of_positions_are_those_where_the_weight_is_not_zero(positions):
    weights, at = position_weights(positions, 6, 3), dict(zip(PARTS, (0, 1, 3), strict=True))
    parts = parts_of(positions)
    assert [part for part in PARTS if part in parts] == [part for part in PARTS if weights[at[part]]]
    for part, scope in parts.items():
        assert weights[at[part]] == position_weights(scope or "all", 6, 3)[at[part]]


def test_unknown_positions_are_refused():
    with pytest.raises(InputError, match="choose from bos, all, generated, not-bos"):
        check_positions("some")
    for positions in ("bos", "not-bos"):
        with pytest.raises(InputError, match="no start token"):
            check_positions(positions, bos=False)
    assert check_positions("all", bos=False) == "all"


def test_scopes_end_or_decay_with_the_sampled_tokens():
    # five positions, two of them the prompt: the first token is sampled at the second
    assert position_weights("first:1", 5, 2).tolist() == [1, 1, 0, 0, 0]
    assert position_weights("first:3", 5, 2).tolist() == [1, 1, 1, 1, 0]
    assert position_weights("first:999999999", 5, 2).tolist() == position_weights("all", 5, 2).tolist()
    assert position_weights("decay:2", 6, 2).tolist() == pytest.approx([1, 1, 0.5**0.5, 0.5, 0.5**1.5, 0.25])
    assert position_weights("decay:999999999", 5, 2).tolist() == pytest.approx([1] * 5)


@pytest.mark.parametrize(
    "scope",
    ["first", "first:", "first:0", "first:-1", "first:1.5", "first:1e3", "first: 3", "decay:", "decay:x", "decay:nan",
     "decay:-1", "decay:1.", "first:3\n", "first:\u0663", 3, None],
)  # fmt: skip
def test_unknown_scopes_are_refused(scope):
    with pytest.raises(InputError, match=r"choose from bos, all, generated, not-bos, first:N, decay:H, such as"):
        check_positions(scope, scopes=True)


def test_scopes_are_for_sampling_only_and_need_a_half_life():
    assert check_positions("decay:0.5", scopes=True, bos=False) == "decay:0.5"
    with pytest.raises(InputError, match="half-life cannot be 0"):
        check_positions("decay:0.0", scopes=True)
    with pytest.raises(InputError, match=r"choose from bos, all, generated, not-bos$"):
        check_positions("first:3")
