"""Models are loaded by folder or name, refused in one line if they cannot be steered, and encode texts consistently."""

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
from tokenizers import processors
from transformers import AutoConfig, GPT2Config, GPT2LMHeadModel

import vectors.model.loading
import vectors.model.residual_model
from vectors.common.errors import InputError, ModelError
from vectors.common.paths import EMBEDDED_MODEL
from vectors.model.loading import find_blocks
from vectors.model.residual_model import ResidualModel, check_finite, load_model, pad
from vectors.model.steering_check import check_steering

ROOT = Path(__file__).parents[3]
BLOCKS = {"gpt2": "transformer.h", "llama": "model.layers", "neox": "gpt_neox.layers", "gemma": "model.layers"}


def refused(name: str | Path | None, **options: bool) -> str:
    with pytest.raises(ModelError) as caught:
        load_model(name, "cpu", **options)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 500
    return message


def test_loads_a_folder(tiny_model: ResidualModel) -> None:
    assert (tiny_model.n_layers, tiny_model.d_model, tiny_model.max_context) == (3, 32, 64)
    assert tiny_model.device == torch.device("cpu") and tiny_model.dtype == torch.float32
    assert tiny_model.name.startswith("tiny-") and tiny_model.library is None
    assert not tiny_model.hf.training and not any(weight.requires_grad for weight in tiny_model.hf.parameters())
    assert tiny_model.blocks_path == BLOCKS[tiny_model.name.removeprefix("tiny-")]
    assert tiny_model.blocks == list(tiny_model.hf.get_submodule(tiny_model.blocks_path))
    assert tiny_model.hf.config._attn_implementation == "sdpa"


def test_a_model_whose_config_holds_another_finds_its_start_token(make_tokenizer: Callable) -> None:
    model = ResidualModel(FAMILIES["Gemma 3 with images"].build(), make_tokenizer(), name="gemma3")
    assert model.bos_id == 0 and model.n_layers == 3


def test_the_callers_model_is_used_unchanged(make_hf: Callable, make_tokenizer: Callable) -> None:
    hf, tokenizer = make_hf("gpt2"), make_tokenizer()
    model = ResidualModel(hf, tokenizer, name="mine")
    assert model.hf is hf and model.tokenizer is tokenizer and model.name == "mine"
    assert all(weight.requires_grad for weight in hf.parameters())
    with pytest.raises(ModelError, match=r"call \.eval\(\)"):
        ResidualModel(hf.train(), tokenizer)
    with pytest.raises(ModelError, match="no language-model head"):
        ResidualModel(hf.eval().transformer, tokenizer)
    with pytest.raises(ModelError, match="is a Linear"):
        ResidualModel(torch.nn.Linear(1, 1), tokenizer)


# Refusals


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


# Embedded model, dtypes, hashes


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


def test_hash_names_the_weights_and_not_their_dtype(make_hf: Callable, make_tokenizer: Callable) -> None:
    def hash_of(family: str, dtype: torch.dtype = torch.float32, seed: int = 0) -> str:
        return ResidualModel(make_hf(family, seed=seed).to(dtype), make_tokenizer()).hash

    known = hash_of("llama")
    assert known == hash_of("llama", torch.bfloat16) == hash_of("llama", torch.float16)
    assert len({known, hash_of("llama", seed=1), hash_of("gemma"), hash_of("gpt2")}) == 4
    tuned = make_hf("llama")
    with torch.no_grad():
        for weight in tuned.parameters():
            weight += 0.005 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
    assert ResidualModel(tuned, make_tokenizer()).hash != known
    packed = []
    for value in (1, 2):
        hf = make_hf("llama")
        hf.model.layers[0].register_buffer("qweight", torch.full((8,), value, dtype=torch.uint8))
        packed.append(ResidualModel(hf, make_tokenizer()).hash)
    assert packed[0] != packed[1]


# Numbers that are not finite


@pytest.mark.parametrize(
    ("dtype", "advice"),
    [(torch.float32, "lower the doses"), (torch.bfloat16, "load it in float32"), (torch.float16, "load it in float32")],
)
def test_numbers_that_are_not_finite_are_refused(
    make_hf: Callable, make_tokenizer: Callable, dtype: torch.dtype, advice: str
) -> None:
    model = ResidualModel(make_hf("gpt2").to(dtype), make_tokenizer(), name="broken")
    check_finite(model, torch.ones(2), "logits")
    for values in (torch.tensor([1.0, float("nan")]), [float("inf")]):
        with pytest.raises(ModelError, match=f"model 'broken' gives logits that are not finite: {advice}$"):
            check_finite(model, values, "logits", hint="lower the doses")
    with pytest.raises(InputError, match="not finite"):
        check_finite(model, [float("nan")], "logits", error=InputError)


