"""Files of `torch.save` are read in every shape that tools write, and nothing in them is run."""

import os
import pickle
import re
import shlex
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vectors.common.errors import InputError, SteerWarning, VectorError
from vectors.formats.reader import read
from vectors.model.residual_model import ResidualModel

ROW = torch.randn(32, generator=torch.Generator().manual_seed(0))
STACK = torch.randn(3, 32, generator=torch.Generator().manual_seed(1))
WITH_EMBEDDINGS = torch.cat([torch.full((1, 32), 99.0), STACK])


@pytest.mark.parametrize(
    ("content", "options", "rows"),
    [
        (ROW, {"layer": 2}, {2: ROW}),
        (ROW[None], {"layer": 2}, {2: ROW}),
        (ROW[None, None], {"layers": "2"}, {2: ROW}),
        (ROW.bfloat16(), {"layer": 2}, {2: ROW.bfloat16().float()}),
        (ROW.half(), {"layer": np.int64(2)}, {2: ROW.half().float()}),
        (ROW.double(), {"layer": 2}, {2: ROW}),
        (torch.nn.Parameter(ROW), {"layer": 2}, {2: ROW}),
        (STACK, {}, dict(enumerate(STACK))),
        (STACK[:, None], {}, dict(enumerate(STACK))),
        (STACK.T.contiguous().T, {"layers": "1-"}, {1: STACK[1], 2: STACK[2]}),
        (WITH_EMBEDDINGS, {}, dict(enumerate(STACK))),
        (WITH_EMBEDDINGS[:, None], {"layer": 1}, {1: STACK[1]}),
        (list(STACK), {}, dict(enumerate(STACK))),
        (tuple(row[None] for row in WITH_EMBEDDINGS), {}, dict(enumerate(STACK))),
        ([ROW], {"layer": 0}, {0: ROW}),
        ({1: ROW}, {}, {1: ROW}),
        ({"1": ROW, "2": 2 * ROW}, {"layer": 2}, {2: 2 * ROW}),
        ({"layer_1": ROW[None]}, {}, {1: ROW}),
        ({"model.layers.1": ROW}, {}, {1: ROW}),
        ({"model.layers.1.output": ROW}, {}, {1: ROW}),
        ({"blocks.1.hook_resid_post": ROW}, {}, {1: ROW}),
        ({"blocks.2.hook_resid_pre": ROW}, {}, {1: ROW}),
        ({"layer_1_comp_block_output_unit_pos_nunit_1#0": ROW}, {}, {1: ROW}),
        ({"hidden_states.2": ROW}, {}, {1: ROW}),
        ({1: {"vector": ROW, "norm": 3.0}}, {}, {1: ROW}),
        ({"vector": ROW, "layer": 1, "model": "llama"}, {}, {1: ROW}),
        ({"steering_vector": ROW, "hook": "blocks.2.hook_resid_pre", "layer": 2}, {}, {1: ROW}),
        ({"steering_vector": ROW, "hook": "resid_pre", "layer": 2}, {}, {1: ROW}),
        ({"vector": ROW}, {"layer": 1}, {1: ROW}),
        ({"directions": {0: ROW, 2: ROW}, "explained_variances": {0: 0.5, 2: 0.4}}, {}, {0: ROW, 2: ROW}),
        ({"vectors": STACK, "metadata": {"method": "pca", "seed": 3}}, {}, dict(enumerate(STACK))),
        ({"vectors": STACK[:2], "layers": [0, 2]}, {}, {0: STACK[0], 2: STACK[1]}),
        ({"vectors": STACK[:2], "layers": torch.tensor([0, 2])}, {}, {0: STACK[0], 2: STACK[1]}),
        ({"1": ROW.tolist()}, {}, {1: ROW}),
        (dict(enumerate(WITH_EMBEDDINGS)), {}, dict(enumerate(STACK))),
    ],
)
@pytest.mark.parametrize("archive", [True, False])
@pytest.mark.filterwarnings("ignore::vectors.common.errors.SteerWarning")
def test_every_shape_is_read(
    llama_model: ResidualModel, tmp_path: Path, content: Any, options: Any, rows: Any, archive: bool
) -> None:
    torch.save(content, tmp_path / "v.pt", _use_new_zipfile_serialization=archive)
    vector = read(tmp_path / "v.pt", llama_model, **options)
    assert vector.name == "v" and vector.layers == tuple(sorted(rows))
    for layer, row in rows.items():
        assert torch.allclose(vector.shifts[layer, "all"] * vector.scale, row, rtol=1e-4, atol=1e-6)


