"""Of the GGUF files in a folder, the only language model is chosen; several are named."""

from pathlib import Path

import gguf
import numpy as np
import pytest

from vectors.common.errors import ModelError
from vectors.model.sources.gguf.choose import choose_file


def write(path: Path, architecture: str, kind: str | None = None) -> Path:
    """Write a GGUF file with one tensor."""
    writer = gguf.GGUFWriter(path, architecture)
    if kind is not None:
        writer.add_string("general.type", kind)
    writer.add_uint32(f"{architecture}.block_count", 1)
    writer.add_tensor("a.weight", np.zeros((1, 32), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_what_is_no_language_model_is_passed_over(tmp_path: Path) -> None:
    assert choose_file(tmp_path) is None
    image = write(tmp_path / "mmproj-f16.gguf", "clip", "mmproj")
    assert choose_file(tmp_path) == image  # which says what it is when it is read
    model = write(tmp_path / "tiny-Q8_0.gguf", "llama", "model")
    write(tmp_path / "lora.gguf", "llama", "adapter")
    write(tmp_path / "imatrix.gguf", "imatrix", "imatrix")
    write(tmp_path / "storm.gguf", "controlvector")
    assert choose_file(tmp_path) == model
    write(tmp_path / "tiny-Q4_0.gguf", "llama")
    with pytest.raises(ModelError, match=r"6 GGUF files: give one of them, 'tiny-Q4_0.gguf', 'tiny-Q8_0.gguf'$"):
        choose_file(tmp_path)


def test_damaged_files_are_named_with_the_others(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.gguf").write_bytes(b"GGUF\3\0\0\0" + b"\xff" * 40)
    with pytest.raises(ModelError, match=r"3 GGUF files: give one of them, 'a.gguf', 'b.gguf', 'c.gguf'"):
        choose_file(tmp_path)


def test_the_parts_of_one_model_are_to_be_joined(tmp_path: Path) -> None:
    for part in (1, 2):
        write(tmp_path / f"big-0000{part}-of-00002.gguf", "llama")
    write(tmp_path / "mmproj.gguf", "clip")
    with pytest.raises(ModelError, match="2 parts of 'big': join them"):
        choose_file(tmp_path)