# Text and ids


def test_encode_and_decode(llama_model: ResidualModel) -> None:
    rows = llama_model.encode(["the cat sang", "a sea", ""])
    assert [row[0] for row in rows] == [0, 0, 0] and [len(row) for row in rows] == [4, 3, 1]
    assert [llama_model.decode(row) for row in rows] == ["the cat sang", "a sea", ""]
    assert llama_model.decode(torch.tensor([*rows[0], 1])) == "the cat sang"
    assert llama_model.encode(["the cat sang"], max_tokens=2) == [rows[0][:2]]
    assert llama_model.encode([]) == []


def test_encode_never_adds_bos_twice(make_hf: Callable, make_tokenizer: Callable) -> None:
    tokenizer = make_tokenizer()
    plain = ResidualModel(make_hf("llama"), tokenizer).encode(["the cat"])
    assert ResidualModel(make_hf("llama"), tokenizer).encode(["<bos> the cat"]) == plain
    adding = make_tokenizer()
    adding.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A <eos>", special_tokens=[("<bos>", 0), ("<eos>", 1)]
    )
    assert adding("the cat")["input_ids"] == [*plain[0], 1]  # this tokenizer adds both itself
    adding.backend_tokenizer.enable_padding(length=9)
    adding.backend_tokenizer.enable_truncation(2)
    assert ResidualModel(make_hf("llama"), adding).encode(["the cat"]) == plain


@pytest.mark.parametrize("texts", ["one text", ["a", 3], [None]])
def test_encode_refuses_what_is_no_list_of_texts(llama_model: ResidualModel, texts: list[str]) -> None:
    with pytest.raises(InputError, match="give"):
        llama_model.encode(texts)
    with pytest.raises(InputError, match="max_tokens is 0"):
        llama_model.encode(["a"], max_tokens=0)


def test_a_tokenizer_that_knows_more_than_the_model_is_refused(make_tokenizer: Callable) -> None:
    config = GPT2Config(n_embd=32, n_layer=1, n_head=4, n_positions=64, vocab_size=8, bos_token_id=0, eos_token_id=1)
    model = ResidualModel(GPT2LMHeadModel(config).eval(), make_tokenizer())
    with pytest.raises(ModelError, match="embeds 8 tokens"):
        model.encode(["a sea and a cat saw the storm"])


def test_the_start_token_is_the_familys(make_hf: Callable, make_tokenizer: Callable) -> None:
    both = ResidualModel(make_hf("gpt2"), make_tokenizer())
    assert both.start_ids() == [0] and both.eos_ids == {1}
    # Only eos: it ends a document, so the next one starts after it (the config's 0 is no special token here).
    only_eos = ResidualModel(make_hf("gpt2"), make_tokenizer(bos=False))
    assert only_eos.start_ids() == [1] and only_eos.encode(["a"])[0][0] == 1
    # Special in the tokenizer without being its bos, and named by the config (Qwen).
    marked = make_tokenizer(bos=False)
    marked.add_special_tokens({"additional_special_tokens": ["<bos>"]})
    assert ResidualModel(make_hf("gpt2"), marked).start_ids() == [0]
    neither = ResidualModel(make_hf("gpt2"), make_tokenizer(bos=False, eos=False), name="bare")
    assert neither.bos_id is None and neither.eos_ids == frozenset()
    assert neither.encode(["the cat"]) == [both.encode(["the cat"])[0][1:]]
    with pytest.raises(ModelError, match="give it a prompt"):
        neither.start_ids()


def test_every_end_token_counts(make_hf: Callable, make_tokenizer: Callable) -> None:
    hf = make_hf("llama")
    hf.generation_config.eos_token_id = [0, 1, 63]  # 63 is no special token of this tokenizer
    assert ResidualModel(hf, make_tokenizer()).eos_ids == {0, 1}


def test_pad() -> None:
    ids, mask, positions = pad([[5, 6, 7], [8]])
    assert (ids.tolist(), mask.tolist()) == ([[5, 6, 7], [8, 0, 0]], [[1, 1, 1], [1, 0, 0]])
    assert positions.tolist() == [[0, 1, 2], [0, 0, 0]]
    for wrong in ([], [[]], [[1], []]):
        with pytest.raises(InputError, match="at least one"):
            pad(wrong)


# Side effects


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
for folder in {[str(model_folder(family)) for family in BLOCKS]!r}:
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