def test_a_tensor_of_an_absent_device_is_read_on_the_cpu(llama_model: ResidualModel, tmp_path: Path) -> None:
    place = tmp_path / "v.pt"
    torch.save(ROW, place)
    with zipfile.ZipFile(place) as archive:
        members = {member.filename: archive.read(member) for member in archive.infolist()}
    (pickled,) = (name for name in members if name.endswith("data.pkl"))
    assert members[pickled].count(b"\x03\x00\x00\x00cpu") == 1
    members[pickled] = members[pickled].replace(b"\x03\x00\x00\x00cpu", b"\x06\x00\x00\x00cuda:0")
    with zipfile.ZipFile(place, "w", zipfile.ZIP_STORED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    assert torch.allclose(read(place, llama_model, layer=1).direction, ROW / ROW.norm(), rtol=1e-5)


def test_a_layer_in_the_name_of_the_file_is_noted(llama_model: ResidualModel, tmp_path: Path) -> None:
    torch.save(ROW, tmp_path / "vec_layer_1_Llama-2-7b-chat-hf.pt")
    with pytest.warns(SteerWarning, match="its layer, 1, is from its name"):
        assert read(tmp_path / "vec_layer_1_Llama-2-7b-chat-hf.pt", llama_model).layer == 1
    assert read(tmp_path / "vec_layer_1_Llama-2-7b-chat-hf.pt", llama_model, layer=2).layer == 2


def test_a_row_for_the_embeddings_is_noted(llama_model: ResidualModel, tmp_path: Path) -> None:
    torch.save(WITH_EMBEDDINGS, tmp_path / "evil_response_avg_diff.pt")
    with pytest.warns(SteerWarning, match="row 0, of the embeddings, is left out, and row 1 is layer 0"):
        read(tmp_path / "evil_response_avg_diff.pt", llama_model)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (ROW, "say its layer with --layer"),
        (torch.randn(2, 32), "holds 2 rows, and the model has 3 layers"),
        (torch.randn(3, 4, 8), r"\(3, 4, 8\).*attention heads"),
        (torch.ones(32, dtype=torch.int64), "int64"),
        (torch.ones(32, dtype=torch.complex64), "complex64"),
        (torch.ones(3, 32).to_sparse(), "sparse"),
        (torch.empty(3, 32, device="meta"), "strided"),
        (torch.tensor(1.0).expand(10**10), "shape"),
        (torch.full((3, 32), torch.nan), "NaN"),
        ("text", "a str"),
        ([[1.0] * 3000] * 10_000, "more than 16777216 numbers"),
        ({}, "0 arrays"),
        ([], "a list"),
        ([ROW, "x"], "a str in it"),
        ([ROW, ROW[:5]], "several shapes"),
        ({"evil": ROW, "good": ROW}, "'evil', 'good'"),
        ({(1, 2): ROW}, "entry named"),
        ({1: ROW, "layer_1": ROW}, "two of its arrays are for layer 1"),
        ({9: ROW}, "layers 0 to 2"),
        ({-1: ROW}, "-1, expected"),
        ({"blocks.1.hook_mlp_out": ROW}, "no residual point"),
        ({"blocks.1.attn.hook_z": ROW}, "no residual point"),
        ({"blocks.0.hook_resid_pre": ROW}, "the embeddings"),
        ({"hidden_states.0": ROW}, "the embeddings"),
        ({"vision_tower.layers.1": ROW}, "another model"),
        ({"rotate_layer": ROW, "weight": ROW}, "ReFT"),
        ({"projector1": torch.eye(32), "projector2": torch.eye(32)}, "LM-Steer"),
        ({"A_": torch.eye(32), "B_": ROW}, "linear map"),
        ({"vector": ROW, "layer": 1, "method": "ablation"}, "ablat"),
        ({"vector": ROW, "layer": 1, "operator": "orthogonal projection"}, "orthogon"),
        ({"vector": ROW, "layer": 1, "mode": "multiply"}, "multipl"),
        ({"vector": ROW, "layer": 1, "component": "mlp_output"}, "mlp"),
        ({"vector": ROW, "layer": 1, "metadata": {"hook_point": "blocks.1.attn.hook_z"}}, "attn"),
        ({"vector": ROW, "layer": 1, "condition": {"threshold": 0.2}}, "condition"),
        ({"layer_activations": {1: ROW}, "layer_type": "self_attn"}, "attn"),
        ({"state_dict": {"x": ROW}}, "training checkpoint"),
        ({"model.embed_tokens.weight": ROW, "lm_head.weight": ROW}, "a model"),
    ],
)
@pytest.mark.filterwarnings("ignore:Sparse")
def test_what_cannot_be_added_is_refused_in_one_line(
    llama_model: ResidualModel, tmp_path: Path, content: Any, why: str
) -> None:
    torch.save(content, tmp_path / "v.pt")
    with pytest.raises((VectorError, InputError), match=why) as caught:
        read(tmp_path / "v.pt", llama_model)
    assert "v.pt" in str(caught.value) and len(str(caught.value).splitlines()) == 1


