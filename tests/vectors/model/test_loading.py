"""Models are loaded by folder or hub name; what cannot be loaded or steered is refused in one line."""

import json
import logging
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers
from helpers.families import FAMILIES
from huggingface_hub.errors import LocalEntryNotFoundError
from transformers import AutoConfig

import vectors.model.loading
import vectors.model.residual_model
from vectors.common.errors import InputError, ModelError
from vectors.common.paths import EMBEDDED_MODEL
from vectors.model.loading import find_blocks
from vectors.model.residual_model import ResidualModel, load_model
from vectors.model.steering_check import check_steering

ROOT = Path(__file__).parents[3]
TINY = ("gpt2", "llama", "neox", "gemma")


def refused(name: str | Path | None, **options: bool) -> str:
    """Return the one line with which loading a model is refused."""
    with pytest.raises(ModelError) as caught:
        load_model(name, "cpu", **options)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 500
    return message


@pytest.mark.parametrize(
    ("family", "architecture", "message"),
    [
        ("bert", "BertForMaskedLM", "an encoder"),
        ("bert", "BertLMHeadModel", "an encoder"),
        ("t5", "T5ForConditionalGeneration", "an encoder-decoder model"),
        ("bart", "BartForConditionalGeneration", "an encoder-decoder model"),
        ("mamba", "MambaForCausalLM", "a state-space or recurrent model"),
        ("rwkv", "RwkvForCausalLM", "a state-space or recurrent model"),
        ("deberta", "DebertaForMaskedLM", "no TransformerLens adapter"),
        ("vit", "ViTForImageClassification", "ViTForImageClassification"),
    ],
)
def test_other_kinds_of_models_are_refused(tmp_path: Path, family: str, architecture: str, message: str) -> None:
    config = AutoConfig.for_model(family)  # no weights: the model is refused before they are read
    config.architectures = [architecture]
    config.save_pretrained(tmp_path)
    refusal = refused(tmp_path)
    assert message in refusal and architecture in refusal and "decoder-only" in refusal


def test_folders_without_a_model_are_refused(tmp_path: Path, model_folder: Callable[[str], Path]) -> None:
    assert "holds no model (no config.json)" in refused(tmp_path)
    (tmp_path / "config.json").write_text("{not json")
    assert "cannot be loaded" in refused(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    assert "cannot be loaded" in refused(tmp_path)
    assert "is a file" in refused(tmp_path / "config.json")
    broken = tmp_path / "broken"
    shutil.copytree(model_folder("llama"), broken)
    weights = (broken / "model.safetensors").read_bytes()
    (broken / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    assert "cannot be loaded" in refused(broken)
    (broken / "model.safetensors").unlink()
    assert "cannot be loaded" in refused(broken)


def test_a_folder_without_a_tokenizer_is_refused(tmp_path: Path, model_folder: Callable[[str], Path]) -> None:
    for name in ("config.json", "model.safetensors"):
        shutil.copy(model_folder("gpt2") / name, tmp_path)
    assert "holds no tokenizer" in refused(tmp_path)


def test_a_folder_without_a_head_is_refused(tmp_path: Path, make_hf: Callable, make_tokenizer: Callable) -> None:
    make_hf("llama").model.save_pretrained(tmp_path)
    make_tokenizer().save_pretrained(tmp_path)
    assert "lacks 1 weights of a language model (lm_head.weight" in refused(tmp_path)


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma"])
def test_a_config_with_blocks_beyond_memory_is_refused(
    tmp_path: Path, model_folder: Callable[[str], Path], family: str
) -> None:
    shutil.copytree(model_folder(family), tmp_path / "deep")
    config = json.loads((tmp_path / "deep" / "config.json").read_text())
    key = "n_layer" if family == "gpt2" else "num_hidden_layers"
    assert config[key] < 10
    (tmp_path / "deep" / "config.json").write_text(json.dumps(config | {key: 10**9}))
    assert "1000000000 blocks, which no model has" in refused(tmp_path / "deep")


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/at/all", "~/nowhere-at-all", "a/b/c", "no such", "", "a\0b"])
def test_folders_that_do_not_exist_are_never_looked_up(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors.model.loading, "download", lambda *_: pytest.fail("the hub was asked"))
    assert "there is no folder" in refused(name)
    assert "there is no folder" in refused(Path("nowhere"))


def test_unknown_hub_names_are_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def snapshot_download(name: str, **_: object) -> str:
        asked.append(name)
        raise LocalEntryNotFoundError("cannot reach it\n\nreally")

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    message = refused("nobody/nothing")
    assert asked == ["nobody/nothing"]
    assert "no folder 'nobody/nothing' here" in message and "cannot reach it really" in message


def test_a_hub_model_without_a_config_may_be_one_of_gguf_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: str(tmp_path))
    assert "hf download own/er-GGUF FILE.gguf" in refused("own/er-GGUF")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ("Got: ConnectError: [Errno -2] Name or service not known", "(it cannot be reached)"),
        ("403 Forbidden: gated repo https://huggingface.co/a/b/resolve/main/config.json", "gated repo"),
    ],
)
def test_a_hub_that_refuses_is_not_called_unreachable(monkeypatch: pytest.MonkeyPatch, error: str, said: str) -> None:
    def snapshot_download(name: str, **_: object) -> str:
        raise LocalEntryNotFoundError(error)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    assert said in refused("nobody/nothing")


