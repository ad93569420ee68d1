"""Prompts from the command line: one way at a time, with line ends written out."""

from pathlib import Path

import pytest

from cli.options.prompt_options import prompts_from
from cli.options.text_options import TextOptions
from vectors.common.errors import InputError


def made(**given: object) -> list[str] | None:
    options = {"prompt": None, "prompts": None, "describe": None, "others": [], "reading": TextOptions(), "model": None}
    return prompts_from(**(options | given))  # type: ignore[arg-type]


def test_prompts_come_from_options_a_file_or_a_description(tmp_path: Path) -> None:
    assert made() is None
    assert made(prompt=[r"A poem:\n\n", "second"]) == ["A poem:\n\n", "second"]
    (tmp_path / "prompts.txt").write_text("one\ntwo\n")
    assert made(prompts=str(tmp_path / "prompts.txt")) == ["one", "two"]
    described = made(describe="a letter by a pirate")
    assert described and all("letter by a pirate" in prompt for prompt in described)


def test_only_one_way_gives_the_texts() -> None:
    with pytest.raises(InputError, match="--prompt and --describe both give the texts"):
        made(prompt=["x"], describe="y")
    with pytest.raises(InputError, match="--describe and --positive both give the texts"):
        made(describe="y", others=["--positive"])
    with pytest.raises(InputError, match="give text"):
        made(prompt=[" "])
