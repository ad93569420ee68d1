"""`steer discover` and `steer keep`: what is found is shown, remembered, and made a concept by its number."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.planted import rainbows

from vectors.concepts.library import load


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Texts, one a line."""
    place = tmp_path / "texts.txt"
    place.write_text("\n".join(rainbows(64)))
    return place


@pytest.fixture
def discover(steer: Callable[..., Any], tiny: Path, file: Path) -> Callable[..., Any]:
    """Run `steer discover` on the tiny model and the texts."""
    return lambda *more: steer(
        "discover", "--texts", file, "-k", 4, "--layer", 1, "--model", tiny, "--device", "cpu", *more
    )


def test_candidates_are_shown_in_eighty_columns_and_remembered(discover: Callable[..., Any]) -> None:
    done = discover()
    assert done.code == 0 and "seed 0" in done.err and "steer keep" in done.err
    head, *blocks = done.out.strip().split("\n\n")
    assert " ".join(head.split()).startswith("4 candidates in 64 texts given (layer 1 of 0 to 2, ica); for and against")
    assert [block.split()[0] for block in blocks] == ["1", "2", "3", "4"]
    for block in blocks:
        for part in ("% of variance", "skewness", "kurtosis", "for ", "against ", "\n     + ", "\n     - "):
            assert part in block
    assert max(map(len, done.out.splitlines())) <= 80


def test_a_broken_concept_of_the_library_is_left_out(discover: Callable[..., Any], home: Path) -> None:
    next(home.rglob("cat.safetensors")).write_bytes(b"broken")
    done = discover()
    assert done.code == 0 and "left out" in done.err


def test_json_is_one_object_a_line(discover: Callable[..., Any], file: Path) -> None:
    done = discover("--json", "--no-known")
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert [row["number"] for row in rows] == [1, 2, 3, 4]
    for row in rows:
        assert len(row["top"]) == len(row["bottom"]) == 8 and len(row["snippets"]) == len(row["texts"]) == 3
        assert set(row["texts"]) <= set(file.read_text().splitlines())
        assert row["like"] is None and row["layer"] == 1 and row["method"] == "ica"
    assert discover("--json", "--no-known").out == done.out


def test_a_number_becomes_a_concept_and_a_negative_one_its_opposite(
    discover: Callable[..., Any], steer: Callable[..., Any], tiny: Path, tmp_path: Path
) -> None:
    place = tmp_path / "found.safetensors"
    discover("--no-known", "-o", place)
    options = ("--model", tiny, "--device", "cpu", "--no-learn", "--no-calibrate")
    done = steer("keep", 2, "--as", "stormy", *options)
    assert done.code == 0 and "discovered-ica" in done.out and "all positions" in done.out
    again = steer("keep", 2, "--as", "stormy", *options)
    assert again.code == 1 and "already has 'stormy'" in again.err
    assert steer("keep", "-2", "--as", "calm", *options).code == 0
    away = steer("keep", 2, "--as", "calmer", "--away", "--from", place, *options, "--json")
    kept = json.loads(away.out)
    assert away.code == 0 and kept["n_positive"] == 7 and kept["unit"] is None
    from vectors.model.residual_model import load_model

    model = load_model(tiny, "cpu")
    stormy, calm, calmer = (load(name, model) for name in ("stormy", "calm", "calmer"))
    assert calm.direction.equal(-stormy.direction) and calm.direction.equal(calmer.direction)
    assert steer("keep", "-2", "--as", "calmer", "--away", "--force", *options).code == 0
    assert load("calmer", model).direction.equal(stormy.direction)


def test_a_pilot_without_effect_is_said(
    discover: Callable[..., Any], steer: Callable[..., Any], tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    discover("--no-known")
    monkeypatch.setattr("vectors.discovery.promote.calibrated", lambda model, vector, contrast, **_: vector)
    options = ("--model", tiny, "--device", "cpu")
    done = steer("keep", 1, "--as", "one", "--no-learn", *options)
    assert done.code == 0 and "saw no effect of 'one'" in done.err and "without --no-learn" in done.err


def test_a_shift_is_learned_unless_the_direction_is_asked_for(
    discover: Callable[..., Any], steer: Callable[..., Any], tiny: Path
) -> None:
    discover("--no-known")
    done = steer("keep", 1, "--as", "one", "--model", tiny, "--device", "cpu", "--no-calibrate", "--json")
    assert done.code == 0 and json.loads(done.out)["method"] == "learned-discovered-ica"


def test_the_model_writes_where_no_texts_are_given(steer: Callable[..., Any], tiny: Path) -> None:
    done = steer("discover", "--samples", 40, "-k", 2, "--model", tiny, "--device", "cpu", "--no-known")
    assert done.code == 0 and "texts that tiny-llama wrote" in done.out


def test_what_cannot_be_done_is_refused(
    discover: Callable[..., Any], steer: Callable[..., Any], tiny: Path, tmp_path: Path, home: Path
) -> None:
    options = ("--model", tiny, "--device", "cpu")
    nothing = steer("keep", 1, "--as", "one", *options)
    assert nothing.code == 1 and "run `steer discover` first" in nothing.err
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
    discover("--no-known")
    for number, said in [("0", "such as 7"), ("seven", "such as 7"), ("5", "from 1 to 4")]:
        done = steer("keep", number, "--as", "one", *options, "--no-calibrate")
        assert done.code == 2 and said in done.err
    assert steer("keep", 1, "--as", "one", "--no-such", *options).code == 2
    last = next(home.rglob("last.safetensors"))
    last.write_bytes(last.read_bytes()[:-5])
    done = steer("keep", 1, "--as", "one", *options)
    assert done.code == 1 and "run `steer discover` again" in done.err
