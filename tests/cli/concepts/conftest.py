"""Texts and `steer discover` on the tiny model, for the tests of the commands about concepts."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.planted import rainbows


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Texts, one a line."""
    place = tmp_path / "texts.txt"
    place.write_text("\n".join(rainbows(64)))
    return place


@pytest.fixture
def discover(steer: Callable[..., Any], tiny: Path, file: Path) -> Callable[..., Any]:
    """Run `steer discover` on the tiny model and the texts."""
    return lambda *more: steer(
        "discover", "--texts", file, "-k", 4, "--layer", 1, "--model", tiny, "--device", "cpu", *more
    )
