"""The table of a contest has a line a candidate and fits a terminal."""

from cli.terminal.tried_table import tried_table

ROW = {
    "round": "last", "method": "distilled", "layers": [6], "positions": ["bos", "decay:4", "all"], "scale": 1.0,
    "success": 0.875, "low": 0.75, "high": 0.94, "pressure": 0.4567, "n": 64,
}  # fmt: skip


def test_each_candidate_has_a_line() -> None:
    rows = [ROW, {**ROW, "method": "mean-difference", "layers": [3, 4, 6, 7, 9], "positions": ["all"], "success": 0.0}]
    title, head, first, second = tried_table(rows).splitlines()
    assert "mean pressure" in title and head.split()[:3] == ["method", "layers", "positions"]
    assert "bos + decay:4 + all" in first and "0.875" in first and "0.75 to 0.94" in first and "64" in first
    assert "3-4,6-7,9" in second and max(map(len, (first, second))) <= 100
