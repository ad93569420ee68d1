"""GGUF control vectors: the gguf package's reader and writer agree with ours, and hostile files are refused."""

import struct
import warnings
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import vectors
from vectors.common.errors import InputError, OutputError, SteerWarning, VectorError
from vectors.formats.gguf import read_gguf, write_gguf
from vectors.formats.reader import read
from vectors.model.residual_model import ResidualModel


def foreign(path: Path, rows: dict[str, np.ndarray], *, hint: str = "llama", arch: str = "controlvector") -> Path:
    """Write a file with gguf's own writer, as repeng does."""
    writer = gguf.GGUFWriter(path, arch)
    writer.add_string(f"{arch}.model_hint", hint)
    writer.add_uint32(f"{arch}.layer_count", len(rows))
    for name, row in rows.items():
        writer.add_tensor(name, row)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


widths = st.integers(1, 70)
numbers = st.floats(-(2.0**99), 2.0**99, width=32, allow_subnormal=False)


@st.composite
def shifts(draw: st.DrawFn) -> dict[int, torch.Tensor]:
    width = draw(widths)
    layers = draw(st.sets(st.integers(1, 200), min_size=1, max_size=5))
    return {at: torch.tensor(draw(st.lists(numbers, min_size=width, max_size=width))) for at in layers}


@given(shifts(), st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
def test_the_official_reader_and_ours_agree(
    tmp_path_factory: pytest.TempPathFactory, rows: dict[int, torch.Tensor], name: str
) -> None:
    place = write_gguf(tmp_path_factory.mktemp("out") / "a.gguf", rows, model_type="llama", name=name)
    official = gguf.GGUFReader(place)
    assert {tensor.name for tensor in official.tensors} == {f"direction.{at}" for at in rows}
    for tensor in official.tensors:
        assert tensor.tensor_type == gguf.GGMLQuantizationType.F32 and len(tensor.shape) == 1
        assert np.array_equal(tensor.data, rows[int(tensor.name.split(".")[1])].numpy())
    fields = {key: official.get_field(key) for key in ("general.architecture", "controlvector.model_hint")}
    assert [field.contents() for field in fields.values() if field] == ["controlvector", "llama"]
    layer_count = official.get_field("controlvector.layer_count")
    assert layer_count is not None and layer_count.contents() == len(rows)
    ours = read_gguf(place)
    assert ours.model == "llama" and ours.positions == "all"
    assert {at: row.tolist() for at, row in ours.rows.items()} == {at: row.tolist() for at, row in rows.items()}


@given(shifts(), st.sampled_from([np.float32, np.float16, np.float64]))
def test_files_of_the_official_writer_are_read(
    tmp_path_factory: pytest.TempPathFactory, rows: dict[int, torch.Tensor], kind: type
) -> None:
    arrays = {f"direction.{at}": np.clip(row.numpy(), -1e4, 1e4).astype(kind) for at, row in rows.items()}
    read_back = read_gguf(foreign(tmp_path_factory.mktemp("in") / "a.gguf", arrays))
    assert read_back.model == "llama"
    for name, array in arrays.items():
        assert np.array_equal(read_back.rows[int(name.split(".")[1])].numpy(), array.astype(np.float32))


def test_every_layer_is_loaded_as_it_is(llama_model: ResidualModel, tmp_path: Path) -> None:
    """Dose 1 is strength 1, whatever the rows' lengths; the concept's layer is that of the longest row."""
    drawn = torch.randn(3, 32, generator=torch.Generator().manual_seed(0)) * torch.tensor([[1.0], [5.0], [0.1]])
    rows = {f"direction.{at}": row.numpy() for at, row in enumerate(drawn)}
    vector = read(foreign(tmp_path / "mood.gguf", rows), llama_model, name="gay")
    assert (vector.name, vector.method, vector.positions, vector.auc, vector.contrast_hash) == (
        "gay",
        "gguf",
        "all",
        None,
        "",
    )
    assert vector.layer == 1 and vector.layers == (0, 1, 2) and not bool(vector.mean.any())
    assert vector.gap == pytest.approx(float(drawn[1].norm()))
    for at in range(3):
        assert torch.allclose(vector.shifts[at, "all"] * vector.scale, drawn[at], rtol=1e-6)
    place = vectors.keep(vector)
    assert vectors.load(place, llama_model) == vector == vectors.load("gay", llama_model)


@pytest.fixture(autouse=True)
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEER_HOME", str(tmp_path / "home"))


@pytest.mark.parametrize(("hint", "said"), [("llama", False), ("Llama", False), ("gpt2", True), ("qwen2", True)])
def test_a_hint_of_another_family_warns(llama_model: ResidualModel, tmp_path: Path, hint: str, said: bool) -> None:
    place = foreign(tmp_path / "a.gguf", {"direction.1": np.ones(32, dtype=np.float32)}, hint=hint)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        read(place, llama_model)
    messages = [str(each.message) for each in caught if issubclass(each.category, SteerWarning)]
    assert bool(messages) == said and all(hint in message and "'llama'" in message for message in messages)


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ({"direction.1": np.ones(31, dtype=np.float32)}, "width 31.* is 32 wide"),
        ({"direction.3": np.ones(32, dtype=np.float32)}, "layer 3, but model .* layers 0 to 2"),
        ({"direction.1": np.zeros(32, dtype=np.float32)}, "shifts nothing"),
        ({"direction.1": np.full(32, 1e-42, dtype=np.float32)}, "has length 5.66e-42, expected between"),
        ({"direction.1": np.full(32, 1e38, dtype=np.float32)}, r"has length 5.66e\+38, expected between"),
        ({"direction.1": np.full(32, np.nan, dtype=np.float32)}, "NaN"),
        ({"direction.1": np.full(32, 1e300)}, "infinity"),
        ({"direction.1": np.ones((2, 16), dtype=np.float32)}, "2 dimensions"),
        ({"direction.1": np.ones(32, dtype=np.int32)}, "type 26, expected F32"),
        ({"direction.01": np.ones(32, dtype=np.float32)}, r"'direction.01', expected direction.N"),
        ({"direction.-1": np.ones(32, dtype=np.float32)}, r"expected direction.N"),
        ({"direction.1.x": np.ones(32, dtype=np.float32)}, r"expected direction.N"),
        ({"output.weight": np.ones(32, dtype=np.float32)}, r"expected direction.N"),
        ({f"direction.{'9' * 50}": np.ones(32, dtype=np.float32)}, r"expected direction.N"),
    ],
)
def test_vectors_that_do_not_fit_are_refused_by_name(
    llama_model: ResidualModel, tmp_path: Path, rows: dict[str, np.ndarray], why: str
) -> None:
    place = foreign(tmp_path / "a.gguf", rows)
    with pytest.raises(VectorError, match=why) as caught:
        read(place, llama_model)
    assert "a.gguf" in str(caught.value) and len(str(caught.value).splitlines()) == 1


