"""`steer frontier`: a table of doses and prompts, and one line for each wrong use."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SEAS = [f"the {word} ran to the sea" for word in ("cat", "dog", "king", "ship", "bird", "wind", "man", "star")] * 3
REST = [f"a {word} fell by the tree" for word in ("cat", "dog", "king", "ship", "bird", "wind", "man", "star")] * 3


@pytest.fixture
def texts(tmp_path: Path) -> tuple[Path, Path]:
    files = tmp_path / "positive.txt", tmp_path / "background.txt"
    for path, lines in zip(files, (SEAS, REST), strict=True):
        path.write_text("".join(f"{line} {index}\n" for index, line in enumerate(lines)))
    return files


def test_doses_and_prompts_are_measured(
    steer: Callable[..., Any], tiny: Path, texts: tuple[Path, Path], tmp_path: Path
) -> None:
    on_tiny = ("--model", tiny, "--device", "cpu")
    sides = ("--positive", texts[0], "--background", texts[1])
    made = steer("extract", "tide", *sides, *on_tiny, "--method", "mean-difference", "--layer", 1, "--no-calibrate")
    assert made.code == 0
    small = ("-n", 4, "--max-tokens", 6, "--doses", "0,1", "--shots", "1,2", *on_tiny)
    done = steer("frontier", "tide", *sides, *small, "--plot", tmp_path / "sea.png")
    assert done.code == 0 and (tmp_path / "sea.png").exists()
    for part in ("dose 0", "dose 1", "prompt of 1", "prompt of 2 and dose 0.5", "success", "pressure"):
        assert part in done.out
    rows = json.loads(steer("frontier", "tide", *sides, *small, "--no-both", "--json").out)["rows"]
    assert [(row["dose"], row["shots"]) for row in rows] == [(0.0, 0), (1.0, 0), (0.0, 1), (0.0, 2)]
    given = steer("frontier", "tide", *sides, *small, "--prompt-file", texts[0], "--no-both")
    assert given.code == 0
    one = (*small[:6], "--shots", "none", *on_tiny)
    words = steer("frontier", "tide", *sides, *one, "--prompt", r"The sea:\n\n", "--json")
    assert [(row["dose"], row["given"]) for row in json.loads(words.out)["rows"]] == [(0, False), (1, False), (0, True)]
    for arguments, why in (
        ((), "a judge needs texts: give --positive FILE and --background FILE"),
        ((*sides, "--shots", "0"), "--shots has '0': give numbers of examples from 1 to 100"),
        ((*sides, "--shots", "x"), "--shots has 'x'"),
        ((*sides, "--shots", "none", "--prompt-file", texts[0]), "--shots none makes no prompts of them"),
        ((*sides, "--prompt", " "), "--prompt is ' ': give text"),
        ((*sides, "--plot", tmp_path / "sea.png"), "--force"),
        ((*sides, "--shots", "90"), "different examples for prompts of 90"),
    ):
        wrong = steer("frontier", "tide", *arguments, *on_tiny, "-n", 4)
        assert wrong.code in (1, 2) and why in wrong.err and wrong.out == ""
