"""Layers by number and by range are read, chosen among those that are there, and printed so that they can be read."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vectors.common.errors import InputError
from vectors.common.layer_ranges import format_layers, parse_layers


@pytest.mark.parametrize(
    ("value", "layers"),
    [
        ("3", [3]), ("8-11", [8, 9, 10, 11]), ("8:11", [8, 9, 10, 11]), ("3,5, 9", [3, 5, 9]), ("10-", [10, 11]),
        ("1-2,10:", [1, 2, 10, 11]), (" 4 ", [4]), (3, [3]), (np.int64(3), [3]), ([9, 3], [3, 9]),
        (range(2, 5), [2, 3, 4]), (iter((1, 2)), [1, 2]), (np.array([1, 7]), [1, 7]),
    ],
)  # fmt: skip
def test_layers_are_read(value: Any, layers: list[int]) -> None:
    assert parse_layers(value).choose(range(12), "it") == layers


@pytest.mark.parametrize(
    "value",
    ["", "x", "3-1", "-3", "3..5", "3,", "1-2-3", "0x3", "٣", "3.5", [], [-1], [2.5], ["a"], True, 1.5, None, "9" * 40],
)
def test_anything_else_is_refused_in_one_line(value: Any) -> None:
    with pytest.raises(InputError, match="layers is ") as caught:
        parse_layers(value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_layer_that_is_not_there_is_refused_and_a_range_may_reach_beyond() -> None:
    assert parse_layers("4-99").choose([2, 4, 6], "it") == [4, 6]
    with pytest.raises(InputError, match="it has no layer 5: choose from 2,4,6"):
        parse_layers("4,5").choose([2, 4, 6], "it")
    with pytest.raises(InputError, match="it has no layers 7-9: choose from 2,4,6"):
        parse_layers("7-9").choose([2, 4, 6], "it")


@given(st.sets(st.integers(0, 300), min_size=1, max_size=40))
def test_what_is_printed_is_read_again(layers: set[int]) -> None:
    assert parse_layers(format_layers(layers)).choose(layers, "it") == sorted(layers)
    assert str(parse_layers(layers)) == format_layers(layers)
