"""Vector files of any format are read, and pickles, unknown files and missing ones are refused."""

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


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin", ".ckpt", ".pkl", ".PT"])
def test_pickles_are_refused_with_a_way_to_convert_them(
    llama_model: ResidualModel, tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"a{suffix}"
    torch.save({1: torch.ones(32)}, path)
    with pytest.raises(VectorError, match=r"is a pickle, which may run code.*weights_only=True") as caught:
        read(path, llama_model)
    line = str(caught.value).split('python -c "')[1].rstrip('"').replace("FILE", str(path))
    exec(line, {})  # what the message says works
    assert read(f"{path}.safetensors", llama_model, name="a").layer == 1
    path.rename(tmp_path / "b.npz")
    with pytest.raises(VectorError, match=r"no array that numpy\.savez packs"):
        read(tmp_path / "b.npz", llama_model)


def test_unknown_files_and_missing_ones_are_refused(llama_model: ResidualModel, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(VectorError, match="ends with none of"):
        read(tmp_path / "a.txt", llama_model)
    with pytest.raises(VectorError, match="there is no file"):
        read(tmp_path / "a.gguf", llama_model)
    (tmp_path / "a.gguf").write_bytes(b"")
    with pytest.raises(InputError, match="leave --row out"):
        read(tmp_path / "a.gguf", llama_model, row=1)
    with pytest.raises(InputError, match="leave --layer out"):
        read(tmp_path / "a.gguf", llama_model, layer=1)
