"""Finished parts of a job are kept, those of another job are not, and a damaged part is made again."""

from pathlib import Path

import torch

from vectors.calibration.checkpoint import Checkpoint


def test_a_finished_part_is_not_made_again(tmp_path: Path) -> None:
    calls: list[str] = []

    def made(value: object) -> object:
        calls.append("made")
        return value

    for _ in range(2):
        parts = Checkpoint(tmp_path / "job", {"seed": 1})
        assert parts.value("a/b: c", lambda: made({"success": 0.5})) == {"success": 0.5}
        tensors = parts.tensors("shifts", lambda: made({"6 bos": torch.ones(3)}))
        assert torch.equal(tensors["6 bos"], torch.ones(3))
    assert len(calls) == 2
    Checkpoint(tmp_path / "job", {"seed": 2}).value("a/b: c", lambda: made({"success": 0.5}))
    assert len(calls) == 3


def test_shifts_are_kept_with_their_layers_and_positions(tmp_path: Path) -> None:
    parts = Checkpoint(tmp_path / "job", {})
    shifts = {(6, "bos"): torch.ones(3), (2, "generated*decay:4"): torch.arange(3.0)}
    for make in (lambda: shifts, dict):  # the second time they are read
        found = parts.shifts("three", make)
        assert found.keys() == shifts.keys() and all(torch.equal(found[site], shifts[site]) for site in shifts)


def test_a_damaged_part_is_made_again(tmp_path: Path) -> None:
    parts = Checkpoint(tmp_path / "job", {})
    parts.value("one", lambda: 1)
    parts.tensors("two", lambda: {"x": torch.zeros(2)})
    for path in (tmp_path / "job").iterdir():
        if path.name != "job.json":
            path.write_bytes(b"half")
    again = Checkpoint(tmp_path / "job", {})
    assert again.value("one", lambda: 2) == 2
    assert torch.equal(again.tensors("two", lambda: {"x": torch.ones(2)})["x"], torch.ones(2))


def test_without_a_folder_nothing_is_kept(tmp_path: Path) -> None:
    parts = Checkpoint(None, {})
    assert [parts.value("one", lambda value=value: value) for value in (1, 2)] == [1, 2]  # type: ignore[misc]


def test_a_part_about_some_shifts_is_not_found_for_others(tmp_path: Path) -> None:
    parts, one = Checkpoint(tmp_path / "job", {}), {(6, "bos"): torch.ones(3)}
    assert parts.about(one).value("largest", lambda: 1.0) == 1.0
    assert parts.about({(6, "bos"): torch.ones(3)}).value("largest", lambda: 2.0) == 1.0
    for others in ({(6, "bos"): 2 * torch.ones(3)}, {(6, "all"): torch.ones(3)}, {**one, (7, "bos"): torch.ones(3)}):
        assert parts.about(others).value("largest", lambda: 3.0) == 3.0
    assert parts.value("largest", lambda: 4.0) == 4.0
