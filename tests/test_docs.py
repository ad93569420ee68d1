"""All commands and Python blocks of the README and docs/ run as printed, in the order of each page.

Blocks marked `sh` and `python` are run. `shell` blocks set up a machine (`pip`, `git`) and are not run here; the
continuous integration runs the first two of the README. `text` blocks show output.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from helpers import hub, manual

ROOT = Path(__file__).parent.parent
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))
README = PAGES[0].read_text()
SETUP = ("pip ", "python -m venv ", "pytest", "ruff ", "git ")


def blocks(page: Path) -> list[tuple[str, str]]:
    """Return the language and the text of each fenced block of a page."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)


def commands(page: Path) -> list[str]:
    """Return the lines of the `sh` blocks of a page, without those that install packages."""
    lines = [line for language, block in blocks(page) if language == "sh" for line in block.splitlines() if line]
    return [line for line in lines if not line.startswith("pip ")]


COMMANDS = [pytest.param(page, line, id=f"{page.name}: {line[:60]}") for page in PAGES for line in commands(page)]
SCRIPTS = [
    pytest.param(page, id=page.name) for page in PAGES if any(language == "python" for language, _ in blocks(page))
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, Path]:
    """For each page a folder with the files of examples/; two pages get stand-ins for models that they name, too."""
    folder_of: dict[Path, Path] = {}
    for page in PAGES:
        folder_of[page] = tmp_path_factory.mktemp(page.stem)
        for path in (ROOT / "examples").iterdir():
            if path.suffix in (".txt", ".jsonl"):
                shutil.copy(path, folder_of[page])
        if page.name in ("models.md", "README.md"):  # a local folder with a model's name wins over the hub
            hub.write(folder_of[page], (folder_of[page] / "texts.txt").read_text().splitlines()[:200])
        if page.name == "models.md":
            hub.write_gguf(folder_of[page])
            hub.write_adapter(folder_of[page])
    return folder_of


@pytest.fixture(scope="module")
def bin_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to put on PATH, whose `steer` runs the code of this checkout."""
    folder = tmp_path_factory.mktemp("bin")
    script = shutil.which("steer", path=sysconfig.get_path("scripts"))
    program = [script] if script else [sys.executable, "-m", "cli.app"]
    (folder / "steer").write_text(f'#!/bin/sh\nexec {shlex.join(program)} "$@"\n')
    (folder / "steer").chmod(0o755)
    return folder


def environment(folder: Path, bin_folder: Path) -> dict[str, str]:
    """Return environment variables without network or GPU, and with a separate library for the page."""
    return os.environ | {
        "STEER_HOME": str(folder / "home"),
        "HF_HUB_OFFLINE": "1",
        "CUDA_VISIBLE_DEVICES": "",  # the texts shown are those of a CPU
        "MPLBACKEND": "agg",
        "PATH": os.pathsep.join([str(bin_folder), os.environ["PATH"]]),
        "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
    }


def test_the_first_two_blocks_install_and_run():
    (first, compose), (second, tests) = [block for block in blocks(PAGES[0]) if block[0] == "sh"][:2]
    assert first == second == "sh"
    assert compose.strip() == (
        'pip install -c constraints.txt . && steer compose "sonnet + quantum + cat" -n 2 --radius 0.5 --seed 7'
    )
    assert tests.strip() == "pip install -c constraints.txt '.[test]' && pytest"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_is_run_or_marked_as_not_to_run(page: Path):
    for language, block in blocks(page):
        assert language in ("sh", "python", "shell", "text"), f"{page.name}: a block marked {language!r}"
        if language == "shell":
            assert all(line.startswith((*SETUP, "mypy", "lint-imports")) for line in block.splitlines() if line)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path):
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not target.startswith("http"):
            path, _, part = target.partition("#")
            there = page if not path else page.parent / path
            assert there.exists(), f"{page.name} links to {target}"
            if part:
                heads = re.findall(r"^#+ (.*)$", there.read_text(), re.MULTILINE)
                assert part in {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}, target


def test_the_docs_have_the_current_meaning_of_each_figure():
    page = (ROOT / "docs" / "figures.md").read_text()
    assert manual.MEANING.search(page)[0] == manual.meanings(), (
        "python tests/helpers/manual.py rewrites docs/figures.md"
    )


@pytest.mark.slow
def test_the_output_shown_is_what_the_first_command_prints(folders: dict[Path, Path], bin_folder: Path):
    """The figures are not compared: their last digits may differ between processors."""
    shown = re.search(r"<!-- output:compose -->\n```text\n(.*?)\n```\n<!-- /output:compose -->", README, re.DOTALL)
    assert shown is not None
    done = ran(blocks(PAGES[0])[0][1].split(" && ")[1], folders[PAGES[0]], bin_folder)
    assert _texts(shown[1]) == _texts(done.stdout)


def _texts(printed: str) -> list[str]:
    """Return the texts of an output, without their header lines."""
    return [text.strip() for text in re.split(r"^\d+ ── pressure .*\n", printed, flags=re.MULTILINE) if text.strip()]


def ran(line: str, folder: Path, bin_folder: Path) -> subprocess.CompletedProcess[str]:
    """Run one line in bash, as a reader would."""
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", line],
        cwd=folder,
        env=environment(folder, bin_folder),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=900,
    )


@pytest.mark.slow
@pytest.mark.parametrize(("page", "line"), COMMANDS)
def test_a_command_runs(page: Path, line: str, folders: dict[Path, Path], bin_folder: Path):
    done = ran(line, folders[page], bin_folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    if html := re.search(r"--html (\S+)", line):
        assert (folders[page] / html[1]).read_text().startswith("<!doctype html>")


@pytest.mark.slow
@pytest.mark.parametrize("page", SCRIPTS)
def test_the_python_of_a_page_runs(page: Path, folders: dict[Path, Path], bin_folder: Path):
    code = "\n".join(block for language, block in blocks(page) if language == "python")
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folders[page], env=environment(folders[page], bin_folder),
        capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    if page.name == "README.md":
        assert "'p95'" in done.stdout
        assert len((folders[page] / "storm.jsonl").read_text().splitlines()) == 16
