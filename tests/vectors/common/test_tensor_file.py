"""Safetensors files are read within bounds: whatever is damaged raises one line and never another error."""

import io
import json
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st

from vectors.common.errors import VectorError
from vectors.common.tensor_file import MAX_HEADER, locate_tensor, read_header, read_tensors

TENSORS = {"a": torch.arange(6, dtype=torch.float32).reshape(2, 3), "b": torch.ones(4, dtype=torch.float64)}
DATA = safetensors.torch.save(TENSORS, {"name": "cat"})


def file_of(header: Any, content: bytes = b"") -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(raw).to_bytes(8, "little") + raw + content


def test_tensors_and_metadata_are_what_safetensors_wrote() -> None:
    tensors, metadata = read_tensors(DATA)
    assert metadata == {"name": "cat"} and sorted(tensors) == ["a", "b"]
    assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)
    assert read_tensors(safetensors.torch.save(TENSORS))[1] == {}


@pytest.mark.parametrize("name", ["a", "b"])
def test_a_located_tensor_is_read_from_its_offset(name: str) -> None:
    entry = locate_tensor(io.BytesIO(DATA), name)
    content = DATA[entry.offset : entry.offset + TENSORS[name].nbytes]
    assert torch.equal(torch.frombuffer(bytearray(content), dtype=entry.dtype).reshape(entry.shape), TENSORS[name])


def test_the_header_leaves_the_stream_at_the_tensors() -> None:
    stream = io.BytesIO(DATA)
    header = read_header(stream)
    assert sorted(header) == ["__metadata__", "a", "b"] and len(stream.read()) == 6 * 4 + 4 * 8


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "truncated"),
        (b"\x02\x00{}", "truncated"),
        (DATA[:20], "truncated"),
        (b"\xff" * 64, "truncated"),
        ((2**40).to_bytes(8, "little") + b"{}", "truncated"),
        (file_of({"__metadata__": {"x": "y" * MAX_HEADER}}), "truncated"),
        (file_of(b"no JSON"), "corrupt"),
        (file_of(b"\xff\xff"), "corrupt"),
        (file_of(b"[" * 100_000), "corrupt"),
        (file_of([1]), "no JSON object"),
    ],
)
def test_a_damaged_header_is_refused(data: bytes, why: str) -> None:
    for read in (read_tensors, lambda data: locate_tensor(io.BytesIO(data), "a")):
        with pytest.raises(VectorError, match=why) as caught:
            read(data)
        assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    "header",
    [
        {"__metadata__": {"name": 1}},
        {"__metadata__": "text"},
        {"a": {"dtype": "F99", "shape": [1], "data_offsets": [0, 4]}},
        {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}},
        {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 400]}},
        {"a": 7},
    ],
)
def test_corrupt_entries_are_refused(header: Any) -> None:
    with pytest.raises(VectorError, match="corrupt"):
        read_tensors(file_of(header, bytes(4)))


def test_a_header_is_read_up_to_the_limit() -> None:
    data = safetensors.torch.save(TENSORS, {"x": "y" * MAX_HEADER})
    with pytest.raises(VectorError, match="truncated, or no safetensors"):
        read_tensors(data)
    assert len(read_tensors(data, limit=2 * MAX_HEADER)[1]["x"]) == MAX_HEADER


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        (None, "holds no tensor a"),
        (7, "holds no tensor a"),
        ([], "holds no tensor a"),
        ({"dtype": "F32"}, "holds no tensor a"),
        ({"dtype": "F32", "shape": 4, "data_offsets": [0, 16]}, "holds no tensor a"),
        ({"dtype": "F32", "shape": [-1, -4], "data_offsets": [0, 16]}, "holds no tensor a"),
        ({"dtype": "F32", "shape": [4], "data_offsets": [0, 8, 16]}, "holds no tensor a"),
        ({"dtype": "F32", "shape": [8], "data_offsets": [0, 32]}, "truncated"),
        ({"dtype": "I8", "shape": [16], "data_offsets": [0, 16]}, "is of 'I8', expected one of F32"),
        ({"dtype": [], "shape": [4], "data_offsets": [0, 16]}, r"is of \[\]"),
        ({"dtype": "F32", "shape": [3], "data_offsets": [0, 16]}, "do not match its shape"),
        ({"dtype": "F32", "shape": [4], "data_offsets": [16, 0]}, "do not match its shape"),
    ],
)
def test_what_cannot_be_located_is_refused(entry: Any, why: str) -> None:
    with pytest.raises(VectorError, match=why) as caught:
        locate_tensor(io.BytesIO(file_of({"a": entry}, bytes(16))), "a")
    assert len(str(caught.value).splitlines()) == 1


def test_a_missing_tensor_is_named() -> None:
    with pytest.raises(VectorError, match="holds no tensor c"):
        locate_tensor(io.BytesIO(DATA), "c")


@given(st.integers(0, len(DATA) - 1), st.binary(max_size=20))
def test_damage_anywhere_raises_one_kind_of_error(cut: int, content: bytes) -> None:
    data = DATA[:cut] + content
    for read in (read_tensors, lambda data: locate_tensor(io.BytesIO(data), "a")):
        try:
            read(data)
        except VectorError as error:
            assert len(str(error).splitlines()) == 1
