"""`steer keep`: a candidate becomes a concept by its number."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vectors.concepts.library import load


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


def test_a_pilot_without_effect_is_reported(
    discover: Callable[..., Any], steer: Callable[..., Any], tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    discover("--no-known")
    monkeypatch.setattr("vectors.discovery.promote.calibrated", lambda model, vector, contrast, **_: vector)
    options = ("--model", tiny, "--device", "cpu")
    done = steer("keep", 1, "--as", "one", "--no-learn", *options)
    assert done.code == 0 and "saw no effect of 'one'" in done.err and "without --no-learn" in done.err


@pytest.mark.slow
def test_a_shift_is_learned_unless_the_direction_is_requested(
    discover: Callable[..., Any], steer: Callable[..., Any], tiny: Path
) -> None:
    discover("--no-known")
    options = ("--model", tiny, "--device", "cpu", "--no-calibrate", "--json")
    done = steer("keep", 1, "--as", "one", *options)
    assert done.code == 0 and json.loads(done.out)["method"] == "learned-discovered-ica"
    done = steer("keep", 1, "--as", "two", "--layer", 2, *options)
    assert done.code == 0 and json.loads(done.out)["layer"] == 2


def test_bad_input_is_refused(discover: Callable[..., Any], steer: Callable[..., Any], tiny: Path, home: Path) -> None:
    options = ("--model", tiny, "--device", "cpu")
    nothing = steer("keep", 1, "--as", "one", *options)
    assert nothing.code == 1 and "run `steer discover` first" in nothing.err
    discover("--no-known")
    for flags, said in [
        (("--layer", "2", "--no-learn"), "leave out --layer or --no-learn"), (("--layer", "9"), "layer is 9"),
        (("--layer", "1,2"), "the number of one block"),
    ]:  # fmt: skip
        done = steer("keep", "1", "--as", "one", *options, *flags)
        assert done.code == 2 and said in done.err
    for number, said in [("0", "such as 7"), ("seven", "such as 7"), ("5", "from 1 to 4")]:
        done = steer("keep", number, "--as", "one", *options, "--no-calibrate")
        assert done.code == 2 and said in done.err
    assert steer("keep", 1, "--as", "one", "--no-such", *options).code == 2
    last = next(home.rglob("last.safetensors"))
    last.write_bytes(last.read_bytes()[:-5])
    done = steer("keep", 1, "--as", "one", *options)
    assert done.code == 1 and "run `steer discover` again" in done.err
