"""Adapters are merged into their base and said so, or refused with the way to merge; never left out in silence."""

import json
import warnings
from collections.abc import Callable
from pathlib import Path

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file

import steer
from vectors.common.errors import InputError, ModelError, SteerError, SteerWarning
from vectors.model.hooks import capture
from vectors.model.residual_model import ResidualModel, load_model

KINDS = {
    "lora": peft.LoraConfig(r=2, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM"),
    "dora": peft.LoraConfig(r=2, target_modules=["q_proj"], use_dora=True, task_type="CAUSAL_LM"),
    "loha": peft.LoHaConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM"),
    "ia3": peft.IA3Config(target_modules=["k_proj"], feedforward_modules=[], task_type="CAUSAL_LM"),
    "head": peft.LoraConfig(r=2, target_modules=["q_proj"], modules_to_save=["lm_head"], task_type="CAUSAL_LM"),
}


def logits(hf: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return hf(torch.tensor([[0, 5, 20, 33, 9]])).logits


def tuned(hf: torch.nn.Module, config: peft.PeftConfig) -> peft.PeftModel:
    """A model with an adapter whose weights are drawn, so that it has an effect."""
    torch.manual_seed(0)
    model = peft.get_peft_model(hf, config)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight += 0.2 * torch.randn(weight.shape)
    return model.eval()


def refused(*arguments: object, **more: object) -> str:
    with pytest.raises(SteerError) as caught:
        load_model(*arguments, device="cpu", **more)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_is_merged_into_the_base_it_names(
    tmp_path: Path, model_folder: Callable, make_hf: Callable, kind: str
) -> None:
    model = tuned(make_hf("llama"), KINDS[kind])
    model.peft_config["default"].base_model_name_or_path = str(model_folder("llama"))
    model.save_pretrained(tmp_path / "adapter")
    expected = logits(model)
    assert (expected - logits(make_hf("llama"))).abs().max() > 0.01
    with pytest.warns(SteerWarning, match="adapter is applied to tiny-llama"):
        loaded = load_model(tmp_path / "adapter", "cpu")
    assert torch.allclose(logits(loaded.hf), expected, atol=1e-4)
    assert type(loaded.hf).__name__ == "LlamaForCausalLM" and loaded.name == "adapter"
    assert type(loaded.hf.model.layers[0].self_attn.q_proj) is torch.nn.Linear  # a plain module


def test_an_adapter_beside_the_weights_is_applied(
    tmp_path: Path, model_folder: Callable, make_hf: Callable, make_tokenizer: Callable
) -> None:
    model = tuned(make_hf("llama"), KINDS["lora"])
    folder = tmp_path / "both"
    make_hf("llama").save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    model.save_pretrained(folder)
    with pytest.warns(SteerWarning, match="both is applied to the weights beside it"):
        loaded = load_model(folder, "cpu")
    assert torch.allclose(logits(loaded.hf), logits(model), atol=1e-5) and loaded.name == "both"
    (folder / "adapter_model.safetensors").unlink()
    assert "lacks its weights" in refused(folder)


def test_the_base_is_given_or_asked_for(
    tmp_path: Path, model_folder: Callable, make_hf: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vectors.model.loading.download", lambda *_: pytest.fail("the hub was asked"))
    model = tuned(make_hf("llama"), KINDS["lora"])
    model.peft_config["default"].base_model_name_or_path = "nobody/nothing"
    model.save_pretrained(tmp_path / "adapter")
    message = refused(tmp_path / "adapter")
    assert "'nobody/nothing'" in message and "--base" in message and "merge_and_unload" in message
    with pytest.warns(SteerWarning):
        loaded = load_model(tmp_path / "adapter", "cpu", base=model_folder("llama"))
    assert torch.allclose(logits(loaded.hf), logits(model), atol=1e-5)
    assert loaded.origin is not None and loaded.origin["base"] == model_folder("llama")
    with pytest.raises(InputError, match="is no adapter"):
        load_model(model_folder("llama"), "cpu", base="gpt2")
    with pytest.raises(InputError, match="without an adapter"):
        load_model(device="cpu", base="gpt2")


def test_what_does_not_fit_is_refused(tmp_path: Path, model_folder: Callable, make_hf: Callable) -> None:
    folder = tmp_path / "adapter"
    tuned(make_hf("llama"), KINDS["lora"]).save_pretrained(folder)
    assert "trained on" in refused(folder, base=model_folder("gpt2"))
    weights = load_file(folder / "adapter_model.safetensors")
    deeper = {
        name.replace("layers.0", "layers.9"): weight.clone() for name, weight in weights.items() if "layers.0" in name
    }
    save_file(weights | deeper, folder / "adapter_model.safetensors")
    assert "no place for" in refused(folder, base=model_folder("llama"))
    save_file({n: w for n, w in weights.items() if "layers.2" not in n}, folder / "adapter_model.safetensors")
    assert "lacks" in refused(folder, base=model_folder("llama"))
    save_file({n: torch.randn(5, 7) for n in weights}, folder / "adapter_model.safetensors")
    assert "trained on" in refused(folder, base=model_folder("llama"))
    (folder / "adapter_model.safetensors").write_bytes(b"\0" * 30)
    assert "damaged" in refused(folder, base=model_folder("llama"))
    for text in ("", "[]", "{}", '{"peft_type": 3}', "[" * 50_000):
        (folder / "adapter_config.json").write_text(text)
        assert "cannot be read" in refused(folder, base=model_folder("llama"))
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "NEWEST"}))
    assert "'NEWEST'" in refused(folder, base=model_folder("llama"))


