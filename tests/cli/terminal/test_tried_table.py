"""The table of a contest has a line a candidate and fits a terminal."""

from cli.terminal.tried_table import tried_table

ROW = {
    "round": "last", "method": "distilled", "layers": [6], "positions": ["bos", "decay:4", "all"], "steps": 300,
    "scale": 1.0, "success": 0.875, "low": 0.75, "high": 0.94, "pressure": 0.4567, "n": 64,
}  # fmt: skip


def test_each_candidate_has_a_line() -> None:
    older = {key: value for key, value in ROW.items() if key != "steps"}
    other = {"method": "mean-difference", "layers": [3, 4, 6, 7, 9, 10], "positions": ["all"], "success": 0.0}
    rows = [ROW, older | other]
    title, head, first, second = tried_table(rows).splitlines()
    assert "mean pressure" in title and head.split()[:3] == ["method", "steps", "layers"]
    assert "bos+decay:4+all" in first and "0.88 (0.75-0.94)" in first and "300" in first and "0.46" in first
    assert "3-10 (6)" in second and second.split()[1] == "-" and max(map(len, (head, first, second))) <= 80
