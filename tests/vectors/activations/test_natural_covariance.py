"""What a model's own texts are like at a layer, kept in the user's library."""

from pathlib import Path

import numpy as np
import pytest
import torch

from vectors.activations import natural_covariance as home_of
from vectors.activations.covariance import estimate_covariance
from vectors.activations.natural_covariance import MAX_TOKENS, TEXTS, cached_covariance, natural_covariance
from vectors.model.residual_model import load_model


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STEER_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(home_of, "TEXTS", 40)
    monkeypatch.setattr(home_of, "MAX_TOKENS", 12)
    return tmp_path / "home"


def test_it_is_the_spread_of_what_plain_sampling_writes(llama_model):
    assert TEXTS == 128 and MAX_TOKENS == 64
    found = natural_covariance(llama_model, [1])[1]
    torch.manual_seed(0)
    ids = torch.full((400, 1), llama_model.bos_id)
    made = llama_model.hf.generate(
        ids, attention_mask=torch.ones_like(ids), do_sample=True, max_new_tokens=12, top_k=0, top_p=1.0, pad_token_id=0
    )
    texts = [llama_model.decode([one for one in row[1:].tolist() if one != 0]) for row in made]
    texts = [text for text in texts if text.strip()]
    shares = [estimate_covariance(llama_model, texts[at : at + 40], 1) for at in range(0, 320, 40)]
    # as another 40 texts of plain sampling would show
    rests, near = [each.rest for each in shares], np.mean([each.mean.numpy() for each in shares], axis=0)
    assert found.count <= 40 and 0.7 * min(rests) < found.rest < 1.4 * max(rests)
    far = [np.linalg.norm(each.mean.numpy() - near) for each in (found, *shares)]
    assert far[0] < 1.5 * max(far[1:])


def test_what_was_found_is_kept_and_read_again_bit_for_bit(llama_model, home, monkeypatch):
    first = natural_covariance(llama_model, [0, 1])
    monkeypatch.setattr(home_of, "estimate_covariance", lambda *_: pytest.fail("it is known"))
    again = natural_covariance(llama_model, [1, 0])
    for layer, spread in first.items():
        assert again[layer].digest == spread.digest and again[layer].count == spread.count
        assert np.array_equal(again[layer].distances, spread.distances)
        assert torch.equal(again[layer].mean, spread.mean)
    assert sorted(cached_covariance(llama_model, [0, 1, 2])) == [0, 1]
    assert [place.name for place in home.rglob("*.spread")] and not list(home.rglob("*.tmp"))


@pytest.mark.parametrize("damage", [b"", b"\xff" * 400, "cut", "other", "nan", "narrow"])
def test_what_is_damaged_or_of_another_model_is_found_anew(llama_model, model_folder, home, damage):
    gpt2_model = load_model(str(model_folder("gpt2")), "cpu")
    spread = natural_covariance(llama_model, [1])[1]
    place = next(home.rglob("*.spread"))
    whole = place.read_bytes()
    if isinstance(damage, bytes):
        place.write_bytes(damage)
    elif damage == "cut":
        place.write_bytes(whole[:-9])
    elif damage == "other":
        place.write_bytes(whole.replace(llama_model.hash.encode(), gpt2_model.hash.encode()))
    elif damage == "nan":
        place.write_bytes(whole[:-8] + np.array([np.nan]).tobytes())
    else:
        place.write_bytes(home_of._to_bytes(estimate_covariance(gpt2_model, ["a", "b c"] * 20, 0), llama_model))
    assert cached_covariance(llama_model, [1]) == {}
    assert natural_covariance(llama_model, [1])[1].digest == spread.digest and place.read_bytes() == whole


def test_where_nothing_can_be_kept_it_is_found_all_the_same(llama_model, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("STEER_HOME", str(tmp_path / "file"))
    assert natural_covariance(llama_model, [1])[1].digest == natural_covariance(llama_model, [1])[1].digest
