"""`steer library` moves all concepts as one file."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from helpers.points import axis

from vectors.concepts.library import keep


def test_a_library_is_exported_and_imported(steer: Callable[..., Any], tmp_path: Path, monkeypatch: Any) -> None:
    nothing = steer("library", "export", tmp_path / "none.zip")
    assert nothing.code == 2 and "no concept to export" in nothing.err
    keep(axis("cat", 1.0))
    keep(axis("sea", 0.0, 1.0))
    done = steer("library", "export", tmp_path / "mine.zip")
    assert done.code == 0 and "tiny: 2 concepts" in done.out and "steer library import" in done.err
    assert json.loads(steer("library", "export", tmp_path / "b.zip", "--model", "tiny", "--json").out)["concepts"] == 2
    monkeypatch.setenv("STEER_HOME", str(tmp_path / "other"))
    arrived = steer("library", "import", tmp_path / "mine.zip")
    assert arrived.code == 0 and "cat (tiny): imported" in arrived.out
    keep(axis("cat", 0.0, 0.0, 1.0), force=True)
    again = steer("library", "import", tmp_path / "mine.zip")
    assert "cat (tiny): kept" in again.out and "--force replaces it" in again.err
    rows = json.loads(steer("library", "import", tmp_path / "mine.zip", "--force", "--json").out)
    assert {row["name"]: row["outcome"] for row in rows} == {"cat": "replaced", "sea": "known"}


def test_wrong_uses_are_refused(steer: Callable[..., Any], tmp_path: Path) -> None:
    for arguments, why in (
        (("list", "x.zip"), "is neither export nor import"),
        (("import", tmp_path / "missing.zip"), "there is no file"),
        (("import", tmp_path / "missing.zip", "--model", "tiny"), "--model is for export"),
        (("export", tmp_path / "mine.tar"), "does not end with .zip"),
    ):
        done = steer("library", *arguments)
        assert done.code in (1, 2) and why in done.err and done.out == ""
