"""The command line as a program: quick help, one-line errors, exit codes, streams that close or fill up."""

import re
import resource
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import cli.app
import cli.sample.compose
from cli.commands import COMMANDS
from cli.welcome import THINGS

ROOT = Path(__file__).parents[2]


def test_help_is_quick_and_imports_nothing_heavy(program: list[str]) -> None:
    took = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run([*program, "--help"], capture_output=True, text=True, check=False, cwd=ROOT)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        # processor time, so that other load on the machine does not count
        took.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert done.returncode == 0 and all(
        f"  {name} " in done.stdout and short in done.stdout for _, name, short, _ in COMMANDS
    )
    assert min(took) < 0.4
    script = "import sys, cli.app; cli.app.main(['compose', '--help']); print(*sys.modules, file=sys.stderr)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT).stderr
    assert not {"torch", "numpy", "transformers", "transformer_lens", "matplotlib", "rich", "click"} & set(
        loaded.split()
    )


@pytest.mark.parametrize("command", [name for _, name, _, _ in COMMANDS])
def test_every_command_explains_itself_with_one_example_in_80_columns(steer: Callable[..., Any], command: str) -> None:
    done = steer(command, "--help")
    assert done.code == 0 and done.out.count("Example: steer ") == 1
    assert max(map(len, done.out.splitlines())) <= 80 and not re.search(r"\w\.\.\.", done.out.replace("RUN...", ""))


