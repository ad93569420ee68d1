"""A model on the disk is found where people have it, and everything else is refused with what is there instead."""

import json
import shutil
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from helpers.gguf_model import TOKENS, write_model
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

from vectors.common.errors import ModelError, SteerWarning
from vectors.model.local_path import find_local, model_name
from vectors.model.residual_model import load_model


def refused(path: object) -> str:
    with pytest.raises(ModelError) as caught:
        load_model(path, "cpu")  # type: ignore[arg-type]
    message = str(caught.value)
    assert "\n" not in message and len(message) < 500
    return message


def cached(cache: Path, model: Path, *versions: str, main: str | None) -> Path:
    """A model in the layout of the Hugging Face cache: versions of links to blobs."""
    folder = cache / "models--own--er"
    for version in versions:
        (folder / "snapshots" / version).mkdir(parents=True)
        (folder / "blobs").mkdir(exist_ok=True)
        for file in model.iterdir():
            blob = folder / "blobs" / f"{version}-{len(list((folder / 'blobs').iterdir()))}"
            shutil.copy(file, blob)
            (folder / "snapshots" / version / file.name).symlink_to(blob)
    if main is not None:
        (folder / "refs").mkdir()
        (folder / "refs" / "main").write_text(f"{main}\n")
    return folder


def test_a_folder_of_the_hub_cache_is_its_main_version(tmp_path: Path, model_folder: Callable[[str], Path]) -> None:
    folder = cached(tmp_path, model_folder("llama"), "aaaa", "bbbb", main="bbbb")
    assert find_local(folder) == folder / "snapshots" / "bbbb"
    assert load_model(folder, "cpu").name == "own/er"
    assert load_model(folder / "snapshots" / "aaaa", "cpu").name == "own/er"
    (folder / "refs" / "main").unlink()
    assert "2 versions" in refused(folder) and "'snapshots/aaaa', 'snapshots/bbbb'" in refused(folder)
    shutil.rmtree(folder / "snapshots" / "aaaa")
    assert find_local(folder) == folder / "snapshots" / "bbbb"
    assert "(there is 'models--own--er')" in refused(tmp_path)
    shutil.rmtree(folder / "snapshots" / "bbbb")
    assert "no downloaded model" in refused(folder)


def test_names_are_those_of_the_hub_and_not_of_its_files(tmp_path: Path) -> None:
    blob = tmp_path / "0badc0de"
    blob.write_bytes(b"GGUF")
    link = tmp_path / "models--own--er-GGUF" / "snapshots" / "aaaa" / "er.Q8_0.gguf"
    link.parent.mkdir(parents=True)
    link.symlink_to(blob)
    assert model_name(link) == "er.Q8_0" and model_name(link.parent) == "own/er-GGUF"
    assert model_name(Path("/x/models--gpt2/snapshots/aaaa")) == "gpt2" and model_name(blob) == "0badc0de"


def test_a_file_of_a_model_is_answered_with_its_folder(tmp_path: Path, model_folder: Callable[[str], Path]) -> None:
    folder = tmp_path / "model"
    shutil.copytree(model_folder("llama"), folder)
    for name in ("config.json", "model.safetensors"):
        assert f"give the folder that it is in, '{folder}'" in refused(folder / name)
    (tmp_path / "adapter").mkdir()
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (tmp_path / "adapter" / name).write_text("{}")
    assert "give the folder that it is in" in refused(tmp_path / "adapter" / "adapter_model.safetensors")
    (tmp_path / "alone.pth").write_text("")
    assert "give a folder in Hugging Face format" in refused(tmp_path / "alone.pth")


def test_a_folder_without_a_model_says_what_is_in_it(
    tmp_path: Path, model_folder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(model_folder("llama"), "run/checkpoint-500")
    assert "(there is 'checkpoint-500'): give one of those" in refused("run")
    Path("original").mkdir()
    Path("original/consolidated.00.pth").write_text("")
    assert "no config.json) in Hugging Face format: convert it" in refused("original")
    Path("own/er").mkdir(parents=True)
    assert "hides the hub model of that name" in refused("own/er")
    assert "hides" not in refused("./own/er") and "hides" not in refused(Path("own/er"))


def test_a_folder_with_two_models_uses_the_one_in_hugging_face_format_and_says_so(
    tmp_path: Path, model_folder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEER_HOME", str(tmp_path / "home"))
    folder = tmp_path / "both"
    shutil.copytree(model_folder("llama"), folder)
    torch.manual_seed(1)
    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "head_dim": 16}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "bos_token_id": 0, "eos_token_id": 1}
    hf = LlamaForCausalLM(LlamaConfig(vocab_size=len(TOKENS), **sizes, **heads)).eval()  # of another width
    write_model(folder / "er.gguf", hf)
    with pytest.warns(SteerWarning, match=r"weights in Hugging Face format, which are used, and 'er.gguf'"):
        assert load_model(folder, "cpu").d_model == 32
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_model(model_folder("llama"), "cpu").d_model == 32
        warnings.simplefilter("ignore")
        assert load_model(folder / "er.gguf", "cpu").d_model == 64
        for weights in folder.glob("*.safetensors"):
            weights.unlink()
        (folder / "training_args.bin").write_bytes(b"")
        assert load_model(folder, "cpu").d_model == 64  # what is left beside config.json is not the model


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module.", "_orig_mod.module."])
def test_names_with_the_prefix_of_a_wrapper_are_read_without_it(
    tmp_path: Path, model_folder: Callable[[str], Path], prefix: str
) -> None:
    folder = tmp_path / "wrapped"
    shutil.copytree(model_folder("llama"), folder)
    weights = load_file(folder / "model.safetensors")
    save_file(
        {prefix + name: weight for name, weight in weights.items()}, folder / "model.safetensors", {"format": "pt"}
    )
    with pytest.warns(SteerWarning, match=f"without the '{prefix}' before their names"):
        model = load_model(folder, "cpu")
    assert all(torch.equal(model.hf.state_dict()[name], weight) for name, weight in weights.items())
    first = next(iter(weights))
    save_file(
        {(prefix if name != first else "other.") + name: weight for name, weight in weights.items()},
        folder / "model.safetensors",
        {"format": "pt"},
    )
    assert "lacks" in refused(folder)  # not all have it


def test_weights_that_cannot_be_read_say_why(tmp_path: Path, model_folder: Callable[[str], Path]) -> None:
    folder = tmp_path / "model"
    shutil.copytree(model_folder("llama"), folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"quantization": {"group_size": 64, "bits": 4}}))
    assert "quantised by MLX" in refused(folder)
    (folder / "config.json").write_text(json.dumps(config))
    weights = load_file(folder / "model.safetensors")
    empty = {name: torch.zeros(0) if "mlp" in name else weight for name, weight in weights.items()}
    save_file(empty, folder / "model.safetensors", {"format": "pt"})
    assert "of its weights are empty" in refused(folder) and "sharded training" in refused(folder)
    (folder / "model.safetensors").unlink()
    torch.save(empty, folder / "pytorch_model.bin")
    assert "of its weights are empty" in refused(folder)
    (folder / "pytorch_model.bin").unlink()
    if find_spec("bitsandbytes") is None:
        kind = {"quant_method": "bitsandbytes", "load_in_4bit": True}
        (folder / "config.json").write_text(json.dumps(config | {"quantization_config": kind}))
        assert "needs a package that is not installed" in refused(folder)
