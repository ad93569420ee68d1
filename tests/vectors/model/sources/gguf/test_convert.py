"""A GGUF file becomes the model that it was written from, once, and anything less than a whole model is refused."""

import json
import multiprocessing
import struct
import warnings
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType as Kind
from helpers.gguf_model import TOKENS, write_model
from transformers import (
    AutoModelForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
)

from vectors.common.errors import ModelError, SteerError, SteerWarning
from vectors.model.residual_model import ResidualModel, load_model
from vectors.model.sources.gguf.convert import RECORD

SIZES = {
    "vocab_size": len(TOKENS), "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "head_dim": 16,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64, "initializer_range": 0.2,
    "bos_token_id": 0, "eos_token_id": 1, "tie_word_embeddings": False,
}  # fmt: skip


def llama(**more: object) -> PreTrainedModel:
    torch.manual_seed(0)
    hf = LlamaForCausalLM(LlamaConfig(**SIZES | more)).eval()
    return with_drawn_norms(hf)


def with_drawn_norms(hf: PreTrainedModel) -> PreTrainedModel:
    """Give norms weights of their own, so that one left out or swapped shows."""
    with torch.no_grad():
        for weight in hf.parameters():
            if weight.ndim == 1:
                weight += 0.1 * torch.randn(weight.shape)
    return hf


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STEER_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def logits(hf: PreTrainedModel) -> torch.Tensor:
    with torch.no_grad():
        return hf(torch.tensor([[0, 5, 70, 33, 90, 12, 41, 7]])).logits


def quietly(path: Path, **more: object) -> ResidualModel:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SteerWarning)
        return load_model(path, "cpu", **more)


def refused(path: Path) -> str:
    with pytest.raises(SteerError) as caught:
        quietly(path)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 400
    return message


@pytest.mark.parametrize("tied", [True, False])
def test_the_model_is_the_one_that_was_written(tmp_path: Path, tied: bool) -> None:
    hf = llama(tie_word_embeddings=tied)
    model = quietly(write_model(tmp_path / "tiny.gguf", hf))
    assert torch.equal(logits(model.hf), logits(hf)) and model.dtype == torch.float32
    assert (model.name, model.n_layers, model.bos_id) == ("tiny", 2, 0)
    assert model.hash == ResidualModel(hf, model.tokenizer).hash
    assert model.decode(model.encode(["Déjà vu, 1999!"])[0]) == "Déjà vu, 1999!"


def test_gemma3_norms_and_both_kinds_of_positions(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = Gemma3TextConfig(
        **SIZES
        | {"num_hidden_layers": 7, "sliding_window": 4, "query_pre_attn_scalar": 16, "tie_word_embeddings": True}
    )
    hf = with_drawn_norms(Gemma3ForCausalLM(config).eval())
    model = quietly(write_model(tmp_path / "tiny.gguf", hf, architecture="gemma3"))
    assert torch.allclose(logits(model.hf), logits(hf), atol=1e-4)


@pytest.mark.parametrize("kind", [Kind.Q8_0, Kind.Q4_0, Kind.Q5_1, Kind.F16, Kind.BF16])
def test_quantised_weights_are_those_of_llama_cpp(tmp_path: Path, kind: Kind) -> None:
    hf = llama()
    model = quietly(write_model(tmp_path / "tiny.gguf", hf, kind=kind), dtype="float32")
    down = hf.model.layers[1].mlp.down_proj.weight.detach().numpy()
    expected = gguf.dequantize(gguf.quants.quantize(down, kind), kind)
    assert np.allclose(model.hf.model.layers[1].mlp.down_proj.weight.float().numpy(), expected, rtol=6e-4, atol=1e-7)
    # and transformers' own reader gives the same model
    other = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="tiny.gguf", dtype=torch.float32).eval()
    ours = logits(model.hf)
    assert (ours - logits(other)).abs().max() < 5e-3 * ours.std()
    assert model.file_precision == {Kind.F16: "F16", Kind.BF16: "BF16"}.get(kind, kind.name)


def test_it_is_converted_once_and_said_where(tmp_path: Path, home: Path) -> None:
    path = write_model(tmp_path / "tiny.gguf", llama(), kind=Kind.Q8_0)
    stages: list[str] = []
    with pytest.warns(SteerWarning, match=r"'tiny.gguf' \(Q8_0\) was converted once, to .*home/models/tiny-"):
        load_model(path, "cpu", progress=lambda stage, done, total: stages.append(stage))
    assert {"reading the GGUF file", "converting the GGUF file"} <= {*stages}
    (folder,) = (home / "models").iterdir()
    written = (folder / "model.safetensors").stat().st_mtime_ns
    moved = path.rename(tmp_path / "moved.gguf")
    with warnings.catch_warnings():
        warnings.simplefilter("error", SteerWarning)  # reuse is silent
        load_model(moved, "cpu")
        load_model(moved, "cpu")
    assert [*(home / "models").iterdir()] == [folder]
    assert (folder / "model.safetensors").stat().st_mtime_ns == written


