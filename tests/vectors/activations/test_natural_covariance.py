"""The covariance of a model's own texts: its estimate, and its cache in the user's library."""

from pathlib import Path

import numpy as np
import pytest
import torch

from vectors.activations import natural_covariance as module
from vectors.activations.covariance import estimate_covariance
from vectors.activations.natural_covariance import MAX_TOKENS, TEXTS, cached_covariance, natural_covariance
from vectors.model.residual_model import load_model


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STEER_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(module, "TEXTS", 40)
    monkeypatch.setattr(module, "MAX_TOKENS", 12)
    return tmp_path / "home"


def test_it_is_the_covariance_of_plainly_sampled_texts(llama_model):
    assert TEXTS == 128 and MAX_TOKENS == 64
    natural = natural_covariance(llama_model, [1])[1]
    torch.manual_seed(0)
    ids = torch.full((400, 1), llama_model.bos_id)
    generated = llama_model.hf.generate(
        ids, attention_mask=torch.ones_like(ids), do_sample=True, max_new_tokens=12, top_k=0, top_p=1.0, pad_token_id=0
    )
    texts = [llama_model.decode([token for token in row[1:].tolist() if token != 0]) for row in generated]
    texts = [text for text in texts if text.strip()]
    references = [estimate_covariance(llama_model, texts[at : at + 40], 1) for at in range(0, 320, 40)]
    # as another 40 texts of plain sampling would show
    rests, centre = [each.rest for each in references], np.mean([each.mean.numpy() for each in references], axis=0)
    assert natural.count <= 40 and 0.7 * min(rests) < natural.rest < 1.4 * max(rests)
    distances_of_means = [np.linalg.norm(each.mean.numpy() - centre) for each in (natural, *references)]
    assert distances_of_means[0] < 1.5 * max(distances_of_means[1:])


def test_the_cache_gives_the_same_covariance_bit_for_bit(llama_model, home, monkeypatch):
    first = natural_covariance(llama_model, [0, 1])
    monkeypatch.setattr(module, "estimate_covariance", lambda *_: pytest.fail("it is cached"))
    again = natural_covariance(llama_model, [1, 0])
    for layer, covariance in first.items():
        assert again[layer].digest == covariance.digest and again[layer].count == covariance.count
        assert np.array_equal(again[layer].distances, covariance.distances)
        assert torch.equal(again[layer].mean, covariance.mean)
    assert sorted(cached_covariance(llama_model, [0, 1, 2])) == [0, 1]
    assert [path.name for path in home.rglob("*.spread")] and not list(home.rglob("*.tmp"))


@pytest.mark.parametrize("damage", [b"", b"\xff" * 400, "cut", "other", "nan", "narrow"])
def test_damaged_files_and_those_of_other_models_are_replaced(llama_model, model_folder, home, damage):
    gpt2_model = load_model(str(model_folder("gpt2")), "cpu")
    covariance = natural_covariance(llama_model, [1])[1]
    path = next(home.rglob("*.spread"))
    content = path.read_bytes()
    if isinstance(damage, bytes):
        path.write_bytes(damage)
    elif damage == "cut":
        path.write_bytes(content[:-9])
    elif damage == "other":
        path.write_bytes(content.replace(llama_model.hash.encode(), gpt2_model.hash.encode()))
    elif damage == "nan":
        path.write_bytes(content[:-8] + np.array([np.nan]).tobytes())
    else:
        path.write_bytes(module._to_bytes(estimate_covariance(gpt2_model, ["a", "b c"] * 20, 0), llama_model))
    assert cached_covariance(llama_model, [1]) == {}
    assert natural_covariance(llama_model, [1])[1].digest == covariance.digest and path.read_bytes() == content


def test_without_a_writable_library_it_is_estimated_each_time(llama_model, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("STEER_HOME", str(tmp_path / "file"))
    assert natural_covariance(llama_model, [1])[1].digest == natural_covariance(llama_model, [1])[1].digest