def test_chosen_layers_are_read_alone(llama_model: ResidualModel, tmp_path: Path) -> None:
    drawn = torch.randn(3, 32, generator=torch.Generator().manual_seed(0)) * torch.tensor([[1.0], [5.0], [0.1]])
    place = foreign(tmp_path / "a.gguf", {f"direction.{at}": row.numpy() for at, row in enumerate(drawn)})
    for choice, layers in ({"layer": 2}, (2,)), ({"layers": "0-1"}, (0, 1)), ({"layers": [0, np.int64(2)]}, (0, 2)):
        vector = read(place, llama_model, **choice)
        assert vector.layers == layers
        for layer in layers:
            assert torch.allclose(vector.shifts[layer, "all"] * vector.scale, drawn[layer], rtol=1e-5)
    with pytest.raises(InputError, match="layers 0 to 2"):
        read(place, llama_model, layer=5)
    with pytest.raises(VectorError, match="it has no layers 3-9: choose from 0-2"):
        read(place, llama_model, layers="3-9")
    with pytest.raises(InputError, match="both choose layers"):
        read(place, llama_model, layer=1, layers="1-2")


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        ("method", "directional_ablation", "ablat"),
        ("method", "project_out", "project"),
        ("algorithm", "multiplicative", "multipl"),
        ("target", "mlp", "mlp"),
        ("hook", "attn_out", "attn"),
        ("condition", "harmful", "condition"),
    ],
)
def test_what_is_not_added_is_refused(
    llama_model: ResidualModel, tmp_path: Path, key: str, value: str, why: str
) -> None:
    writer = gguf.GGUFWriter(tmp_path / "a.gguf", "controlvector")
    writer.add_string("controlvector.model_hint", "llama")
    writer.add_string(f"controlvector.{key}", value)
    writer.add_tensor("direction.1", np.ones(32, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(VectorError, match=why) as caught:
        read(tmp_path / "a.gguf", llama_model)
    assert key in str(caught.value) and len(str(caught.value).splitlines()) == 1


def test_a_model_is_no_control_vector(tmp_path: Path) -> None:
    place = foreign(tmp_path / "a.gguf", {"direction.1": np.ones(4, dtype=np.float32)}, arch="llama")
    with pytest.raises(VectorError, match="architecture is 'llama', expected 'controlvector'"):
        read_gguf(place)


HEAD = b"GGUF" + struct.pack("<I", 3)


def key(name: bytes, kind: int, body: bytes) -> bytes:
    return struct.pack("<Q", len(name)) + name + struct.pack("<I", kind) + body


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"GGUF",
        b"GGML" + bytes(100),
        b"GGUF" + struct.pack(">I", 3) + bytes(100),
        b"GGUF" + struct.pack("<I", 1) + bytes(100),
        HEAD + struct.pack("<QQ", 2**63, 1) + bytes(100),
        HEAD + struct.pack("<QQ", 1, 2**64 - 1) + bytes(100),
        HEAD + struct.pack("<QQ", 0, 0),
        HEAD + struct.pack("<QQ", 1, 1) + struct.pack("<Q", 2**60),
        HEAD + struct.pack("<QQ", 1, 1) + key(b"a", 9, struct.pack("<IQ", 0, 2**62)),
        HEAD + struct.pack("<QQ", 1, 1) + key(b"a", 9, struct.pack("<IQ", 8, 2**62)),
        HEAD + struct.pack("<QQ", 1, 1) + key(b"a", 9, struct.pack("<IQ", 9, 2**62) * 1000),
        HEAD + struct.pack("<QQ", 1, 1) + key(b"a", 99, b""),
        HEAD + struct.pack("<QQ", 1, 1) + key(b"\xff", 4, bytes(4)),
    ],
)
def test_hostile_counts_are_refused(tmp_path: Path, content: bytes) -> None:
    place = tmp_path / "a.gguf"
    place.write_bytes(content)
    with pytest.raises(VectorError, match=r"a\.gguf") as caught:
        read_gguf(place)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("alignment", [0, 3, 2**31])
