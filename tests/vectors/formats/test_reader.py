"""Vector files of any format are read, and unknown files and missing ones are refused."""

from pathlib import Path

import pytest
import torch

from vectors.common.errors import InputError, VectorError
from vectors.concepts.vector_file import save
from vectors.formats.arrays import write_arrays
from vectors.formats.reader import read
from vectors.model.residual_model import ResidualModel


def test_vector_files_of_this_library_are_read_as_they_are(llama_model: ResidualModel, tmp_path: Path) -> None:
    path = write_arrays(tmp_path / "a.safetensors", {1: torch.ones(32)}, positions="bos")
    vector = read(path, llama_model)
    assert vector.positions == "bos"
    own = save(vector, tmp_path / "own.safetensors")
    assert read(own, llama_model) == vector
    assert read(own, llama_model, name="dog").name == "dog"


def test_unknown_files_and_missing_ones_are_refused(llama_model: ResidualModel, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(VectorError, match="ends with none of"):
        read(tmp_path / "a.txt", llama_model)
    with pytest.raises(VectorError, match="there is no file"):
        read(tmp_path / "a.gguf", llama_model)
    (tmp_path / "a.gguf").write_bytes(b"")
    with pytest.raises(InputError, match="leave --row out"):
        read(tmp_path / "a.gguf", llama_model, row=1)


def test_some_layers_of_a_file_of_this_library(llama_model: ResidualModel, tmp_path: Path) -> None:
    rows = {0: torch.ones(32), 2: 3 * torch.ones(32)}
    own = save(read(write_arrays(tmp_path / "a.npz", rows), llama_model), tmp_path / "own.safetensors")
    assert read(own, llama_model, layer=0).layers == (0,) and read(own, llama_model, layers="1-").layers == (2,)
    with pytest.raises(VectorError, match="has no layer 1: choose from 0,2"):
        read(own, llama_model, layers=1)
