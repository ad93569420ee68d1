"""The line on stderr: how far, how fast, and never where nobody looks at it."""

import pytest

from cli.terminal.progress import Progress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A terminal of 80 columns, and a clock that the test sets."""
    now = [100.0]
    monkeypatch.setattr("cli.terminal.progress.is_terminal", lambda stream: True)
    monkeypatch.setattr("cli.terminal.progress.time.monotonic", lambda: now[0])
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    return now


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line for line in capsys.readouterr().err.split("\r\x1b[2K") if line]


def test_it_says_how_far_and_how_many_a_second(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with Progress() as progress:
        progress("reading texts", 0, 400)
        clock[0] += 2
        progress("reading texts", 100, 400)
        clock[0] += 2
        progress("reading texts", 400, 400)
    assert lines(capsys) == [
        "reading texts [....................] 0/400 0 s",
        "reading texts [#####...............] 100/400 50/s 2 s",
        "reading texts [####################] 400/400 100/s 4 s",
    ]


def test_the_speed_is_that_of_the_stage(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with Progress() as progress:
        for stage in ("one", "two", "two"):  # the last begins anew under the same name
            progress(stage, 10, 30)
            clock[0] += 10
            progress(stage, 30, 30)
    assert [" 2/s" in line for line in lines(capsys)] == [False, True] * 3


def test_it_is_redrawn_at_most_ten_times_a_second_but_for_the_end(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with Progress() as progress:
        for done in range(1, 101):
            clock[0] += 0.01
            progress("sampling", done, 100)
    shown = lines(capsys)
    assert 9 <= len(shown) <= 12 and "100/100" in shown[-1]


def test_it_stays_within_the_terminal_and_shows_no_control_characters(
    clock: list[float], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Progress() as progress:
        progress("loading a\x1b[2Jb" + "c" * 200)
    (line,) = lines(capsys)
    assert len(line) == 79 and "\x1b" not in line


@pytest.mark.parametrize("term", ["dumb", None])
def test_nobody_is_told_without_a_terminal(
    term: str | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if term:
        monkeypatch.setattr("cli.terminal.progress.is_terminal", lambda stream: True)
        monkeypatch.setenv("TERM", term)
    with Progress() as progress:
        progress("reading texts", 3, 4)
    assert capsys.readouterr().err == ""
