"""Features of sparse autoencoders of the residual stream are read, and other autoencoders are refused."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from vectors.common.errors import InputError, VectorError
from vectors.formats.autoencoders.feature import read_sae
from vectors.formats.reader import read
from vectors.model.residual_model import ResidualModel

DECODER = torch.randn(10, 32, generator=torch.Generator().manual_seed(0))
OLD = {"architecture": "standard", "d_in": 32, "d_sae": 10, "hook_name": "blocks.1.hook_resid_post", "hook_layer": 1}
NEW = {
    "d_in": 32,
    "d_sae": 10,
    "dtype": "float32",
    "metadata": {"sae_lens_version": "6.21.0", "hook_name": "blocks.2.hook_resid_pre", "hook_head_index": None},
    "architecture": "jumprelu",
}


def folder(place: Path, cfg: Any, decoder: torch.Tensor = DECODER, **more: torch.Tensor) -> Path:
    place.mkdir(exist_ok=True)
    (place / "cfg.json").write_text(cfg if isinstance(cfg, str) else json.dumps(cfg))
    held = {"W_dec": decoder, "W_enc": decoder.T.contiguous(), "b_dec": torch.zeros(32)} | more
    safetensors.torch.save_file(held, place / "sae_weights.safetensors")
    return place


@pytest.mark.parametrize(
    "cfg", [OLD, NEW, OLD | {"hook_name": "model.layers.1"}, OLD | {"hook_name": "transformer.h.1"}]
)
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16, torch.float16])
def test_a_feature_is_its_row_of_the_decoder(
    llama_model: ResidualModel, tmp_path: Path, cfg: dict[str, Any], kind: torch.dtype
) -> None:
    place = folder(tmp_path / "blocks.1.hook_resid_post", cfg, DECODER.to(kind))
    vector = read(place, llama_model, row=7)
    assert (vector.name, vector.layer, vector.method) == ("blocks.1.hook_resid_post-7", 1, "sae")
    assert torch.allclose(vector.direction * vector.gap, DECODER[7].to(kind).float(), rtol=1e-6)


@pytest.mark.parametrize(
    ("cfg", "why"),
    [
        (OLD | {"hook_name": "blocks.1.hook_mlp_out"}, "hook_mlp_out' is no residual point"),
        (OLD | {"hook_name": "blocks.1.hook_attn_out"}, "no residual point"),
        (OLD | {"hook_name": "blocks.1.attn.hook_z"}, "no residual point"),
        (OLD | {"hook_name": "blocks.0.hook_resid_pre"}, "embeddings, before any block"),
        (OLD | {"hook_name_out": "blocks.1.hook_mlp_out"}, "is a transcoder"),
        (OLD | {"hook_name": ["blocks.1.hook_resid_post"]}, "name no hook"),
        (OLD | {"hook_name": "blocks.1.hook_resid_mid"}, "no residual point"),
        (OLD | {"hook_head_index": 3}, "single attention head"),
        (OLD | {"architecture": "jumprelu_skip_transcoder"}, "transcoder"),
        (OLD | {"d_in": 31}, r"is 31 wide \(d_in\), and the model 32"),
        (OLD | {"hook_name": "blocks.9.hook_resid_post"}, "layers 0 to 2"),
        ("[1]", "no JSON object"),
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[" * (2**20 + 1), "larger than"),
    ],
)
def test_other_autoencoders_are_refused(llama_model: ResidualModel, tmp_path: Path, cfg: Any, why: str) -> None:
    with pytest.raises(VectorError, match=why) as caught:
        read(folder(tmp_path / "sae", cfg), llama_model, row=0)
    assert len(str(caught.value).splitlines()) == 1


def test_a_row_that_is_not_there_is_refused(llama_model: ResidualModel, tmp_path: Path) -> None:
    place = folder(tmp_path / "sae", OLD)
    for row in (10, -1):
        with pytest.raises(InputError, match=f"row is {row}: this autoencoder has the features 0 to 9"):
            read(place, llama_model, row=row)
    with pytest.raises(InputError, match="say which feature"):
        read(place, llama_model)
    assert read(place, llama_model, row=1, layer=1).layer == 1  # it agrees with the settings
    with pytest.raises(VectorError, match="is for layer 1, not for layer 2: leave --layer out"):
        read(place, llama_model, row=1, layer=2)
    with pytest.raises(VectorError, match="choose one with --layer"):
        read(place, llama_model, row=1, layers="0-1")
    dead = DECODER.clone()
    dead[3] = 0.0
    with pytest.raises(VectorError, match="shifts nothing"):
        read(folder(place, OLD, dead), llama_model, row=3)


def test_damaged_weights_are_refused(llama_model: ResidualModel, tmp_path: Path) -> None:
    place = folder(tmp_path / "sae", OLD)
    weights = place / "sae_weights.safetensors"
    whole = weights.read_bytes()
    for content in (b"", whole[:100], whole[:1000], b"\xff" * 64, (2**40).to_bytes(8, "little") + b"{}"):
        weights.write_bytes(content)
        with pytest.raises(VectorError, match="sae_weights"):
            read(place, llama_model, row=0)
    for entry in (7, None, [], {"dtype": "F32"}, {"dtype": [], "shape": [10, 32], "data_offsets": [0, 1280]}):
        head = json.dumps({"W_dec": entry}).encode()
        weights.write_bytes(len(head).to_bytes(8, "little") + head + bytes(1280))
        with pytest.raises(VectorError, match="W_dec"):
            read(place, llama_model, row=0)
    folder(place, OLD, DECODER.T.contiguous())
    with pytest.raises(VectorError, match=r"shape \(32, 10\)"):
        read(place, llama_model, row=0)
    folder(place, OLD, torch.ones(10, 32, dtype=torch.int8))
    with pytest.raises(VectorError, match="is of 'I8'"):
        read(place, llama_model, row=0)
    safetensors.torch.save_file({"W_enc": DECODER}, weights)
    with pytest.raises(VectorError, match="holds no tensor W_dec"):
        read(place, llama_model, row=0)
    weights.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n")
    with pytest.raises(VectorError, match="Git LFS pointer"):
        read(place, llama_model, row=0)
    weights.unlink()
    with pytest.raises(VectorError, match="holds none of sae_weights"):
        read(place, llama_model, row=0)


def test_only_the_row_is_read(tmp_path: Path) -> None:
    """A decoder of 64 GB in a sparse file that has one row on the disk."""
    place, width, features = tmp_path / "sae", 4096, 4_000_000
    place.mkdir()
    (place / "cfg.json").write_text(json.dumps(OLD | {"d_in": width, "d_sae": features}))
    header = {"W_dec": {"dtype": "F32", "shape": [features, width], "data_offsets": [0, features * width * 4]}}
    head = json.dumps(header).encode().ljust(128)
    row = torch.arange(width, dtype=torch.float32)
    with (place / "sae_weights.safetensors").open("wb") as stream:
        stream.write(len(head).to_bytes(8, "little") + head)
        stream.seek(8 + len(head) + 3_999_999 * width * 4)
        stream.write(row.numpy().tobytes())
    size = os.stat(place / "sae_weights.safetensors")
    assert size.st_size > 6e10 and size.st_blocks * 512 < 1e6
    shifts = read_sae(place, 3_999_999, d_model=width)
    assert torch.equal(shifts.rows[1], row)