def test_bare_steer_shows_five_things_to_do_and_version_is_one_line(steer: Callable[..., Any]) -> None:
    done = steer()
    assert done.code == 0 and len(THINGS) == 5 and max(map(len, done.out.splitlines())) <= 80
    assert all(command in done.out for _, commands in THINGS for command in commands)
    done = steer("--version")
    assert done.code == 0 and done.out.startswith("steer ") and done.out.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["compos"], "compos"),
        (["compose", "cat", "--sede", "3"], "--sede"),
        (["compose", "cat", "-n", "many"], "-n"),
        (["compose", "cat", "-n", "0"], "at least 1"),
        (["compose", "cat", "-n", "-3"], "at least 1"),
        (["compose", "cat", "--radius", "nan"], "finite"),
        (["compose", "cat", "--radius", "-1"], "--radius is -1"),
        (["compose", "cat", "--seed", "-1"], "0 to 18446744073709551615"),
        (["compose", "cat", "--seed", str(2**64)], "0 to 18446744073709551615"),
        (["compose", "cat", "--batch-size", "0"], "--batch-size"),
        (["compose", "cat +"], "at the end"),
        (["compose", "cat , dog"], "character 5"),
        (["sweep", ""], "empty"),
        (["compose", "--radius", "-1"], "--radius is -1"),
        (["compose", ""], "the expression is empty"),
        (["compose", "sonnet", "+", "cat"], "goes in quotes"),
        (["explore", "sonnet", "cat"], "goes in quotes"),
        (["dose", "sonnet + cat"], "is 2 concepts"),
        (["compose", "-cat"], "write -- before"),
        (["compose", "-noon + sea"], "write -- before"),
        (["compose", "-0.5 noon + sea"], "write -- before"),
        (["compose", "-2*cat"], "write -- before"),
        (["compose", "-.5 cat"], "write -- before"),
        (["compose", "-(cat + sea)"], "write -- before"),
        (["ls", "--model", ""], "--model is empty"),
        (["compose", "-orchard + sea"], "write -- before"),
        (["compose", "0 .8 cat"], "between two doses"),
        (["show", "a.safetensors", "--model", "gpt2"], "leave --model out"),
        (["compose", "cat", "--prompt", "\udcff"], "UTF-8"),
        (["compose", "cat", "--model", " "], "--model is empty"),
        (["compose", "cat", "--temperature", "-1"], "temperature"),
        (["compose", "cat", "--top-p", "0"], "top_p"),
        (["compose", "cat", "--positions", "some"], "not-bos"),
        (["compose", "cat", "--force"], "-o FILE"),
        (["compose", "cat", "--resume"], "-o FILE"),
        (["compose", "cat", "-o", "x", "--force", "--resume"], "exclude each other"),
        (["compose", "cat", "-o", "-"], "--json"),
        (["extract", "../x", "--from", "a.jsonl", "--where", "a=b"], "cannot name a concept"),
        (["extract", "a\nb", "--from", "a.jsonl", "--where", "a=b"], "invisible"),
        (["extract", "storm"], "there are no texts"),
        (["extract", "storm", "--positive", "a.txt"], "there is no file"),
        (["extract", "storm", "--from", "a.jsonl"], "go together"),
        (["extract", "storm", "--from", "a.jsonl", "--where", "k=v", "--positive", "b.txt"], "give one of them"),
        (["extract", "storm", "--positive", "-", "--background", "-"], "only once"),
        (["extract", "storm", "--positive", "none.txt", "--background", "none.txt"], "no file"),
        (["extract", "storm", "--layer", "two", "--from", "a", "--where", "k=v"], "auto"),
        (["extract", "storm", "--method", "magic", "--from", "a", "--where", "k=v"], "learned"),
        (["show", "no such concept"], "no concept"),
        (["show", "../../etc"], "cannot name"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_2(steer: Callable[..., Any], arguments: list[str], said: str) -> None:
    done = steer(*arguments)
    assert done.code == 2 and done.out == "" and said in done.err.splitlines()[-1]


def test_paths_that_cannot_be_written_are_refused_before_slow_work(steer: Callable[..., Any], tmp_path: Path) -> None:
    texts = tmp_path / "texts.txt"
    texts.write_text("a sea\na storm\n")
    for place, said in [
        (tmp_path, "folder"),
        (tmp_path / "none" / "a.jsonl", "create it first"),
        (texts, "--resume"),
        (Path("/dev/full"), "not a regular file"),
    ]:
        done = steer("compose", "cat", "-o", place)
        assert (done.code, done.out) == (1, "") and said in done.err and "seed" not in done.err
    assert "line 1" in steer("compose", "cat", "-o", texts, "--resume").err
    assert texts.read_text() == "a sea\na storm\n"
    done = steer("extract", "storm", "--positive", texts, "--background", texts, "-o", tmp_path / "v.bin")
    assert done.code == 2 and "same texts" in done.err
    texts.write_bytes(b"ok\n\xff\xfe\n")
    assert "line 2 is not UTF-8" in steer("extract", "x", "--positive", texts, "--background", texts).err


def test_an_unexpected_error_is_one_line_and_a_traceback_on_request(
    steer: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("by\nzero")

    monkeypatch.setattr("cli.sample.compose.check_integer", fail)
    done = steer("compose", "cat")
    assert done.code == 1 and "unexpected ZeroDivisionError: by zero: rerun with STEER_DEBUG=1" in done.err
    monkeypatch.setenv("STEER_DEBUG", "1")
    assert cli.app.main(["compose", "cat"]) == 1
    err = capfd.readouterr().err
    assert "Traceback" in err and err.splitlines()[-1].startswith("error: unexpected")


@pytest.mark.parametrize("kind", [KeyboardInterrupt, MemoryError, EOFError])
def test_interrupts_end_with_their_code(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], kind: type[BaseException]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise kind

    monkeypatch.setattr("cli.sample.compose.check_integer", fail)
    assert cli.app.main(["compose", "cat"]) == (130 if kind is KeyboardInterrupt else 1)
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("redirection", "code", "said"),
    [
        ("> /dev/full", 1, "error: cannot"),
        (">&-", None, ""),
        ("2>&-", 0, ""),
        ("| true", 0, ""),
    ],
)
def test_streams_that_close_or_fill_up(program: list[str], redirection: str, code: int | None, said: str) -> None:
    command = f"set -o pipefail; {shlex.join(program)} --help {redirection}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, cwd=ROOT)
    assert code is None or done.returncode == code
    assert said in done.stderr and "Exception" not in done.stderr and "Traceback" not in done.stderr
