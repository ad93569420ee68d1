"""The plan of a sweep and its folder."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steer.sweeps.grid import PLAN, Cell, Grid, open_folder, parse_range, read_cell, read_grid
from vectors.common.errors import InputError, OutputError

GRID = Grid(expression="cat", radii=(0.5, 0.0, 0.5), temperatures=(1.0, 0.7), n=4)


def test_cells_are_all_combinations_each_once() -> None:
    assert GRID.radii == (0.0, 0.5) and len(GRID.cells) == 4
    assert [cell.radius for cell in GRID.cells] == [0.0, 0.5, 0.0, 0.5]
    assert len({cell.file for cell in GRID.cells}) == 4
    assert Cell(2, 1.0, 1.0, 0.25).file == "radius0.25_dose1_temperature1_layer2.jsonl"


@given(st.integers(0, 20), st.integers(1, 30), st.sampled_from([0.25, 0.1, 0.5, 1.0]))
def test_a_range_has_both_ends(first: int, count: int, step: float) -> None:
    last = first + step * (count - 1)
    found = parse_range(f"{first}:{last:g}:{step}", "--radius")
    assert len(found) == count and found[0] == first and found[-1] == pytest.approx(last)


@pytest.mark.parametrize(
    "text", ["", "a", "0:1", "1:0:0.5", "0:1:0", "0:1:-1", "0,1:2", "nan", "0:1e9:0.001", "0:inf:1"]
)
def test_what_is_no_list_of_numbers_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="--radius is"):
        parse_range(text, "--radius")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"radii": ()}, "radii"), ({"radii": (-1.0,)}, "radius is -1"),
        ({"temperatures": (101.0,)}, "temperature is 101"),
        ({"doses": (float("nan"),)}, "dose is nan"), ({"layers": ()}, "no layers"), ({"n": 1}, "n is 1"),
        ({"seed": -1}, "seed"),
    ],
)  # fmt: skip
def test_bad_grids_are_refused(changes: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        Grid(**({"expression": "cat", "radii": (0.0,)} | changes))


def test_a_folder_is_gone_on_with_and_may_grow(tmp_path: Path) -> None:
    place, _ = open_folder(tmp_path / "sweep", GRID)
    assert read_grid(place) == GRID
    open_folder(place, GRID)
    wider = Grid(expression="cat", radii=(1.0,), n=8)
    assert open_folder(place, wider)[1] == wider
    joined = read_grid(place)
    assert joined.radii == (0.0, 0.5, 1.0) and joined.n == 8 and joined.temperatures == (0.7, 1.0)
    assert read_cell(place, GRID.cells[0], 4, {}) is None


def test_folders_of_something_else_are_refused(tmp_path: Path) -> None:
    open_folder(tmp_path / "a", GRID)
    with pytest.raises(OutputError, match="with seed"):
        open_folder(tmp_path / "a", Grid(expression="cat", radii=(0.0,), seed=1))
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="something other than a sweep"):
        open_folder(tmp_path / "b", GRID)
    assert (tmp_path / "b" / "notes.txt").read_text() == "mine"
    for name in ("", "-x"):
        with pytest.raises(OutputError, match=r"not a name for a folder|not a path"):
            open_folder(name, GRID)
    (tmp_path / "c").write_text("a file")
    with pytest.raises(OutputError, match="cannot use"):
        open_folder(tmp_path / "c", GRID)


@pytest.mark.parametrize("content", ["", "[]", '{"format": "other"}', '{"format": "steer-sweep/1"}', "\x00"])
def test_damaged_plans_are_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / PLAN).write_text(content)
    with pytest.raises(InputError, match="steer sweep -o"):
        read_grid(tmp_path)
    (tmp_path / PLAN).write_text(json.dumps(GRID.to_dict() | {"radii": [-1]}))
    with pytest.raises(InputError, match=r"sweep\.json': radius is -1"):
        read_grid(tmp_path)
