"""What a message about vectors advises works: each command in backticks is run as it stands."""

import os
import pickle
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vectors.formats.arrays import write_arrays
from vectors.formats.gguf import write_gguf

ROOT = Path(__file__).parents[3]
ROWS = torch.randn(3, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with files of other tools."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    write_gguf(folder / "v.gguf", {1: ROWS[1], 2: ROWS[2]}, model_type="llama")
    write_arrays(folder / "v.safetensors", dict(enumerate(ROWS)))
    torch.save({1: ROWS[1].numpy()}, folder / "objects.pt")
    (folder / "objects.pkl").write_bytes(pickle.dumps({"layer_1": ROWS[1].numpy()}))
    np.save(folder / "row.npy", ROWS[1].numpy())
    np.savez(folder / "a.npz", **{"layers.1": ROWS[1].numpy()})
    np.savez(folder / "b.npz", **{"layers.1": 1.01 * ROWS[1].numpy()})
    (folder / "sae").mkdir()
    np.savez(folder / "sae" / "params.npz", W_dec=ROWS.numpy())
    return folder


@pytest.mark.parametrize(
    "arguments",
    [
        ["compose", "v.gguf"],
        ["compose", "./v.safetensors"],
        ["export", "cat + ./v.gguf", "-o", "out.npz"],
        ["import", "objects.pt"],
        ["import", "objects.pkl"],
    ],
)
def test_a_command_in_backticks_works(steer: Callable[..., Any], tiny: Path, place: Path, arguments: list[str]) -> None:
    refused = steer(*arguments, "--model", tiny)
    assert refused.code in (1, 2)
    command = re.search(r"`((?:steer|python) .*)`", refused.err)
    assert command, refused.err
    program, *words = shlex.split(command[1])
    if program == "steer":
        assert steer(*words).code == 0
        return
    path = os.pathsep.join([str(ROOT), *sys.path])
    subprocess.run([sys.executable, *words], check=True, env=os.environ | {"PYTHONPATH": path})
    named = shlex.split(refused.err.rsplit(" import ", 1)[1])[0]
    assert steer("import", named, "--model", tiny).code == 0


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        (["import", "row.npy"], ["--layer", "1"]),
        (["import", "sae/params.npz", "--row", "2"], ["--layer", "1"]),
        (["import", "sae", "--layer", "1"], ["--row", "2"]),
        (["import", "sae/params.npz", "--layer", "1"], ["--row", "2"]),
        (["export", "v", "-o", "out.gguf"], ["--layers", "1-2"]),
        (["export", "a - b", "-o", "out.npz"], ["--method", "sum"]),
    ],
)
def test_an_option_that_a_message_advises_works(
    steer: Callable[..., Any], tiny: Path, place: Path, arguments: list[str], advice: list[str]
) -> None:
    if arguments[0] == "export":
        for file in ("v.safetensors", "a.npz", "b.npz"):
            assert steer("import", file, "--model", tiny).code == 0
    refused = steer(*arguments, "--model", tiny)
    assert refused.code in (1, 2) and advice[0] in refused.err
    if arguments[0] == "export":
        assert " ".join(advice) in refused.err
    assert steer(*arguments, *advice, "--model", tiny).code == 0
