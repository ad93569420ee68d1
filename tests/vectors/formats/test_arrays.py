"""Arrays by layer: files of other libraries are read, they read ours, and objects and zip bombs are refused."""

import io
import json
import struct
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st

from vectors.common.errors import InputError, OutputError, VectorError
from vectors.concepts.vector_file import MAX_BYTES
from vectors.formats.arrays import read_arrays, write_arrays
from vectors.formats.reader import read
from vectors.model.residual_model import ResidualModel

numbers = st.floats(-(2.0**99), 2.0**99, width=32, allow_subnormal=False)


@st.composite
def shifts(draw: st.DrawFn) -> dict[int, torch.Tensor]:
    width = draw(st.integers(1, 40))
    layers = draw(st.sets(st.integers(0, 200), min_size=1, max_size=5))
    return {layer: torch.tensor(draw(st.lists(numbers, min_size=width, max_size=width))) for layer in layers}


@given(shifts(), st.sampled_from([".safetensors", ".npz"]), st.sampled_from(["all", "bos", "generated", "not-bos"]))
def test_every_shift_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, rows: dict[int, torch.Tensor], ending: str, positions: str
) -> None:
    path = write_arrays(tmp_path_factory.mktemp("trip") / f"a{ending}", rows, positions=positions)
    back = read_arrays(path, n_layers=999)
    assert back.positions == positions
    assert {layer: row.tolist() for layer, row in back.rows.items()} == {
        layer: row.tolist() for layer, row in rows.items()
    }


def test_other_libraries_read_what_is_written(tmp_path: Path) -> None:
    rows = {2: torch.randn(8), 5: torch.randn(8)}
    plain = safetensors.torch.load_file(write_arrays(tmp_path / "a.safetensors", rows))
    with np.load(write_arrays(tmp_path / "a.npz", rows), allow_pickle=False) as packed:
        assert sorted(packed) == ["layers.2", "layers.5", "positions"]
        for layer, row in rows.items():
            assert torch.equal(plain[f"layers.{layer}"], row) and np.array_equal(packed[f"layers.{layer}"], row.numpy())


def steering_lite(path: Path, cfg: dict[str, Any] | str, rows: dict[str, torch.Tensor]) -> Path:
    text = cfg if isinstance(cfg, str) else json.dumps(cfg)
    safetensors.torch.save_file(rows, path, {"cfg": text})
    return path


def test_a_vector_of_steering_lite_is_scaled_by_its_coefficient(llama_model: ResidualModel, tmp_path: Path) -> None:
    rows = {f"layer{layer}.v": torch.nn.functional.normalize(torch.randn(32), dim=0) for layer in (1, 2)}
    cfg = {"method": "mean_diff", "target": "residual", "target_submodule": None, "coeff": 4.5}
    vector = read(steering_lite(tmp_path / "honesty.safetensors", cfg, rows), llama_model)
    assert vector.name == "honesty" and vector.method == "mean_diff" and vector.layers == (1, 2)
    for layer in (1, 2):
        assert torch.allclose(vector.shifts[layer, "all"] * vector.scale, 4.5 * rows[f"layer{layer}.v"], atol=1e-5)


@pytest.mark.parametrize(
    ("cfg", "why"),
    [
        ({"method": "spherical"}, "method is 'spherical' at 'residual'"),
        ({"method": "mean_diff", "target": "mlp_out"}, "at 'mlp_out'"),
        ({"method": "mean_diff", "target_submodule": "mlp.down_proj"}, "down_proj"),
        ({"method": "mean_diff", "coeff": "much"}, "coeff"),
        ({"method": "mean_diff", "coeff": float("inf")}, "coeff"),
        ({"method": "mean_diff", "coeff": 0.0}, "shifts nothing"),
        ("[" * 100_000, "not JSON"),
        ("[1]", "no JSON object"),
    ],
)
def test_steering_lite_files_that_are_not_added_are_refused(
    llama_model: ResidualModel, tmp_path: Path, cfg: dict[str, Any] | str, why: str
) -> None:
    path = steering_lite(tmp_path / "a.safetensors", cfg, {"layer1.v": torch.ones(32)})
    with pytest.raises(VectorError, match=why):
        read(path, llama_model)


def test_one_array_with_a_row_for_each_layer(llama_model: ResidualModel, tmp_path: Path) -> None:
    drawn = np.random.default_rng(0).normal(size=(3, 32))
    drawn[1] = 0.0
    np.savez(tmp_path / "a.npz", np.asfortranarray(drawn))
    vector = read(tmp_path / "a.npz", llama_model, name="cat")
    assert vector.layers == (0, 2)
    assert torch.allclose(vector.shifts[2, "all"] * vector.scale, torch.tensor(drawn[2]).float(), rtol=1e-5)
    np.save(tmp_path / "a.npy", drawn[:, :31])
    with pytest.raises(VectorError, match="width 31"):
        read(tmp_path / "a.npy", llama_model)
    np.save(tmp_path / "a.npy", np.zeros((5, 32)))
    with pytest.raises(VectorError, match=r"holds 5 rows, and the model has 3 layers"):
        read(tmp_path / "a.npy", llama_model)


