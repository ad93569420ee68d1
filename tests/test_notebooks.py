"""The notebooks of examples/ have the outputs of a complete run, and run without error in a fresh kernel."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from helpers import hub
from nbclient import NotebookClient

EXAMPLES = Path(__file__).parent.parent / "examples"
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the files of examples/ and tiny models with hub names; no network, and a separate library."""
    for path in EXAMPLES.iterdir():
        if path.suffix in (".txt", ".jsonl"):
            shutil.copy(path, tmp_path)
    hub.write(tmp_path, (tmp_path / "texts.txt").read_text().splitlines()[:200])
    monkeypatch.setenv("STEER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("MODEL", raising=False)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(EXAMPLES.parent), os.environ.get("PYTHONPATH", "")]))
    yield tmp_path


def test_there_are_two_and_they_were_run():
    assert [path.name for path in NOTEBOOKS] == ["almanac.ipynb", "hub.ipynb"]
    for path in NOTEBOOKS:
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
        cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
        assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1)), path.name
        outputs = [output for cell in cells for output in cell.outputs]
        assert outputs and not any(output.output_type == "error" for output in outputs)
        assert "/home/" not in path.read_text() and "Traceback" not in path.read_text()


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_runs_from_a_fresh_kernel(path: Path, folder: Path):
    notebook = nbformat.read(path, as_version=4)
    shown = [[output.output_type for output in cell.get("outputs", [])] for cell in notebook.cells]
    NotebookClient(
        notebook, timeout=900, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    ).execute()
    again = [
        [output.output_type for output in cell.get("outputs", []) if output.get("name") != "stderr"]
        for cell in notebook.cells
    ]
    assert [set(each) for each in again] == [set(each) for each in shown]