def test_a_suggested_strength_is_noted(llama_model: ResidualModel, tmp_path: Path) -> None:
    torch.save({"vector": ROW, "layer": 1, "alpha": 4.0}, tmp_path / "v.pt")
    with pytest.warns(SteerWarning, match="its alpha is 4: dose 1 adds"):
        vector = read(tmp_path / "v.pt", llama_model)
    assert vector.gap == pytest.approx(float(ROW.norm()))


class Payload:
    """Runs code when it is unpickled."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.witness),)


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle", ".PT"])
@pytest.mark.parametrize("writer", ["archive", "legacy", "pickle"])
def test_no_code_of_a_pickle_is_run(llama_model: ResidualModel, tmp_path: Path, suffix: str, writer: str) -> None:
    place, content = tmp_path / f"v{suffix}", {"vector": ROW, "x": Payload(tmp_path / "witness")}
    if writer == "pickle":
        place.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, place, _use_new_zipfile_serialization=writer == "archive")
    with pytest.raises(VectorError, match="is a pickle that may run code") as caught:
        read(place, llama_model, layer=1)
    assert not (tmp_path / "witness").exists() and len(str(caught.value).splitlines()) == 1


@dataclass
class SteeringVector:
    """As in the library steering-vectors."""

    layer_activations: dict[int, torch.Tensor]
    layer_type: str = "decoder_block"


@pytest.mark.parametrize(
    "content",
    [
        STACK.numpy(),
        {1: ROW.numpy(), 2: ROW.numpy()},
        {np.int64(1): ROW.numpy().astype(np.float16)},
        [row.numpy() for row in STACK],
        {"vector": ROW.numpy(), "layer": np.int32(1), "score": np.float64(0.5), "name": np.str_("evil")},
        SteeringVector({1: ROW}),
        {"directions": {"layer_2": ROW.numpy()}},
    ],
    ids=["stacked", "by-layer", "numpy-keys", "list", "named", "dataclass", "nested"],
)
def test_the_command_of_the_message_converts_what_is_no_tensor(
    llama_model: ResidualModel, tmp_path: Path, content: Any
) -> None:
    place = tmp_path / "it's a folder; $HOME" / "v.pt"
    place.parent.mkdir()
    if isinstance(content, list):
        place.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, place)
    with pytest.raises(VectorError, match="may run code") as caught:
        read(place, llama_model)
    command = re.search(r"`(python -c .*)` and import ", str(caught.value))
    assert command
    path = os.pathsep.join([str(Path(__file__).parents[4]), *sys.path])
    word, *rest = shlex.split(command[1])
    assert word == "python"
    if isinstance(content, SteeringVector):  # its class lives in this module, which the command cannot import
        rest[1] = rest[1].replace("import pickle, torch;", "import sys, types, pickle, torch;" + _CLASS)
    subprocess.run([sys.executable, *rest], check=True, env=os.environ | {"PYTHONPATH": path})
    vector = read(place.with_name("v-tensors.pt"), llama_model)
    assert vector.layer in (0, 1, 2)


_CLASS = (
    f" m = types.ModuleType({__name__!r}); m.SteeringVector = type('SteeringVector', (), {{}}); "
    f"sys.modules.update({{{__name__!r}: m}});"
)


def test_damaged_and_packed_archives_are_refused(llama_model: ResidualModel, tmp_path: Path) -> None:
    place = tmp_path / "v.pt"
    torch.save({"layers.1": ROW}, place)
    whole = place.read_bytes()
    for size in (4, 60, len(whole) // 2, len(whole) - 5):
        place.write_bytes(whole[:size])
        with pytest.raises(VectorError, match=r"v\.pt") as caught:
            read(place, llama_model)
        assert len(str(caught.value).splitlines()) == 1
    for level in (zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA):
        with zipfile.ZipFile(place, "w", level) as archive:
            archive.writestr("v/data/0", bytes(2**24))
        with pytest.raises(VectorError, match="packed archive"):
            read(place, llama_model)
    place.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n")
    with pytest.raises(VectorError, match="Git LFS pointer"):
        read(place, llama_model)
    place.write_bytes(b"")
    with pytest.raises(VectorError):
        read(place, llama_model)
    with place.open("wb") as stream:
        stream.truncate(2**27)
    with pytest.raises(VectorError, match="save the rows alone"):
        read(place, llama_model)
