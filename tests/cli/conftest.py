"""Fixtures: a tiny model with concepts in the user's library, and the command line run inside this process."""

import shutil
import sys
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from cli.app import main
from vectors.concepts.library import keep
from vectors.concepts.vector import ConceptVector
from vectors.model.loading import BLOCKS_NOTE
from vectors.model.residual_model import load_model


@dataclass
class Ran:
    """The output and the exit code of a command."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def program() -> list[str]:
    """The installed console script of this Python, or `python -m cli.app` if the checkout is not installed."""
    script = shutil.which("steer", path=sysconfig.get_path("scripts"))
    return [script] if script else [sys.executable, "-m", "cli.app"]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The path of the user's library, which is empty."""
    path = tmp_path / "home"
    monkeypatch.setenv("STEER_HOME", str(path))
    monkeypatch.delenv("STEER_DEBUG", raising=False)
    return path


@pytest.fixture
def steer(capfd: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """Run `steer` with some arguments, and check that an error is one line that also says what to do."""

    def run(*arguments: str | Path) -> Ran:
        code = main([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        if code in (1, 2):
            assert err.splitlines()[-1].startswith("error: ") and err.count("error: ") == 1 and ": " in err[7:]
            assert "Traceback" not in err
        return Ran(code, out, err)

    return run


@pytest.fixture
def tiny(model_folder: Callable[[str], Path], tmp_path: Path) -> Path:
    """Folder of a tiny model, for which the user's library holds `cat` and `sea`."""
    folder = tmp_path / "tiny-llama"
    shutil.copytree(model_folder("llama"), folder)
    # as in the embedded model; without it each process imports TransformerLens, which is slow
    (folder / BLOCKS_NOTE).write_text('{"blocks": "model.layers"}')
    model = load_model(folder, "cpu")
    for axis, (name, unit) in enumerate({"cat": 2.0, "sea": None}.items()):
        keep(
            ConceptVector(
                name=name,
                model=model.name,
                model_hash=model.hash,
                layer=1,
                direction=torch.eye(model.d_model)[axis],
                mean=torch.zeros(model.d_model),
                gap=1.5,
                unit=unit,
                unit_curve=() if unit is None else ({"shift": 1.0, "success": 0.4}, {"shift": 2.0, "success": 0.9}),
                method="mean-difference",
                positions="all",
                n_positive=12,
                n_background=30,
                auc=0.97,
            )
        )
    return folder
