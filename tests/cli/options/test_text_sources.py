"""Labels become names of concepts, which are shown."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PLACES = {"Sci-Fi & Fantasy": "the ship saw the moon", "être triste": "the night fell on the sea", "3": "a dog ran"}


@pytest.fixture
def each(steer: Callable[..., Any], tiny: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    monkeypatch.chdir(tmp_path)

    def run(labels: dict[str, str], *more: str) -> Any:
        rows = [
            {"text": f"{text} by the {word}", "kind": label}
            for label, text in labels.items()
            for word in ("king", "tree", "river", "stone", "bird", "song", "rain", "wind", "snow", "gold")
        ]
        Path("rows.json").write_text(json.dumps(rows))
        return steer(
            "extract", "--from", "rows.json", "--each", "kind", "--model", tiny, "--device", "cpu", "--layer", 1,
            "--method", "mean-difference", "--no-calibrate", "--json", *more,
        )  # fmt: skip

    return run


def test_any_label_becomes_a_name_that_is_shown(each: Callable[..., Any], steer: Callable[..., Any]) -> None:
    done = each(PLACES)
    assert done.code == 0, done.err
    names = {json.loads(line)["name"] for line in done.out.splitlines()}
    assert names == {"sci-fi-fantasy", "être-triste", "kind-3"}
    for said in (
        "'Sci-Fi & Fantasy' becomes sci-fi-fantasy",
        "'être triste' becomes être-triste",
        "'3' becomes kind-3",
    ):
        assert f"note: {said}" in done.err


def test_labels_of_one_name_are_refused(each: Callable[..., Any]) -> None:
    done = each({"C++": "a cat", "C#": "a dog"})
    assert done.code == 2 and "the labels 'C++' and 'C#' would both be stored as 'c'" in done.err


def test_two_columns_do_not_go_with_one_file(each: Callable[..., Any]) -> None:
    done = each(PLACES, "--positive-column", "text")
    assert done.code == 2 and "are for --pairs and for two files" in done.err