def test_a_model_loaded_by_its_own_class_can_be_steered(tmp_path: Path, make_tokenizer: Callable) -> None:
    hf = FAMILIES["LLaVA"].build()
    hf.save_pretrained(tmp_path)
    make_tokenizer().save_pretrained(tmp_path)
    assert "load it by its own class, for ResidualModel" in refused(tmp_path)
    check_steering(ResidualModel(hf, make_tokenizer()), 1)


def test_the_path_of_blocks_can_be_given(tmp_path: Path, make_tokenizer: Callable) -> None:
    FAMILIES["BioGPT"].build().save_pretrained(tmp_path)
    make_tokenizer().save_pretrained(tmp_path)
    assert 'say where its blocks lie: blocks_path="model.layers"' in refused(tmp_path)
    (tmp_path / "residual.json").write_text('{"blocks": "biogpt.layers"}')
    check_steering(load_model(tmp_path, "cpu"), 1)


def test_a_hub_model_is_checked_before_its_weights_are_fetched(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, model_folder: Callable[[str], Path]
) -> None:
    asked: list[str] = []

    def snapshot_download(name: str, *, allow_patterns: list[str], **_: object) -> str:
        asked.extend(allow_patterns)
        return str(tmp_path if name == "google-t5/t5-small" else model_folder("llama"))

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    AutoConfig.for_model("t5", architectures=["T5ForConditionalGeneration"]).save_pretrained(tmp_path)
    assert "encoder-decoder" in refused("google-t5/t5-small")
    assert "*.json" in asked and "*.safetensors" not in asked
    assert load_model("some/llama", "cpu").name == "some/llama"
    assert "*.safetensors" in asked and "pytorch_model*.bin" not in asked


def test_a_local_folder_wins_over_the_hub(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, model_folder: Callable[[str], Path]
) -> None:
    monkeypatch.setattr(vectors.model.loading, "download", lambda *_: pytest.fail("the hub was asked"))
    shutil.copytree(model_folder("gpt2"), tmp_path / "gpt2")
    monkeypatch.chdir(tmp_path)
    assert load_model("gpt2", "cpu").n_layers == 3


def test_code_from_a_checkpoint_runs_only_when_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_tokenizer: Callable
) -> None:
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "cache"))
    folder, proof = tmp_path / "model", tmp_path / "ran"
    folder.mkdir()
    make_tokenizer().save_pretrained(folder)
    (folder / "ours.py").write_text(
        f"from pathlib import Path\nfrom transformers import LlamaConfig\nPath({str(proof)!r}).touch()\n"
        "class OursConfig(LlamaConfig):\n    model_type = 'ours'\n"
    )
    config = {"model_type": "ours", "architectures": ["Ours"], "auto_map": {"AutoConfig": "ours.OursConfig"}}
    (folder / "config.json").write_text(json.dumps(config))
    assert "pass trust_remote_code=True" in refused(folder)
    assert not proof.exists()
    refused(folder, trust_remote_code=True)  # the config runs; no adapter knows the architecture
    assert proof.exists()


@pytest.mark.parametrize("device", ["nonsense", "cuda:99", "meta:x"])
def test_unknown_devices_are_refused(device: str) -> None:
    with pytest.raises(InputError, match="device is"):
        load_model("anything", device)


@pytest.mark.parametrize("dtype", ["float31", "int8", torch.int64, "nn", 3, torch.float8_e4m3fn])
def test_unknown_dtypes_are_refused(dtype: str) -> None:
    with pytest.raises(InputError, match="dtype is"):
        load_model("anything", "cpu", dtype)


