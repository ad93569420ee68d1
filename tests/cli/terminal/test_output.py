"""Printed text fits its columns, keeps every line break, and holds no control characters."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from cli.terminal.output import entry, escape_invisible, record, table, wrap
from steer.runs.sample_set import Sample


def sample(**changes: Any) -> Sample:
    fields: dict[str, Any] = {
        "index": 3,
        "text": "one\n\n  two",
        "tokens": [1, 2],
        "logprob_base": -83.12,
        "logprob_steered": -71.24,
        "pressure": {"mean": 0.214, "p95": 0.8, "total": 9.0},
        "seed": 7,
        "radius": 0.5,
        "geometry": "shell",
        "doses": {"cat": 1.0},
        "layer": [1],
        "model": "tiny",
        "finish": "eos",
        "settings": {},
    }
    return Sample(**(fields | changes))


def test_an_entry_is_a_header_and_the_text_with_its_line_breaks() -> None:
    header, *rest = entry(sample()).split("\n")
    assert header == "3 ── pressure 0.21 nats/token (p95 0.80) ── log p -83.1 base / -71.2 steered"
    assert rest == ["one", "", "  two", ""]
    assert "cut at 2 tokens" in entry(sample(finish="length"))
    assert "Sea: one" in entry(sample(prompt="Sea: "))


@given(st.text(st.characters(exclude_categories=["Cs"])), st.integers(0, 10**12), st.floats(-1e9, 0))
def test_no_entry_passes_80_columns_or_holds_a_control_character(text: str, index: int, total: float) -> None:
    for line in entry(sample(text=text, index=index, logprob_base=total, finish="length")).split("\n"):
        assert cell_len(line) <= 80
        assert escape_invisible(line) == line


@given(st.text("ab é海\n\t", max_size=300), st.integers(4, 40))
def test_wrapping_only_moves_blanks(text: str, columns: int) -> None:
    wrapped = wrap(text, columns)
    assert "".join(wrapped.split()) == "".join(text.split())
    assert all(cell_len(line) <= columns for line in wrapped.split("\n"))


def test_control_characters_of_a_text_are_shown_and_not_sent() -> None:
    shown = entry(sample(text="a\x1b[31mred\x07\x9b2J\u202eback\rover\u2028"))
    assert "a\\x1b[31mred\\x07\\x9b2J\\u202eback\\rover\\u2028" in shown
    assert escape_invisible("\udcff") == "\\udcff"
    assert "\x1b" not in table([["na\x1bme", "x"]]) + record({"file": "/a\x1b"})


def test_tables_align_wide_characters_and_stay_in_80_columns() -> None:
    lines = table([["name", "n", "method"], ["海の猫", "10", "m" * 200], ["cat", "9", "pca"]], right=(1,)).split("\n")
    assert (
        len({cell_len(line[: line.index(mark)]) for line, mark in zip(lines, ("method", "mmm", "pca"), strict=True)})
        == 1
    )
    assert cell_len(lines[1][: lines[1].index("10") + 2]) == cell_len(lines[2][: lines[2].index("9") + 1])
    assert all(cell_len(line) <= 80 for line in lines) and lines[1].endswith("…")


@pytest.mark.parametrize("variable", [{"NO_COLOR": "1"}, {"TERM": "dumb"}, {}])
def test_type_is_faint_only_on_a_terminal_that_supports_it(
    monkeypatch: pytest.MonkeyPatch, variable: dict[str, str]
) -> None:
    monkeypatch.setattr("cli.terminal.output.is_terminal", lambda stream: True)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for key, value in variable.items():
        monkeypatch.setenv(key, value)
    assert ("\x1b[2m" in entry(sample())) == (not variable)