def test_adapters_that_peft_cannot_read_say_what_they_are(
    tmp_path: Path, model_folder: Callable, make_hf: Callable
) -> None:
    folder = tmp_path / "adapter"
    folder.mkdir()
    mlx = {"fine_tune_type": "lora", "num_layers": 3, "lora_parameters": {"rank": 2, "scale": 20.0}}
    (folder / "adapter_config.json").write_text(json.dumps(mlx))
    assert "format of mlx-lm" in refused(folder) and "mlx_lm.fuse" in refused(folder)
    tuned(make_hf("llama"), KINDS["lora"]).save_pretrained(folder)
    weights = load_file(folder / "adapter_model.safetensors")
    empty = {name: torch.zeros(0) if "lora_B" in name else weight for name, weight in weights.items()}
    save_file(empty, folder / "adapter_model.safetensors")
    message = refused(folder, base=model_folder("llama"))
    assert "6 of its weights are empty" in message and "--base" not in message
    save_file(weights, folder / "adapter_model.safetensors")
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | {"enable_lora": None, "of_the_future": True}))
    with pytest.warns(SteerWarning, match="is applied to"):
        load_model(folder, "cpu", base=model_folder("llama"))  # settings that peft does not know


def test_a_quantised_base_is_refused_before_it_is_loaded(
    tmp_path: Path, model_folder: Callable, make_hf: Callable
) -> None:
    folder = tmp_path / "adapter"
    tuned(make_hf("llama"), KINDS["lora"]).save_pretrained(folder)
    base = tmp_path / "base-bnb-4bit"
    base.mkdir()
    config = json.loads((model_folder("llama") / "config.json").read_text())
    kind = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    (base / "config.json").write_text(json.dumps(config | {"quantization_config": kind}))
    message = refused(folder, base=base)  # it has no weights
    assert "quantised: name its unquantised version with --base" in message and "'base-bnb-4bit'" in message


def test_learned_positions_are_refused(
    tmp_path: Path, model_folder: Callable, make_hf: Callable, make_tokenizer: Callable
) -> None:
    config = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)
    model = peft.get_peft_model(make_hf("llama"), config).eval()
    model.save_pretrained(tmp_path / "adapter")
    assert "cannot be merged" in refused(tmp_path / "adapter", base=model_folder("llama"))
    with pytest.raises(ModelError, match="learned positions"):
        ResidualModel(model, make_tokenizer())


def test_weights_of_an_adapter_inside_a_checkpoint_are_not_left_out(
    tmp_path: Path, make_hf: Callable, make_tokenizer: Callable
) -> None:
    make_hf("llama").save_pretrained(tmp_path)
    make_tokenizer().save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    more = {"model.layers.0.self_attn.q_proj.lora_A.weight": torch.zeros(2, 32)}
    save_file(weights | more, tmp_path / "model.safetensors", {"format": "pt"})
    assert "weights of an adapter that are not merged" in refused(tmp_path)
    more = {"model.layers.3.mlp.up_proj.weight": torch.zeros(48, 32)}
    save_file(weights | more, tmp_path / "model.safetensors", {"format": "pt"})
    assert "weights of blocks" in refused(tmp_path)
    save_file(weights | {"v_head.weight": torch.zeros(1, 32)}, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.warns(SteerWarning, match=r"1 weights that a LlamaForCausalLM does not use \('v_head.weight'\)"):
        load_model(tmp_path, "cpu")


def test_a_peft_model_is_taken_as_it_is(make_hf: Callable, make_tokenizer: Callable) -> None:
    peft_model = tuned(make_hf("llama"), KINDS["lora"])
    before = {name: weight.clone() for name, weight in peft_model.state_dict().items()}
    model = ResidualModel(peft_model, make_tokenizer(), name="tuned")
    ids = torch.tensor([[0, 5, 20, 33, 9]])
    with torch.no_grad(), capture(model, [1]) as streams:
        expected = peft_model(ids, output_hidden_states=True)
        assert torch.equal(streams[1], expected.hidden_states[2])
    assert torch.equal(logits(model.hf), expected.logits)
    assert len(steer.sample(model, None, n=2, max_tokens=4).texts) == 2
    with peft_model.disable_adapter():
        assert torch.equal(logits(model.hf), logits(make_hf("llama")))
    assert all(torch.equal(weight, before[name]) for name, weight in peft_model.state_dict().items())
    merged = tuned(make_hf("llama"), KINDS["lora"]).merge_and_unload()
    passport = ResidualModel(merged, make_tokenizer()).passport
    assert model.passport is not None and passport is not None and model.passport.relation(passport) == "same"
    plain = ResidualModel(make_hf("llama"), make_tokenizer()).passport
    assert plain is not None and plain.relation(passport) == "other"


def test_tokens_that_an_adapter_brings_are_known(
    tmp_path: Path, model_folder: Callable, make_hf: Callable, make_tokenizer: Callable
) -> None:
    hf, tokenizer = make_hf("llama"), make_tokenizer()
    tokenizer.add_tokens(["<new>"])
    n_tokens = max(len(tokenizer), 65)
    hf.resize_token_embeddings(n_tokens, mean_resizing=False)
    config = peft.LoraConfig(
        r=2, target_modules=["q_proj"], modules_to_save=["embed_tokens", "lm_head"], task_type="CAUSAL_LM"
    )
    model = tuned(hf, config)
    model.save_pretrained(tmp_path / "adapter")
    tokenizer.save_pretrained(tmp_path / "adapter")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded = load_model(tmp_path / "adapter", "cpu", base=model_folder("llama"))
    assert loaded.n_embeddings == n_tokens and torch.allclose(logits(loaded.hf), logits(model), atol=1e-4)
    assert "<new>" in loaded.tokenizer.get_vocab()
