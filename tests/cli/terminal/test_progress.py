"""Progress on stderr: a bar in a terminal, a line at every interval in a log."""

import re
import time

import pytest

from cli.terminal import progress as module
from cli.terminal.progress import Progress


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal of 80 columns."""
    monkeypatch.setattr("cli.terminal.progress.is_terminal", lambda stream: True)
    for name, value in {"TERM": "xterm", "COLUMNS": "80", "TTY_COMPATIBLE": "1", "NO_COLOR": "1"}.items():
        monkeypatch.setenv(name, value)


def drawn(capfd: pytest.CaptureFixture[str]) -> list[str]:
    """The lines that were drawn, without control sequences."""
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "\n", capfd.readouterr().err)
    return [line.strip() for line in plain.replace("\r", "\n").split("\n") if line.strip()]


@pytest.mark.usefixtures("terminal")
def test_a_terminal_shows_a_bar_with_steps_and_removes_it(capfd: pytest.CaptureFixture[str]) -> None:
    with Progress() as progress:
        progress("reading texts", 0, 400)
        progress("reading texts", 100, 400)
        progress.clear()
        lines = drawn(capfd)
        assert any(line.startswith("reading texts") and "/400" in line for line in lines)
        progress("thinking")
    lines = drawn(capfd)
    assert any(line.startswith("thinking") and "/" not in line for line in lines)
    assert all(len(line) <= 80 for line in lines)


@pytest.mark.usefixtures("terminal")
def test_a_stage_cannot_steer_the_terminal_or_pass_its_width(capfd: pytest.CaptureFixture[str]) -> None:
    with Progress() as progress:
        progress("loading a\x1b[2Jb [bold]" + "c" * 200)
    lines = drawn(capfd)
    assert any(line.startswith("loading a\\x1b[2Jb [bold]") for line in lines) and all(
        len(line) <= 80 for line in lines
    )


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> float:
    """A log that gets a line every 0.2 seconds."""
    monkeypatch.setattr(module, "LOG_INTERVAL", 0.2)
    return 0.2


@pytest.mark.parametrize("term", ["dumb", None])
def test_a_stage_that_hangs_prints_a_line_at_every_interval(
    term: str | None, quick: float, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    if term:
        monkeypatch.setattr("cli.terminal.progress.is_terminal", lambda stream: True)
        monkeypatch.setenv("TERM", term)
    with Progress() as progress:
        progress("learning", 3, 120)
        time.sleep(2.5 * quick)
    time.sleep(1.5 * quick)  # no line after the end
    assert capfd.readouterr().err.splitlines() == [
        "learning: 3 of 120 (0:00 so far)",
        "still learning: 3 of 120 (0:00 so far)",
    ]


def test_a_quick_job_prints_nothing_in_a_log(capfd: pytest.CaptureFixture[str]) -> None:
    with Progress() as progress:
        progress("reading texts", 3, 4)
    assert capfd.readouterr().err == ""


def test_a_line_says_how_far_it_is_and_how_long_it_still_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("cli.terminal.progress.time.monotonic", lambda: now[0])
    log = module._Log()
    log._closed.set()  # no thread that prints
    log.update("reading texts", 0, 400)
    now[0] += 30
    assert log.line(now[0]) == "reading texts: 0 of 400 (0:30 so far)"
    now[0] += 10
    log.update("reading texts", 100, 400)
    assert log.line(now[0]) == "reading texts: 100 of 400, about 2 min 00 s left"
    log._fresh = False
    now[0] += 30
    assert log.line(now[0]) == "still reading texts: 100 of 400, about 3 min 30 s left"
    log.update("reading texts", 400, 400)
    assert log.line(now[0]) == "reading texts: 400 of 400, finishing (1:10 so far)"
    log.update("searching components", 0, 0)
    now[0] += 150
    log._fresh = False
    assert log.line(now[0]) == "still searching components (2:30 so far)"


def test_the_time_left_is_that_of_the_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("cli.terminal.progress.time.monotonic", lambda: now[0])
    log = module._Log()
    log._closed.set()
    for stage in ("one", "two", "two"):  # the last starts again under the same name
        log.update(stage, 10, 40)
        now[0] += 10
        log.update(stage, 30, 40)
        assert log.line(now[0]) == f"{stage}: 30 of 40, about 5 s left"