def test_embedded_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_hf: Callable, make_tokenizer: Callable
) -> None:
    monkeypatch.setattr(vectors.model.residual_model, "EMBEDDED_MODEL", tmp_path / "model")
    monkeypatch.setattr(vectors.model.residual_model, "EMBEDDED_LIBRARY", tmp_path / "library")
    assert "embedded model is missing" in refused(None)
    make_hf("llama").to(torch.float16).save_pretrained(tmp_path / "model")
    make_tokenizer().save_pretrained(tmp_path / "model")
    (tmp_path / "library").mkdir()
    model = load_model(device="cpu")
    assert (model.name, model.dtype, model.library) == ("almanac", torch.float32, tmp_path / "library")
    assert load_model(device="cpu", dtype="float16").dtype == torch.float16


def test_dtype_defaults_to_the_checkpoints_own(tmp_path: Path, make_hf: Callable, make_tokenizer: Callable) -> None:
    for stored, loaded in [(torch.bfloat16, torch.bfloat16), (torch.float16, torch.float32)]:
        make_hf("llama").to(stored).save_pretrained(tmp_path)
        make_tokenizer().save_pretrained(tmp_path)
        assert load_model(tmp_path, "cpu").dtype == load_model(tmp_path, "cpu", "auto").dtype == loaded
        half = load_model(tmp_path, "cpu", "bfloat16")
        assert half.dtype == torch.bfloat16
        assert (
            half.hf.model.rotary_emb.inv_freq.dtype == torch.float32
        )  # rounded frequencies would give wrong positions


def test_the_blocks_note_is_used_and_checked(tmp_path: Path, model_folder: Callable[[str], Path]) -> None:
    folder = tmp_path / "noted"
    shutil.copytree(model_folder("neox"), folder)
    note = folder / "residual.json"
    note.write_text(json.dumps({"blocks": find_blocks(AutoConfig.from_pretrained(folder))}))
    assert load_model(folder, "cpu").blocks_path == "gpt_neox.layers"
    note.write_text(json.dumps({"blocks": "model.layers"}))
    assert "no list of 3 blocks at 'model.layers'" in refused(folder)
    note.write_text("[]")
    assert "fix or delete it" in refused(folder)


@pytest.mark.skipif(not (EMBEDDED_MODEL / "residual.json").is_file(), reason="the embedded model is not built")
def test_the_embedded_models_note_is_what_the_adapter_says() -> None:
    noted = json.loads((EMBEDDED_MODEL / "residual.json").read_text())["blocks"]
    assert noted == find_blocks(AutoConfig.from_pretrained(EMBEDDED_MODEL))


def test_loading_is_silent_and_restores_the_log_settings(
    model_folder: Callable[[str], Path], capfd: pytest.CaptureFixture[str]
) -> None:
    folder, logger = model_folder("gpt2"), logging.getLogger("transformers")
    before = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_info()
    transformers.logging.enable_progress_bar()
    try:
        filters = list(warnings.filters)
        capfd.readouterr()
        load_model(folder, "cpu").encode(["the " * 500])
        refused("./nowhere")
        assert capfd.readouterr() == ("", "")
        assert logger.level == logging.INFO and transformers.logging.is_progress_bar_enabled()
        assert warnings.filters == filters
    finally:
        transformers.logging.set_verbosity(before)


def test_loading_a_folder_opens_no_socket_and_a_noted_one_imports_no_transformer_lens(
    tmp_path: Path, model_folder: Callable[[str], Path]
) -> None:
    noted = tmp_path / "noted"
    shutil.copytree(model_folder("llama"), noted)
    (noted / "residual.json").write_text('{"blocks": "model.layers"}')
    script = f"""
import socket, sys
tried = []
def refuse(*args, **kwargs):
    tried.append(args)
    raise OSError("no network in this test")
socket.socket.connect = socket.socket.connect_ex = socket.create_connection = socket.getaddrinfo = refuse
from vectors.model.residual_model import load_model
from vectors.model.steering_check import check_steering
check_steering(load_model({str(noted)!r}, "cpu"), 1)
assert not [name for name in sys.modules if name.startswith("transformer_lens")]
for folder in {[str(model_folder(family)) for family in TINY]!r}:
    check_steering(load_model(folder, "cpu"), 1)
assert "transformer_lens" in sys.modules
assert not tried, tried
print("silent")
"""
    clean = {key: value for key, value in os.environ.items() if key not in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=clean, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "silent\n"