def test_an_odd_alignment_is_refused(tmp_path: Path, alignment: int) -> None:
    head = HEAD + struct.pack("<QQ", 1, 2)
    head += key(b"general.architecture", 8, struct.pack("<Q", 13) + b"controlvector")
    head += key(b"general.alignment", 4, struct.pack("<I", alignment))
    head += struct.pack("<Q", 11) + b"direction.1" + struct.pack("<IQIQ", 1, 1, 0, 0)
    (tmp_path / "a.gguf").write_bytes(head + bytes(64))
    with pytest.raises(VectorError, match="alignment"):
        read_gguf(tmp_path / "a.gguf")


@given(st.data())
def test_no_truncated_file_is_read(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    place = write_gguf(tmp_path_factory.mktemp("cut") / "a.gguf", {1: torch.ones(8), 4: torch.ones(8)}, model_type="x")
    whole = place.read_bytes()
    place.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(VectorError):
        read_gguf(place)


@pytest.mark.parametrize("positions", ["bos", "generated", "not-bos", "first:3"])
def test_only_shifts_at_every_position_are_written(tmp_path: Path, positions: str) -> None:
    with pytest.raises(OutputError, match=rf"at positions {positions}.*--positions all, or write a checkpoint"):
        write_gguf(tmp_path / "a.gguf", {1: torch.ones(4)}, model_type="llama", positions=positions)
    assert not list(tmp_path.iterdir())


def test_layer_0_cannot_be_written(tmp_path: Path) -> None:
    rows = {layer: torch.ones(4) for layer in (0, 1, 2, 5)}
    with pytest.raises(OutputError, match=r"layer 0.*leave it out by --layers 1-2,5 \(layers=\), or write a"):
        write_gguf(tmp_path / "a.gguf", rows, model_type="llama")
    with pytest.raises(OutputError, match=r"layer 0.*extract it at layer 1, or write a \.safetensors"):
        write_gguf(tmp_path / "a.gguf", {0: torch.ones(4)}, model_type="llama")
    assert not list(tmp_path.iterdir())


def test_a_file_is_replaced_only_with_force(tmp_path: Path) -> None:
    place = write_gguf(tmp_path / "a.gguf", {1: torch.ones(4)}, model_type="llama")
    with pytest.raises(OutputError, match="exists"):
        write_gguf(place, {1: torch.zeros(4)}, model_type="llama")
    with pytest.raises(OutputError, match=r"does not end with \.gguf"):
        write_gguf(tmp_path / "a.bin", {1: torch.ones(4)}, model_type="llama")
    with pytest.raises(OutputError, match="no shift"):
        write_gguf(tmp_path / "b.gguf", {}, model_type="llama")
    assert read_gguf(write_gguf(place, {2: torch.ones(4)}, model_type="llama", force=True)).rows.keys() == {2}
