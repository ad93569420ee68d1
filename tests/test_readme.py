"""The README's commands and code run as they stand; the first two are what the continuous integration itself runs."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from itertools import islice
from pathlib import Path

import hub
import pytest

from vectors.almanac.generate import Entry, stream

README = (Path(__file__).parent.parent / "README.md").read_text()
BLOCKS = [(kind, block) for kind, block in re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL) if kind != "text"]
COMMANDS = [
    line
    for language, block in BLOCKS[2:]
    if language == "sh"
    for line in block.splitlines()
    if line.startswith("steer ")
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the text files that the README speaks of."""
    place = tmp_path_factory.mktemp("readme")
    entries = list(islice(stream(77), 900))

    def place_of(made: Entry) -> str:
        return "shore" if made.attributes.topic == "sea" else "inland"

    prose = [made.text.replace("\n", " ") for made in entries]
    sea = [made.attributes.topic == "sea" for made in entries]
    (place / "storms.txt").write_text("\n".join(text for text, is_sea in zip(prose, sea, strict=True) if is_sea))
    (place / "texts.txt").write_text("\n".join(text for text, is_sea in zip(prose, sea, strict=True) if not is_sea))
    rows = [json.dumps({"text": made.text, "topic": made.attributes.topic, "place": place_of(made)})
            for made in entries]  # fmt: skip
    (place / "docs.jsonl").write_text("\n".join(rows))
    hub.write(place, prose[:200])  # a folder of a model's name wins over the hub
    return place


@pytest.fixture(scope="module")
def environment(folder: Path) -> dict[str, str]:
    """No network, and a library of the test's own."""
    return {
        **os.environ,
        "STEER_HOME": str(folder / "home"),
        "HF_HUB_OFFLINE": "1",
        "CUDA_VISIBLE_DEVICES": "",  # the texts shown are those of a CPU
        "PYTHONPATH": os.pathsep.join(sys.path),
    }


def test_the_first_two_blocks_install_and_run():
    (first, compose), (second, tests) = BLOCKS[:2]
    assert first == second == "sh"
    assert compose.strip() == (
        'pip install -c constraints.txt . && steer compose "sonnet + quantum + cat" -n 4 --radius 0.5 --seed 7'
    )
    assert tests.strip() == "pip install -c constraints.txt '.[test]' && pytest"


@pytest.mark.slow
def test_the_output_shown_is_what_the_first_command_prints(environment: dict[str, str]):
    """But for the figures, whose last digits may be rounded otherwise on another processor."""
    shown = re.search(r"<!-- output:compose -->\n```text\n(.*?)\n```\n<!-- /output:compose -->", README, re.DOTALL)
    assert shown is not None
    command = shlex.split(BLOCKS[0][1].split(" && ")[1])
    done = subprocess.run(
        [*_program(), *command[1:]], env=environment, capture_output=True, text=True, timeout=900, check=True
    )
    assert _texts(shown[1]) == _texts(done.stdout)


def _texts(printed: str) -> list[str]:
    """What stands below the header lines."""
    return [text.strip() for text in re.split(r"^\d+ ── pressure .*\n", printed, flags=re.MULTILINE) if text.strip()]


def _program() -> list[str]:
    script = shutil.which("steer", path=sysconfig.get_path("scripts"))
    return [script] if script else [sys.executable, "-m", "cli.app"]


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_readme_runs(command: str, folder: Path, environment: dict[str, str]):
    arguments = shlex.split(command, comments=True)[1:]
    done = subprocess.run(
        [*_program(), *arguments],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


@pytest.mark.slow
def test_the_python_example_runs(folder: Path, environment: dict[str, str]):
    code = "\n".join(block for language, block in BLOCKS if language == "python")
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr
    assert "'p95'" in done.stdout and "'ess'" in done.stdout
    assert len((folder / "storm.jsonl").read_text().splitlines()) == 16
