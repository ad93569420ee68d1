"""`steer discover`: candidates are printed and saved, and bad input is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any


def test_candidates_are_printed_in_eighty_columns_and_saved(discover: Callable[..., Any]) -> None:
    done = discover()
    assert done.code == 0 and "seed 0" in done.err and "steer keep" in done.err
    head, *blocks = done.out.strip().split("\n\n")
    assert " ".join(head.split()).startswith("4 candidates in 64 texts given (layer 1 of 0 to 2, ica). for, against")
    assert [block.split()[0] for block in blocks] == ["1", "2", "3", "4"]
    for block in blocks:
        for part in ("% of variance", "skewness", "kurtosis", "for ", "against ", "\n     + ", "\n     - "):
            assert part in block
    assert max(map(len, done.out.splitlines())) <= 80


def test_a_broken_concept_of_the_library_is_left_out(discover: Callable[..., Any], home: Path) -> None:
    next(home.rglob("cat.safetensors")).write_bytes(b"broken")
    done = discover()
    assert done.code == 0 and "skipped" in done.err


def test_json_is_one_object_a_line(discover: Callable[..., Any], file: Path) -> None:
    done = discover("--json", "--no-known")
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert [row["number"] for row in rows] == [1, 2, 3, 4]
    for row in rows:
        assert len(row["top"]) == len(row["bottom"]) == 8 and len(row["snippets"]) == len(row["texts"]) == 3
        assert set(row["texts"]) <= set(file.read_text().splitlines())
        assert row["like"] is None and row["layer"] == 1 and row["method"] == "ica"
    assert discover("--json", "--no-known").out == done.out


def test_without_texts_the_model_writes_them(steer: Callable[..., Any], tiny: Path) -> None:
    done = steer("discover", "--samples", 40, "-k", 2, "--model", tiny, "--device", "cpu", "--no-known")
    assert done.code == 0 and "texts sampled from tiny-llama" in done.out


def test_bad_input_is_refused(
    discover: Callable[..., Any], steer: Callable[..., Any], tiny: Path, tmp_path: Path
) -> None:
    options = ("--model", tiny, "--device", "cpu")
    for arguments, said in [
        (("--samples", 40), "one of the two"),
        (("-k", 33), "width 32"),
        (("-k", 0), "whole number"),
        (("--layer", 3), "layers 0 to 2"),
        (("--seed", -1), "whole number"),
    ]:
        done = discover(*arguments)
        assert done.code == 2 and said in done.err and done.out == ""
    few = tmp_path / "few.txt"
    few.write_text("the sea\n")
    done = steer("discover", "--texts", few, *options)
    assert done.code == 2 and "give at least 32" in done.err
    assert discover("-o", tmp_path / "found.bin").code == 1
