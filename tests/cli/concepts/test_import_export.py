"""`steer import` and `steer export`: an exported vector is imported unchanged, others are refused in one line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from transformers.models.auto.modeling_auto import AutoModelForCausalLM

from vectors.concepts.vector_file import load_file
from vectors.formats.gguf import write_gguf
from vectors.model.hooks import shift_layers
from vectors.model.residual_model import load_model


@pytest.mark.parametrize("name", ["mood.gguf", "mood.npz", "mood.safetensors"])
def test_an_exported_vector_is_imported_unchanged(
    steer: Callable[..., Any], tiny: Path, tmp_path: Path, name: str
) -> None:
    place = tmp_path / name
    out = steer("export", "cat + 2 sea", "-o", place, "--model", tiny, "--json")
    assert out.code == 0
    told = json.loads(out.out)
    assert told["format"] == name.split(".")[1] and told["positions"] == "all" and told["path"] == str(place)
    back = steer("import", place, "--model", tiny, "--json")
    assert back.code == 0 and "strength 1" in back.err
    found = json.loads(back.out)
    vector = load_file(found["path"])
    assert vector.name == "mood" and vector.layers == (1,)
    wanted = torch.zeros(32)
    wanted[:2] = torch.tensor([2.0, 3.0])  # doses times units
    assert torch.allclose(vector.direction * vector.gap, wanted, atol=1e-6)
    sampled = steer("compose", "mood", "-n", 1, "--max-tokens", 2, "--model", tiny)
    assert sampled.code == 0 and "'mood' has no measured unit, so its dose 1 is the length" in sampled.err
    again = steer("export", "mood", "-o", tmp_path / f"again-{name}", "--model", tiny)
    assert again.code == 0 and "mood" in again.out


def test_a_control_vector_is_what_others_read(steer: Callable[..., Any], tiny: Path, tmp_path: Path) -> None:
    assert steer("export", "cat", "-o", tmp_path / "cat.gguf", "--model", tiny).code == 0
    (tensor,) = gguf.GGUFReader(tmp_path / "cat.gguf").tensors
    assert tensor.name == "direction.1" and tensor.data[0] == 2.0


@pytest.mark.slow
def test_a_checkpoint_is_what_transformers_loads(steer: Callable[..., Any], tiny: Path, tmp_path: Path) -> None:
    place = tmp_path / "steered"
    done = steer("export", "cat - sea", "-o", place, "--model", tiny)
    assert done.code == 0 and "checkpoint" in done.out and str(place) in done.out
    model, ids = load_model(tiny, "cpu"), torch.tensor([[0, 5, 9, 12]])
    shift = torch.zeros(32)
    shift[:2] = torch.tensor([2.0, -1.5])
    loaded: Any = AutoModelForCausalLM.from_pretrained(place, local_files_only=True)
    with torch.no_grad(), shift_layers(model, {1: shift}):
        assert (loaded(ids).logits - model.hf(ids).logits).abs().max() < 1e-4
    told = json.loads((place / "steering.json").read_text())
    assert told["expression"] == "cat - sea" and told["vectors"].keys() == {"cat", "sea"}
    again = steer("export", "cat", "-o", place, "--model", tiny)
    assert again.code == 1 and "pass --force" in again.err
    assert steer("export", "cat", "-o", place, "--model", tiny, "--force").code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["cat", "-o", "cat.gguf", "--positions", "bos"], 1, "at positions bos, and readers of GGUF"),
        (["cat", "-o", "cat.gguf", "--radius", "0.5"], 1, "one shift for all samples"),
        (["cat", "-o", "cat.gguf", "--gate"], 1, "depends on the text"),
        (["cat", "-o", "cat", "--positions", "generated"], 1, "depends on what is being written"),
        (["cat", "-o", "cat.npz", "--positions", "first:3"], 1, "change as a text is written"),
        (["cat", "-o", "cat.npz", "--positions", "nowhere"], 2, "positions is 'nowhere'"),
        (["cat", "-o", "cat.bin"], 2, "which says no format"),
        (["cat", "-o", "cat.gguf", "--format", "npz"], 2, "does not end with .npz"),
        (["cat", "-o", "cat.gguf", "--format", "checkpoint"], 2, "a checkpoint is a folder"),
        (["cat", "-o", "cat.gguf", "--format", "onnx"], 2, "format is 'onnx'"),
        (["cat", "-o", "none/cat.gguf"], 1, "there is no folder"),
        (["cat - cat", "-o", "cat.gguf"], 1, "all its values are zero"),
        (["kat", "-o", "cat.gguf"], 2, "no concept 'kat'"),
        (["cat +", "-o", "cat.gguf"], 2, "cannot read the expression"),
    ],
)
def test_a_vector_that_a_format_cannot_hold_is_refused_in_one_line(
    steer: Callable[..., Any],
    tiny: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    code: int,
    said: str,
) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    done = steer("export", *arguments, "--model", tiny)
    assert done.code == code and said in done.err and done.out == ""
    assert not list((tmp_path / "work").iterdir())


def test_a_concept_is_not_replaced_unasked(steer: Callable[..., Any], tiny: Path, tmp_path: Path) -> None:
    place = write_gguf(tmp_path / "cat.gguf", {2: torch.ones(32)}, model_type="gpt2")
    taken = steer("import", place, "--model", tiny)
    assert taken.code == 1 and "already has 'cat'" in taken.err
    forced = steer("import", place, "--model", tiny, "--force")
    assert forced.code == 0 and "layer" in forced.out
    assert "was made for a model of type 'gpt2'" in forced.err  # a note, and no error
    named = steer("import", place, "--model", tiny, "--name", "other", "--json")
    assert json.loads(named.out)["name"] == "other" and json.loads(named.out)["layers"] == [2]


@pytest.mark.parametrize(
    ("name", "more", "code", "said"),
    [
        ("a.pt", [], 1, "is a pickle that may run code"),
        ("v.pt", [], 1, "say its layer with --layer"),
        ("v.pt", ["--layer", "1", "--layers", "1-2"], 2, "both choose layers"),
        ("v.pt", ["--layers", "2-1"], 2, "layers is '2-1'"),
        ("wide.npz", ["--layers", "5-"], 1, "has no layers 5-: choose from 0-2"),
        ("a.txt", [], 1, "ends with none of"),
        ("none.gguf", [], 1, "there is no file or folder"),
        ("a.npz", ["--row", "3", "--layer", "1"], 1, "holds no tensor W_dec"),
        ("a.gguf", ["--row", "3"], 2, "leave --row out"),
        ("a.npz", ["--layer", "9"], 2, "layers 0 to 2"),
        ("a.npz", ["--positive", "a.txt"], 2, "go together"),
        ("a.npz", ["--name", "../x"], 2, "cannot name a concept"),
        ("folder", [], 2, "say which feature with --row"),
        ("folder", ["--row", "3"], 1, "holds none of sae_weights"),
        ("a.npz", [], 1, "width 31"),
    ],
)
def test_an_unreadable_file_is_refused_in_one_line(
    steer: Callable[..., Any], tiny: Path, tmp_path: Path, name: str, more: list[str], code: int, said: str
) -> None:
    np.savez(tmp_path / "a.npz", **{"layers.1": np.ones(31)})
    (tmp_path / "a.txt").write_text("x")
    np.savez(tmp_path / "wide.npz", np.ones((3, 32)))
    (tmp_path / "a.gguf").write_bytes(b"")
    torch.save({"layers.1": np.ones(32)}, tmp_path / "a.pt")
    torch.save(torch.ones(32), tmp_path / "v.pt")
    (tmp_path / "folder").mkdir()
    done = steer("import", tmp_path / name, *more, "--model", tiny)
    assert done.code == code and said in done.err and done.out == ""
    assert steer("show", "a").code == 2  # nothing was kept


@pytest.mark.slow
def test_with_texts_an_import_is_calibrated(steer: Callable[..., Any], tiny: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "sea.npz", **{"layers.1": np.eye(32)[3] * 2})
    for side, text in (("positive", "the old ship on the sea"), ("background", "the dog ran by the tree")):
        (tmp_path / f"{side}.txt").write_text("".join(f"{text} {each}\n" for each in range(12)))
    sides = ("--positive", tmp_path / "positive.txt", "--background", tmp_path / "background.txt")
    done = steer("import", tmp_path / "sea.npz", "--name", "tide", *sides, "--model", tiny, "--json")
    assert done.code == 0
    found = json.loads(done.out)
    assert 0 <= found["auc"] <= 1 and found["unit_curve"][0]["shift"] == 0.0


@pytest.fixture
def wide(tmp_path: Path) -> Path:
    """A control vector with a row for each of the three layers, as repeng writes it."""
    writer = gguf.GGUFWriter(tmp_path / "wide.gguf", "controlvector")
    writer.add_string("controlvector.model_hint", "llama-3.1")
    for layer in range(3):
        writer.add_tensor(f"direction.{layer}", 2.0 * np.eye(32, dtype=np.float32)[layer])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return tmp_path / "wide.gguf"


def test_a_row_for_every_layer_is_imported_in_parts_and_exported_again(
    steer: Callable[..., Any], tiny: Path, tmp_path: Path, wide: Path
) -> None:
    whole = steer("import", wide, "--model", tiny, "--json")
    assert json.loads(whole.out)["layers"] == [0, 1, 2]
    assert "added at each of the layers 0-2" in whole.err and "--layers 1" in whole.err
    for option, layers in (("--layer=2", [2]), ("--layers=0-1", [0, 1]), ("--layers=0,2", [0, 2])):
        part = steer("import", wide, "--model", tiny, option, "--name", "part", "--force", "--json")
        assert json.loads(part.out)["layers"] == layers and "added at each" not in part.err
    for name in ("back.npz", "back.safetensors"):
        told = json.loads(steer("export", "wide", "-o", tmp_path / name, "--model", tiny, "--json").out)
        assert told["layers"] == {"0": 2.0, "1": 2.0, "2": 2.0}
    refused = steer("export", "wide", "-o", tmp_path / "back.gguf", "--model", tiny)
    assert refused.code == 1 and "leave it out by --layers 1-2" in refused.err
    done = steer("export", "wide", "-o", tmp_path / "back.gguf", "--model", tiny, "--layers", "1-2")
    assert done.code == 0
    assert [tensor.name for tensor in gguf.GGUFReader(tmp_path / "back.gguf").tensors] == ["direction.1", "direction.2"]


def test_vectors_that_lean_on_each_other_are_summed(steer: Callable[..., Any], tiny: Path, tmp_path: Path) -> None:
    base = np.random.default_rng(0).normal(size=32)
    rows = {name: 10 * base + np.random.default_rng(ord(name)).normal(size=32) for name in "ab"}
    for name, row in rows.items():
        np.savez(tmp_path / f"{name}.npz", **{"layers.1": row})
        assert steer("import", tmp_path / f"{name}.npz", "--model", tiny).code == 0
    arguments = ("export", "a - b", "-o", tmp_path / "sum.npz", "--model", tiny)
    refused = steer(*arguments)
    assert refused.code == 1 and "add them up with --method sum" in refused.err
    assert steer(*arguments, "--method", "sum").code == 0
    with np.load(tmp_path / "sum.npz") as found:
        assert np.allclose(found["layers.1"], rows["a"] - rows["b"], atol=1e-3)
    for method, said in (("rotate", "turns the stream"), ("mean", "choose from exact, sum, rotate")):
        assert said in steer(*arguments, "--force", "--method", method).err