def test_a_row_without_a_layer_needs_the_option(llama_model: ResidualModel, tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", np.arange(32, dtype=np.float16))
    with pytest.raises(VectorError, match="say its layer with --layer"):
        read(tmp_path / "a.npz", llama_model)
    assert read(tmp_path / "a.npz", llama_model, layer=2).layer == 2
    np.savez(tmp_path / "two.npz", **{"layers.0": np.ones(32), "layers.1": np.ones(32) * 2})
    assert read(tmp_path / "two.npz", llama_model, layer=0).layers == (0,)
    with pytest.raises(VectorError, match="has no layer 2: choose from 0-1"):
        read(tmp_path / "two.npz", llama_model, layer=2)
    with pytest.raises(InputError, match="layers 0 to 2"):
        read(tmp_path / "two.npz", llama_model, layer=3)


@pytest.mark.parametrize(
    ("arrays", "why"),
    [
        ({"layers.1": np.array([{"a": 1}] * 32, dtype=object)}, "Python objects, which only pickle reads"),
        ({"layers.1": np.ones(32, dtype=np.int64)}, "int64, expected floating-point"),
        ({"layers.1": np.ones(32, dtype=np.complex128)}, "complex128"),
        ({"layers.1": np.array("text")}, "expected floating-point"),
        ({"layers.1": np.ones((2, 2, 8))}, r"shape '?\(2, 2, 8\)"),
        ({"layers.1": np.ones(())}, "shape"),
        ({"layers.1": np.ones(0)}, "shape"),
        ({"layers.1": np.ones(32), "layer_1": np.ones(32)}, "two of its arrays are for layer 1"),
        ({"layers.1": np.ones((2, 32)), "layers.2": np.ones(32)}, "expected one dimension"),
        ({"layers.1": np.ones(32), "blocks.1.hook_mlp_out": np.ones(32)}, "no residual point"),
        ({"layers.1": np.full(32, np.inf)}, "infinity"),
        ({"layers.1": np.ones(32), "positions": np.array("nowhere")}, "positions is 'nowhere'"),
        ({"layers.1": np.ones(32), "positions": np.ones(3)}, "not one word"),
        ({}, "0 arrays"),
    ],
)
def test_arrays_that_are_not_rows_are_refused(
    llama_model: ResidualModel, tmp_path: Path, arrays: dict[str, Any], why: str
) -> None:
    np.savez(tmp_path / "a.npz", **arrays, allow_pickle=True)
    with pytest.raises(VectorError, match=why) as caught:
        read(tmp_path / "a.npz", llama_model)
    assert "a.npz" in str(caught.value) and len(str(caught.value).splitlines()) == 1


def bomb(path: Path, size: int, declared: int | None = None) -> Path:
    """Write an archive whose array of zeros is far larger unpacked than packed."""
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "<f4", "fortran_order": False, "shape": (size // 4,)})
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("layers.1.npy", head.getvalue() + bytes(size))
    if declared is not None:
        raw = path.read_bytes()
        path.write_bytes(raw.replace(struct.pack("<I", len(head.getvalue()) + size), struct.pack("<I", declared)))
    return path


def test_zip_bombs_are_refused_by_declared_and_by_actual_size(tmp_path: Path) -> None:
    with pytest.raises(VectorError, match="says that it unpacks to"):
        read_arrays(bomb(tmp_path / "a.npz", MAX_BYTES), n_layers=3)
    with pytest.raises(VectorError):
        read_arrays(bomb(tmp_path / "b.npz", 2**24, declared=200), n_layers=3)
    with zipfile.ZipFile(tmp_path / "c.npz", "w") as archive:
        for each in range(5000):
            archive.writestr(f"{each}.npy", b"")
    with pytest.raises(VectorError, match="more than 1024 arrays"):
        read_arrays(tmp_path / "c.npz", n_layers=3)
    with zipfile.ZipFile(tmp_path / "d.npz", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("1.npy", b"")
    with pytest.raises(VectorError, match="no array that numpy"):
        read_arrays(tmp_path / "d.npz", n_layers=3)


@pytest.mark.parametrize(
    "shape", ["(10**15,)", "(1000000000000000,)", "(-4, -8)", "(8, -4)", "(" * 900, "(1,)*70", "(0, 99999999999999999)"]
)
def test_wrong_headers_of_arrays_are_refused(tmp_path: Path, shape: str) -> None:
    head = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".encode()
    path = tmp_path / "a.npy"
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + bytes(128))
    with pytest.raises(VectorError):
        read_arrays(path, n_layers=3)


def test_an_array_that_occurs_twice_is_refused(tmp_path: Path) -> None:
    content = io.BytesIO()
    np.save(content, np.ones(4))
    with warnings.catch_warnings(), zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        warnings.simplefilter("ignore")
        for _ in range(2):
            archive.writestr("layers.1.npy", content.getvalue())
    with pytest.raises(VectorError, match="twice"):
        read_arrays(tmp_path / "a.npz", n_layers=3)


@given(st.data(), st.sampled_from([".safetensors", ".npz"]))
def test_no_truncated_file_is_read(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, ending: str) -> None:
    path = write_arrays(tmp_path_factory.mktemp("cut") / f"a{ending}", {1: torch.ones(8), 4: torch.ones(8)})
    whole = path.read_bytes()
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(VectorError):
        read_arrays(path, n_layers=9)


def test_a_huge_header_is_refused_before_it_is_parsed(tmp_path: Path) -> None:
    header = json.dumps({"__metadata__": {"x": "y" * 2**21}}).encode()
    (tmp_path / "a.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(VectorError, match="truncated, or no safetensors"):
        read_arrays(tmp_path / "a.safetensors", n_layers=3)


def test_other_endings_and_no_shifts_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="ends neither"):
        write_arrays(tmp_path / "a.bin", {1: torch.ones(4)})
    with pytest.raises(OutputError, match="no shift"):
        write_arrays(tmp_path / "a.npz", {})