def test_a_damaged_copy_is_made_again(tmp_path: Path, home: Path) -> None:
    hf = llama()
    path = write_model(tmp_path / "tiny.gguf", hf)
    quietly(path)
    (folder,) = (home / "models").iterdir()
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    assert torch.equal(logits(quietly(path).hf), logits(hf))
    (folder / RECORD).write_text("[]")
    assert torch.equal(logits(quietly(path).hf), logits(hf))


def test_another_file_of_the_same_name_is_another_model(tmp_path: Path) -> None:
    path = write_model(tmp_path / "tiny.gguf", llama())
    first = quietly(path).hash
    hf = llama()
    torch.nn.init.normal_(hf.model.layers[0].mlp.up_proj.weight)
    write_model(path, hf)
    assert quietly(path).hash != first


def _load(path: Path, done: "multiprocessing.Queue[str]") -> None:
    done.put(quietly(path).hash)


@pytest.mark.slow
def test_two_processes_convert_at_once(tmp_path: Path, home: Path) -> None:
    path = write_model(tmp_path / "tiny.gguf", llama())
    context = multiprocessing.get_context("spawn")
    done: multiprocessing.Queue[str] = context.Queue()
    workers = [context.Process(target=_load, args=(path, done)) for _ in range(2)]
    for worker in workers:
        worker.start()
    hashes = {done.get(timeout=120) for _ in workers}
    for worker in workers:
        worker.join()
    assert len(hashes) == 1 and len([*(home / "models").iterdir()]) == 1


def test_llama3_positions_are_stretched(tmp_path: Path) -> None:
    parameters = {
        "rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }  # fmt: skip
    hf = llama(rope_parameters=parameters, max_position_embeddings=131072, head_dim=64)
    plain = 10000.0 ** -(torch.arange(0, 64, 2) / 64)
    factors = (plain / hf.model.rotary_emb.inv_freq).numpy().astype(np.float32)
    assert factors.max() > 7.9
    model = quietly(write_model(tmp_path / "tiny.gguf", hf, tensors={"rope_freqs.weight": factors}))
    assert torch.equal(logits(model.hf), logits(hf))
    factors[3] *= 1.5
    assert "positions by factors of its own" in refused(
        write_model(tmp_path / "own.gguf", hf, tensors={"rope_freqs.weight": factors})
    )


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"architecture": "mamba2"}, "has the architecture 'mamba2'"),
        ({"more": {"expert_count": 8}}, "expert_count = 8"),
        ({"more": {"rope.scaling.type": "longrope"}}, "longrope"),
        ({"more": {"attention.clamp_kqv": 8.0}}, "clamp_kqv"),
        ({"more": {"made_up": 3}}, "llama.made_up = 3"),
        ({"more": {"block_count": 3}}, "lacks the weight model.layers.2"),
        ({"more": {"block_count": 2**31 - 1}}, "2147483647 blocks, and holds"),
        ({"more": {"block_count": "many"}}, "'many' blocks, and holds"),
        ({"more": {"block_count": 1}}, "tensors that transformers"),
        ({"more": {"embedding_length": 32}}, "in shape"),
        ({"without": ("blk.1.ffn_up.weight",)}, "lacks the weight model.layers.1.mlp.up_proj.weight"),
        ({"without": ("block_count",)}, "lacks llama.block_count"),
        ({"without": ("token_embd.weight",)}, "lacks the tensor token_embd.weight"),
        ({"tensors": {"blk.0.attn_sinks.weight": np.ones(4, np.float32)}}, "attn_sinks"),
        ({"tensors": {"blk.0.attn_q.bias": np.ones(64, np.float32)}}, "k_proj.bias"),
        ({"without": ("tokenizer",)}, "holds no tokenizer"),
        ({"tokens": [*TOKENS, "more"]}, "lists 259 tokens and embeds 258"),
        ({"more": {"tokenizer.ggml.pre": "nobody-knows"}}, "'nobody-knows'"),
        ({"tokenizer": "rwkv"}, "tokenizer of kind 'rwkv'"),
        ({"more": {"split.count": 2}}, "llama-gguf-split --merge"),
        ({"more": {"general.type": "adapter"}}, "is a LoRA adapter"),
        ({"more": {"general.type": "mmproj"}}, "the image part"),
        ({"more": {"general.alignment": 24}}, "power of two"),
    ],
)
def test_what_is_not_understood_is_refused(tmp_path: Path, home: Path, more: dict, said: str) -> None:
    if "architecture" in more:
        path = write_model(tmp_path / "tiny.gguf", llama())
        data = path.read_bytes().replace(struct.pack("<Q", 5) + b"llama", struct.pack("<Q", 6) + b"mamba2", 1)
        path.write_bytes(data)
    else:
        path = write_model(tmp_path / "tiny.gguf", llama(), **more)
    message = refused(path)
    assert said in message and "tiny.gguf" in message and ": " in message
    assert not home.exists() or not [*(home / "models").glob("*")]


