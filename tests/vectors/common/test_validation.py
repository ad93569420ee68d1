"""Names, numbers and how hostile values are shown."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vectors.common.errors import InputError
from vectors.common.validation import check_integer, check_name, check_number, list_names, quote


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("", "empty"),
        (".", "starts with"),
        ("..", "starts with"),
        (".hidden", "starts with"),
        ("-n", "starts with"),
        ("end.", "ends with"),
        (" cat", "blanks"),
        ("../x", "'/'"),
        ("a/b", "'/'"),
        ("a\\b", "not allowed"),
        ("c:x", "':'"),
        ("a\0b", "U\\+0000"),
        ("a\nb", "U\\+000A"),
        ("a\u202eb", "U\\+202E"),
        ("a\u00a0b", "U\\+00A0"),
        ("\ud800", "U\\+D800"),
        ("x" * 300, "300 characters"),
        ("猫" * 90, "200 bytes"),
        ("CON", "Windows"),
        ("nul.txt", "Windows"),
        ("com1", "Windows"),
        ("cat.safetensors", "leave '.safetensors' off"),
    ],
)
def test_hostile_names_are_refused_in_one_line(name: str, why: str) -> None:
    with pytest.raises(InputError, match=why) as caught:
        check_name(name)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    "name", ["cat", "slow-burn", "slow burn", "it's", "v1.2", "猫", "🐈‍⬛", "naïve", "console", "2"]
)
def test_ordinary_names_pass(name: str) -> None:
    assert check_name(name) == name


def test_names_are_composed() -> None:
    assert check_name("cafe\u0301") == "caf\u00e9"


@given(st.text(max_size=120))
def test_an_accepted_name_is_one_plain_file_in_its_folder(name: str) -> None:
    try:
        accepted = check_name(name)
    except InputError:
        return
    place = Path("/library") / f"{accepted}.safetensors"
    assert place.parent == Path("/library")
    assert place.stem == accepted
    assert len(place.name.encode()) < 255
    assert check_name(accepted) == accepted


@given(st.text())
def test_shown_is_always_one_short_printable_line(text: str) -> None:
    line = quote(text)
    assert len(line) <= 80
    assert line.isprintable()


def test_a_long_path_keeps_its_name() -> None:
    line = quote(Path("/home") / ("a-long-folder-name/" * 9) / "cat.safetensors")
    assert len(line) == 80 and line.startswith("'/home/a-long") and line.endswith("name/cat.safetensors'")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 10**400, "1", True, None, 1j, torch.ones(2), b"1"])
def test_what_is_no_finite_number_is_refused(value: object) -> None:
    with pytest.raises(InputError, match=r"the thing is .*: give a finite number"):
        check_number(value, "the thing")


@pytest.mark.parametrize("value", [2, 2.0, np.float32(2), np.int64(2), torch.tensor(2.0)])
def test_numbers_of_every_kind_pass(value: object) -> None:
    assert check_number(value, "x") == 2.0


@pytest.mark.parametrize("value", [0, 11, 2.0, "2", True, None, np.float64(2), torch.tensor(2.0)])
def test_whole_refuses_what_is_out_of_range_or_not_whole(value: object) -> None:
    with pytest.raises(InputError, match="from 1 to 10"):
        check_integer(value, "n", low=1, high=10)


@pytest.mark.parametrize("value", [3, np.int32(3), torch.tensor(3)])
def test_whole_numbers_of_every_kind_pass(value: object) -> None:
    assert check_integer(value, "n", low=1) == 3


@given(st.lists(st.text(max_size=60), min_size=1, max_size=40))
def test_a_list_of_names_never_cuts_one(names: list[str]) -> None:
    said = list_names(names)
    ways = [", ".join(map(quote, names[:shown])) for shown in range(1, len(names) + 1)]
    allowed = [f"{way} and {len(names) - shown} more" for shown, way in enumerate(ways[:-1], 1)]
    assert said in [*allowed, ways[-1]] and len(said) < 200


@pytest.mark.parametrize("value", [np.int64(3), np.float32(3), np.float64(3), np.uint8(3), torch.tensor(3)])
def test_numbers_of_other_libraries_are_numbers(value: Any) -> None:
    assert type(check_number(value, "x")) is float and check_number(value, "x") == 3.0


@pytest.mark.parametrize("value", [True, np.True_, "3", b"3", None, np.nan, np.inf, np.array([1, 2])])
def test_other_values_are_no_numbers(value: Any) -> None:
    with pytest.raises(InputError, match="give a finite number"):
        check_number(value, "x")
