"""What a new user sees first: the bare command, the tour, completion, and the page of all commands."""

import os
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers import manual

from cli.options.completion import complete_expression, complete_name
from cli.sample.demo import STOPS
from cli.terminal.output import WIDTH
from cli.welcome import THINGS


def test_the_page_of_commands_matches_their_help():
    assert manual.PAGE.read_text() == manual.manual(), "python tests/helpers/manual.py writes docs/cli.md anew"


@pytest.mark.slow
@pytest.mark.parametrize(("what", "commands"), THINGS)
def test_the_commands_shown_to_a_new_user_work(
    what: str, commands: tuple[str, ...], program: list[str], tmp_path: Path
):
    for command in commands:
        name, *arguments = shlex.split(command)
        assert name == "steer"
        done = subprocess.run(
            [*program, *arguments], cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=900
        )
        assert done.returncode == 0, (what, done.stderr)
        assert done.stdout.strip()


@pytest.mark.slow
def test_the_tour_shows_texts_that_its_commands_repeat(steer: Callable[..., Any]):
    done = steer("demo", "-n", 8, "--seed", 3)
    assert done.code == 0 and max(map(len, done.out.splitlines())) <= WIDTH
    shown = [line.strip().removeprefix("$ ") for line in done.out.splitlines() if line.strip().startswith("$ steer ")]
    assert len(shown) == len(STOPS)
    for command in shown:
        again = steer(*shlex.split(command)[1:])
        assert again.code == 0
        for entry in again.out.split("\n\n"):
            assert entry.split("\n", 1)[-1].strip() in done.out
    assert "cat + sonnet, radius 1" in done.out and done.out.count(" to ") >= 16


@pytest.mark.parametrize(
    ("typed", "becomes"),
    [
        ("ca", "cat"), ("sonnet + ca", "sonnet + cat"), ("sonnet+0.5ca", "sonnet+0.5cat"), ("2*(ca", "2*(cat"),
        ("sea - 0.5 ca", "sea - 0.5 cat"), ("-ca", "-cat"), ("'ca", "'cat"),
    ],
)  # fmt: skip
def test_the_last_name_of_an_expression_is_completed(typed: str, becomes: str):
    assert becomes in complete_expression(typed)
    assert all(found.startswith(typed) for found in complete_expression(typed))


def test_names_of_the_user_library_are_completed_and_damaged_files_ignored(
    home: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
):
    own = home / "some-model-00000000"
    own.mkdir(parents=True, exist_ok=True)
    (own / "slow burn.safetensors").touch()
    (own / ".odd.safetensors").touch()
    assert complete_name("slow") == ["slow burn"] and "cat" in complete_name("") and ".odd" not in complete_name("")
    assert complete_expression("cat + 2 slow b") == ["cat + 2 slow burn"]
    monkeypatch.setenv("STEER_HOME", str(own / "slow burn.safetensors"))
    assert complete_name("slow") == [] and complete_name("ca") == ["calm", "cat"]


def test_a_shell_is_answered_at_once_and_without_torch(program: list[str], tmp_path: Path):
    asked = {"_STEER_COMPLETE": "complete_bash", "COMP_WORDS": "steer compose son", "COMP_CWORD": "2"}
    done = subprocess.run(program, env=os.environ | asked, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stdout.split() == ["sonnet"] and not done.stderr
    script = subprocess.run([*program, "--show-completion", "bash"], capture_output=True, text=True, timeout=60)
    assert script.returncode == 0 and "_STEER_COMPLETE=complete_bash" in script.stdout