def test_files_that_hold_no_model_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_model(tmp_path / "whole.gguf", llama())
    data = path.read_bytes()
    cases = {
        b"": "is empty",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 3\n": "git lfs pull",
        b"PK\3\4" + data: "does not begin as a GGUF file",
        data[:20]: "is cut after 20 bytes",
        data[:-1]: "is cut: it has",
        data[:200]: "cut or damaged in its header",
        data[:4] + data[4:8][::-1] + data[8:]: "other byte order",
        data[:4] + struct.pack("<I", 9) + data[8:]: "of GGUF version 9",
        data[:8] + struct.pack("<Q", 2**62) + data[16:]: "download it again",
        data[:16] + struct.pack("<Q", 2**62) + data[24:]: "cut or damaged",
    }
    for number, (content, said) in enumerate(cases.items()):
        broken = tmp_path / f"broken-{number}.gguf"
        broken.write_bytes(content)
        assert said in refused(broken), number
    assert "parts" in refused(path.rename(tmp_path / "whole-00001-of-00002.gguf"))


def test_damaged_headers_raise_one_line_and_nothing_else(tmp_path: Path) -> None:
    data = write_model(tmp_path / "whole.gguf", llama()).read_bytes()
    header = data.index(b"blk.1.ffn_up.weight")
    draw = np.random.default_rng(0)
    path = tmp_path / "broken.gguf"
    from vectors.model.sources.gguf.header import read_gguf_model

    for _ in range(400):
        broken = bytearray(data)
        for place in draw.integers(4, header, size=int(draw.integers(1, 4))):
            broken[place] = int(draw.integers(256))
        path.write_bytes(broken)
        try:
            read_gguf_model(path)
        except ModelError as error:
            assert "\n" not in str(error)


def test_an_array_of_arrays_is_called_one(tmp_path: Path) -> None:
    from vectors.model.sources.gguf.header import read_gguf_model

    nested = struct.pack("<Q1sIIQ", 1, b"a", 9, 9, 2**50)
    (tmp_path / "nested.gguf").write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + nested + bytes(64))
    with pytest.raises(ModelError, match="array of arrays"):
        read_gguf_model(tmp_path / "nested.gguf")


def test_nan_in_the_file_is_refused(tmp_path: Path) -> None:
    hf = llama()
    with torch.no_grad():
        hf.model.layers[1].mlp.up_proj.weight[3, 5] = float("nan")
    assert "NaN or infinity in 'blk.1.ffn_up.weight'" in refused(write_model(tmp_path / "tiny.gguf", hf))


def test_a_folder_of_one_file_stands_for_it(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    hf = llama()
    write_model(folder / "tiny.gguf", hf)
    assert torch.equal(logits(quietly(folder).hf), logits(hf))
    write_model(folder / "other.gguf", hf)
    message = refused(folder)
    assert "2 GGUF files" in message and "'tiny.gguf'" in message and "'other.gguf'" in message


def test_a_missing_file_names_its_neighbours_and_asks_no_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vectors.model.loading.download", lambda *_: pytest.fail("the hub was asked"))
    monkeypatch.chdir(tmp_path)
    write_model(tmp_path / "tiny.Q8_0.gguf", llama())
    assert "there is no file 'tiny.Q4_0.gguf' (there is 'tiny.Q8_0.gguf')" in refused("tiny.Q4_0.gguf")


def test_the_disk_is_looked_at_first(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 10}))
    path = write_model(tmp_path / "tiny.gguf", llama())
    assert "make room, or set STEER_HOME" in refused(path)
    assert not [*(home / "models").iterdir()]


def test_large_models_are_written_in_parts(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vectors.model.sources.gguf.convert._SHARD", 100_000)
    hf = llama()
    assert torch.equal(logits(quietly(write_model(tmp_path / "tiny.gguf", hf)).hf), logits(hf))
    (folder,) = (home / "models").iterdir()
    assert len(set(json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"].values())) > 1


def test_a_bytes_tokenizer_cuts_as_llama_cpp_says(tmp_path: Path, make_hf: Callable) -> None:
    model = quietly(write_model(tmp_path / "tiny.gguf", llama(), more={"tokenizer.ggml.pre": "smollm"}))
    cut = model.tokenizer.backend_tokenizer.pre_tokenizer.pre_tokenize_str("in 1999")
    assert [piece for piece, _ in cut] == ["in", "Ġ", "1", "9", "9", "9"]
