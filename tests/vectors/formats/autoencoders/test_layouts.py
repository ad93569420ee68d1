"""Each tool's own layout is read, and what does not write the residual stream after a block is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from vectors.common.errors import SteerWarning, VectorError
from vectors.formats.reader import read
from vectors.model.residual_model import ResidualModel

ROWS = torch.randn(10, 32, generator=torch.Generator().manual_seed(0))
SPARSIFY = {"expansion_factor": 32, "normalize_decoder": True, "num_latents": 10, "k": 4, "signed": False, "d_in": 32}
LLAMA_SCOPE = {
    "device": "cuda:0", "dtype": "torch.bfloat16", "hook_point_in": "blocks.1.hook_resid_post",
    "hook_point_out": "blocks.1.hook_resid_post", "expansion_factor": 8, "d_model": 32, "d_sae": 10,
    "act_fn": "jumprelu", "norm_activation": "dataset-wise", "dataset_average_activation_norm": {"in": 9.1, "out": 9.1},
}  # fmt: skip
TRAINER = {
    "trainer_class": "BatchTopKTrainer", "dict_class": "BatchTopKSAE", "activation_dim": 32, "dict_size": 10, "k": 4,
    "layer": 1, "lm_name": "meta-llama/Llama-3.1-8B-Instruct", "submodule_name": "resid_post_layer_1",
}  # fmt: skip
SCOPE_2 = {
    "width": 10, "model_name": "meta-llama/some-llama", "architecture": "jump_relu", "l0": 150,
    "affine_connection": False, "hf_hook_point_in": "model.layers.1.output",
    "hf_hook_point_out": "model.layers.1.output", "type": "sae",
}  # fmt: skip


def write(place: Path, settings: dict[str, Any] | None, name: str, weights: dict[str, torch.Tensor]) -> Path:
    """Write an autoencoder: settings as (file, content), and weights in the format of their file."""
    (place / name).parent.mkdir(parents=True, exist_ok=True)
    for file, content in (settings or {}).items():
        (place / file).write_text(json.dumps(content))
    if name.endswith(".safetensors"):
        save_file({key: value.clone().contiguous() for key, value in weights.items()}, place / name)
    elif name.endswith(".npz"):
        np.savez(place / name, **{key: value.numpy() for key, value in weights.items()})
    else:
        torch.save(weights, place / name)
    return place


def gemma_scope(
    place: Path, *, repo: str = "gemma-scope-2b-pt-res", path: str = "layer_1/width_16k/average_l0_82"
) -> Path:
    bias = torch.zeros(32)
    weights = {"W_dec": ROWS, "W_enc": ROWS.T.contiguous(), "b_enc": torch.zeros(10), "b_dec": bias}
    return write(place / repo / path, None, "params.npz", weights | {"threshold": torch.ones(10)})


def gemma_scope_2(place: Path, **changes: Any) -> Path:
    weights = {"w_dec": ROWS, "w_enc": ROWS.T, "b_enc": torch.zeros(10), "threshold": torch.ones(10)}
    return write(place / "resid_post" / "l", {"config.json": SCOPE_2 | changes}, "params.safetensors", weights)


def sparsify(place: Path, *, folder: str = "layers.1", **changes: Any) -> Path:
    weights = {"W_dec": ROWS, "encoder.weight": ROWS, "encoder.bias": torch.zeros(10), "b_dec": torch.zeros(32)}
    return write(place / folder, {"cfg.json": SPARSIFY | changes}, "sae.safetensors", weights)


def llama_scope(place: Path, **changes: Any) -> Path:
    weights = {"decoder.weight": ROWS.T, "encoder.weight": ROWS, "decoder.bias": torch.zeros(32)}
    return write(
        place / "L1R-8x", {"hyperparams.json": LLAMA_SCOPE | changes}, "checkpoints/final.safetensors", weights
    )


def dictionary_learning(place: Path, *, buffer: dict[str, Any] | None = None, **changes: Any) -> Path:
    weights = {"decoder.weight": ROWS.T, "encoder.weight": ROWS, "b_dec": torch.zeros(32), "k": torch.tensor(4)}
    settings = {
        "trainer": TRAINER | changes,
        "buffer": {"d_submodule": 32, "io": "out", "ctx_len": 128} | (buffer or {}),
    }
    return write(place / "trainer_0", {"config.json": settings}, "ae.pt", weights)


LAYOUTS: dict[str, Callable[..., Path]] = {
    "gemma-scope": gemma_scope, "gemma-scope-2": gemma_scope_2, "sparsify": sparsify, "llama-scope": llama_scope,
    "dictionary-learning": dictionary_learning,
}  # fmt: skip


@pytest.mark.parametrize("kind", LAYOUTS)
@pytest.mark.filterwarnings("ignore::vectors.common.errors.SteerWarning")
def test_a_feature_is_its_vector_in_the_decoder(llama_model: ResidualModel, tmp_path: Path, kind: str) -> None:
    place = LAYOUTS[kind](tmp_path)
    vector = read(place, llama_model, row=7)
    assert vector.layer == 1 and vector.method == "sae" and not vector.other_shifts
    assert torch.allclose(vector.direction * vector.gap, ROWS[7], rtol=1e-5)
    for weights in (each for each in place.rglob("*") if each.suffix in (".npz", ".safetensors", ".pt")):
        assert torch.equal(read(weights, llama_model, row=7).direction, vector.direction)  # the file alone will do
    with pytest.raises(Exception, match="features 0 to 9"):
        read(place, llama_model, row=10)


@pytest.mark.parametrize(
    ("kind", "changes", "why"),
    [
        ("gemma-scope", {"repo": "gemma-scope-2b-pt-mlp"}, "is of 'mlp'"),
        ("gemma-scope", {"repo": "models--google--gemma-scope-2b-pt-att"}, "is of 'att'"),
        ("gemma-scope", {"repo": "gemma-scope-2b-pt-transcoders"}, "is of 'transcoders'"),
        ("gemma-scope", {"path": "embedding/width_4k/average_l0_6"}, "is of 'embedding'"),
        ("gemma-scope", {"path": "average_l0_6"}, "say its layer with --layer"),
        ("gemma-scope-2", {"type": "transcoder"}, "is a transcoder"),
        ("gemma-scope-2", {"type": "crosscoder"}, "crosscoder"),
        ("gemma-scope-2", {"hf_hook_point_out": "model.layers.1.post_feedforward_layernorm.output"}, "is a transcoder"),
        ("sparsify", {"folder": "layers.1.mlp"}, "is of 'layers.1.mlp'"),
        ("sparsify", {"folder": "layers.1.attention"}, "does not write the residual stream"),
        ("sparsify", {"folder": "embed_tokens"}, "embed_tokens"),
        ("sparsify", {"folder": "mine"}, "say its layer with --layer"),
        ("sparsify", {"skip_connection": True}, "is a transcoder"),
        ("sparsify", {"transcode": True}, "is a transcoder"),
        ("sparsify", {"d_in": 31}, "31 wide"),
        ("llama-scope", {"hook_point_in": "blocks.1.ln2.hook_normalized"}, "is a transcoder"),
        ("llama-scope", dict.fromkeys(("hook_point_in", "hook_point_out"), "blocks.1.hook_mlp_out"), "no residual"),
        ("llama-scope", {"sae_type": "lorsa"}, "transcoder or crosscoder"),
        ("llama-scope", dict.fromkeys(("hook_point_in", "hook_point_out"), "model.layers.9"), "layers 0 to 2"),
        ("dictionary-learning", {"submodule_name": "mlp_out_layer_1"}, "no residual point"),
        ("dictionary-learning", {"submodule_name": "attn_out_layer_1"}, "no residual point"),
        ("dictionary-learning", {"dict_class": "CrossCoder"}, "crosscoder"),
        ("dictionary-learning", {"buffer": {"io": "in_and_out"}}, "is a transcoder"),
        ("dictionary-learning", {"activation_dim": 16}, "16 wide"),
    ],
)  # fmt: skip
def test_what_does_not_write_the_stream_after_a_block_is_refused(
    llama_model: ResidualModel, tmp_path: Path, kind: str, changes: dict[str, Any], why: str
) -> None:
    with pytest.raises(VectorError, match=why) as caught:
        read(LAYOUTS[kind](tmp_path, **changes), llama_model, row=3)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.filterwarnings("ignore::vectors.common.errors.SteerWarning")
def test_a_layer_that_no_file_names_is_an_option(llama_model: ResidualModel, tmp_path: Path) -> None:
    for place in (sparsify(tmp_path, folder="mine"), gemma_scope(tmp_path, path="p"), gemma_scope(tmp_path)):
        assert read(place, llama_model, row=3, layer=2).layer == 2  # a path only suggests a layer
    with pytest.raises(VectorError, match="is for layer 1, not for layer 2"):
        read(llama_scope(tmp_path), llama_model, row=3, layer=2)


@pytest.mark.filterwarnings("ignore::vectors.common.errors.SteerWarning")
def test_the_stream_before_a_block_is_that_after_the_one_before(llama_model: ResidualModel, tmp_path: Path) -> None:
    place = dictionary_learning(tmp_path, submodule_name="resid_pre_layer_2", layer=2)
    assert read(place, llama_model, row=3).layer == 1


@pytest.mark.parametrize(
    ("kind", "note"),
    [
        ("llama-scope", "rescaled activations"),
        ("gemma-scope", "its layer, 1, is from its path"),
        ("sparsify", "its path"),
    ],
)
def test_what_changes_the_meaning_of_a_feature_is_noted(
    llama_model: ResidualModel, tmp_path: Path, kind: str, note: str
) -> None:
    with pytest.warns(SteerWarning, match=note):
        read(LAYOUTS[kind](tmp_path), llama_model, row=3)


def test_a_decoder_that_is_as_wide_as_it_is_long_is_read_by_its_name(
    llama_model: ResidualModel, tmp_path: Path
) -> None:
    square = torch.randn(32, 32, generator=torch.Generator().manual_seed(1))
    for name, wanted in (("W_dec", square[5]), ("decoder.weight", square[:, 5])):
        for file in ("a.safetensors", "a.npz", "a.pt"):
            write(tmp_path, None, file, {name: square})
            vector = read(tmp_path / file, llama_model, row=5, layer=1)
            assert torch.allclose(vector.direction * vector.gap, wanted, rtol=1e-5)


@pytest.mark.parametrize("name", ["params.npz", "ae.pt", "sae.safetensors"])
def test_damaged_weights_are_refused_in_one_line(llama_model: ResidualModel, tmp_path: Path, name: str) -> None:
    write(tmp_path, None, name, {"W_dec": ROWS})
    whole = (tmp_path / name).read_bytes()
    for size in (0, 10, 100, len(whole) // 2, len(whole) - 50):
        (tmp_path / name).write_bytes(whole[:size])
        with pytest.raises(VectorError) as caught:
            read(tmp_path / name, llama_model, row=9, layer=1)
        assert len(str(caught.value).splitlines()) == 1
    write(tmp_path, None, name, {"W_enc": ROWS})
    with pytest.raises(VectorError, match=r"holds no tensor W_dec.*'W_enc'"):
        read(tmp_path / name, llama_model, row=9, layer=1)


def test_weights_without_a_row_are_called_an_autoencoder(llama_model: ResidualModel, tmp_path: Path) -> None:
    for file in ("a.safetensors", "a.npz", "a.pt"):
        write(tmp_path, None, file, {"W_dec": ROWS, "b_dec": torch.zeros(32)})
        with pytest.raises(VectorError, match="a sparse autoencoder, of which --row chooses a feature"):
            read(tmp_path / file, llama_model, layer=1)
