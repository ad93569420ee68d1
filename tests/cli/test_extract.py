"""`steer extract`: the concept is kept, found again by name, and never replaced unasked."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vectors.vectorfile import load_file

SEAS = ["the old ship on the sea", "a red ship by the sea", "the sea rose and fell", "wind on the sea sang"] * 3
REST = ["the dog ran by the tree", "a blue bird sang", "the king saw the stone", "old gold in the night"] * 3


@pytest.fixture
def extract(steer: Callable[..., Any], tiny: Path, tmp_path: Path) -> Callable[..., Any]:
    """Run `steer extract` on the tiny model, without a pilot."""
    rows = [{"text": f"{text} {index}", "topic": topic} for topic, texts in (("sea", SEAS), ("land", REST))
            for index, text in enumerate(texts)]  # fmt: skip
    (tmp_path / "docs.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    for side, topic in (("positive", "sea"), ("background", "land")):
        (tmp_path / f"{side}.txt").write_text("".join(f"{row['text']}\n" for row in rows if row["topic"] == topic))
    return lambda *more: steer(
        "extract", *more, "--model", tiny, "--device", "cpu", "--method", "mean-difference", "--no-calibrate"
    )


def test_a_concept_is_kept_found_and_not_replaced_unasked(
    extract: Callable[..., Any], steer: Callable[..., Any], tiny: Path, tmp_path: Path
) -> None:
    options = ("--positive", tmp_path / "positive.txt", "--background", tmp_path / "background.txt", "--layer", 1)
    place = tmp_path / "storm.safetensors"
    done = extract("storm", *options, "-o", place)
    assert done.code == 0
    for part in ("storm", "1 of 0 to 2", "natural gap", "not measured", "12 positive, 12 background", str(place)):
        assert part in done.out
    stored = json.loads(steer("show", "storm", "--json").out)
    assert load_file(stored["path"]) == load_file(place)
    again = extract("storm", *options)
    assert again.code == 1 and "already has 'storm'" in again.err
    assert extract("other", *options, "-o", place).code == 1
    assert steer("show", "other").code == 2  # nothing was kept of the refused one
    forced = extract("storm", *options, "--force", "--json")
    assert forced.code == 0 and json.loads(forced.out)["layer"] == 1


def test_one_file_with_a_key_and_value_gives_the_same_concept(
    extract: Callable[..., Any], steer: Callable[..., Any], tmp_path: Path
) -> None:
    extract("one", "--positive", tmp_path / "positive.txt", "--background", tmp_path / "background.txt", "--layer", 2)
    extract("two", "--from", tmp_path / "docs.jsonl", "--where", "topic=sea", "--layer", 2)
    one, two = (json.loads(steer("show", name, "--json").out) for name in ("one", "two"))
    assert one["contrast_hash"] == two["contrast_hash"] and one["gap"] == two["gap"]


def test_what_cannot_be_extracted_leaves_nothing(
    extract: Callable[..., Any], steer: Callable[..., Any], tmp_path: Path
) -> None:
    docs = tmp_path / "docs.jsonl"
    for arguments, said in [
        (("--from", docs, "--where", "topic=moon"), "topic=moon"),
        (("--from", docs, "--where", "topic"), "key=value"),
        (("--from", docs, "--where", "topic=sea", "--layer", 3), "layers 0 to 2"),
    ]:
        done = extract("storm", *arguments)
        assert done.code == 2 and said in done.err and done.out == ""
    assert steer("show", "storm").code == 2
