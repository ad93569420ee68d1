"""Extraction end to end on tiny models: what is held out, what is chosen, what is refused."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

import vectors
from vectors.activations import moments
from vectors.contrast import ContrastSet
from vectors.errors import InputError, ModelError, VectorError
from vectors.extraction import auc
from vectors.model import ResidualModel

VERBS, PLACES = ("sang", "ran", "fell", "saw", "rose", "heard"), ("sea", "river", "tree", "stone", "night", "wind")
CATS = [f"the cat {verb} by the {place}" for verb in VERBS for place in PLACES]
SHIPS = [f"a ship {verb} on a {place}" for verb in VERBS for place in PLACES]


def find(model, **options):
    return vectors.extract(model, "cat", positive=CATS, background=SHIPS, **({"calibrate": False} | options))


@given(st.lists(st.integers(0, 5), min_size=1, max_size=30), st.lists(st.integers(0, 5), min_size=1, max_size=30))
def test_auc_is_scikit_learns(positive, background):
    truth = [1] * len(positive) + [0] * len(background)
    assert auc(positive, background) == pytest.approx(roc_auc_score(truth, positive + background))


def test_mean_difference_is_that_of_the_texts_not_held_out(tiny_model):
    found = find(tiny_model, method="mean-difference", layer=1)
    fit, _ = ContrastSet(tuple(CATS), tuple(SHIPS)).split()
    means = [moments(tiny_model, side, [1])[1].mean for side in (fit.positive, fit.background)]
    difference = means[0] - means[1]
    assert torch.allclose(found.direction, (difference / difference.norm()).float(), atol=1e-6)
    assert found.gap == pytest.approx(float(difference.norm()))
    assert torch.allclose(found.mean, means[1].float(), atol=1e-5)
    assert not found.calibrated and found.scale == found.gap


@pytest.mark.parametrize("method", ["mean-difference", "pca", "learned"])
def test_every_method_tells_the_sides_apart_and_says_how_it_was_made(llama_model, method):
    found = find(llama_model, method=method, layer=1)
    assert found.auc > 0.9 and found.gap > 0
    assert (found.method, found.layer, found.n_positive, found.n_background) == (method, 1, len(CATS), len(SHIPS))
    assert found.model_hash == llama_model.hash
    assert float(found.direction.norm()) == pytest.approx(1, abs=1e-5)


def test_auto_takes_the_layer_that_tells_held_out_texts_apart_best(llama_model):
    scores = [find(llama_model, method="mean-difference", layer=layer).auc for layer in range(llama_model.n_layers)]
    assert scores[find(llama_model, method="mean-difference").layer] == max(scores)


def test_labels_that_mean_nothing_give_an_auc_near_a_half(llama_model):
    mixed = np.random.default_rng(0).permutation(CATS + SHIPS)
    half = len(mixed) // 2
    found = vectors.extract(
        llama_model, "noise", positive=list(mixed[:half]), background=list(mixed[half:]), method="mean-difference",
        layer=1, calibrate=False, held_out=0.5,
    )  # fmt: skip
    assert 0.2 < found.auc < 0.8


def test_a_learned_direction_is_for_the_start_token_unless_told_otherwise(llama_model):
    assert find(llama_model, method="learned", layer=1).positions == "bos"
    assert find(llama_model, method="learned", layer=1, positions="all").positions == "all"
    assert find(llama_model, method="mean-difference", layer=1).positions == "all"
    assert find(llama_model, method="mean-difference", layer=1, positions="bos").positions == "bos"


def test_a_learned_shift_ranks_held_out_texts_by_what_it_gains(llama_model, monkeypatch):
    monkeypatch.setattr("vectors.extraction.gains", lambda _model, texts, **_: [float("cat" in text) for text in texts])
    found = find(llama_model, method="learned", layer=1)
    assert found.auc == 1.0 and found.gap > 0


def test_calibration_is_done_unless_told_not_to_and_keeps_its_curve(llama_model, monkeypatch):
    monkeypatch.setattr("vectors.pilot._STEPS", 2)
    monkeypatch.setattr("vectors.pilot._CLOSER", 0)
    told = []
    found = find(
        llama_model, method="mean-difference", layer=1, calibrate=True, progress=lambda *what: told.append(what)
    )
    assert len(found.unit_curve) == 3
    assert found.unit_curve[0]["shift"] == 0 and found.unit_curve[0]["p95"] == 0
    assert found.calibrated == (found.unit is not None)
    assert any("pilot" in what for what, _, _ in told) and any("reading" in what for what, _, _ in told)


def test_the_seed_decides(llama_model):
    once, again = (find(llama_model, method="learned", layer=1, seed=4) for _ in range(2))
    assert torch.equal(once.direction, again.direction) and once.auc == again.auc


@pytest.mark.parametrize(
    ("wrong", "error", "said"),
    [
        ({"method": "guess"}, InputError, "learned"),
        ({"layer": 3}, InputError, "0 to 2"),
        ({"layer": -1}, InputError, "0 to 2"),
        ({"positive": []}, InputError, "empty"),
        ({"background": []}, InputError, "empty"),
        ({"positive": ["only this"]}, InputError, "at least 2"),
        ({"positive": SHIPS}, InputError, "same texts"),
        ({"positive": "the cat sang"}, InputError, "positive"),
        ({"background": None}, InputError, "background"),
        ({"name": "a/b"}, InputError, "cannot name a concept"),
        ({"positive": ["<eos>", "the cat", "a cat"]}, InputError, "no token"),
    ],
)
def test_what_cannot_be_used_is_refused(llama_model, wrong, error, said):
    options = {
        "positive": CATS,
        "background": SHIPS,
        "method": "mean-difference",
        "layer": 1,
        "calibrate": False,
    } | wrong
    name = options.pop("name", "cat")
    with pytest.raises(error, match=said):
        vectors.extract(llama_model, name, **options)


def test_texts_that_look_alike_are_refused(llama_model):
    with pytest.raises(VectorError, match="look alike"):
        vectors.extract(
            llama_model, "cat", positive=["the sea", "zzz", "zzz zzz"], background=["the sea", "qqq", "qqq qqq"],
            method="mean-difference", layer=1, calibrate=False,
        )  # fmt: skip


@pytest.mark.parametrize("method", ["mean-difference", "learned"])
@pytest.mark.parametrize("seed", range(5))  # of which some hold it out
def test_a_text_with_nothing_to_read_is_refused_whichever_part_it_falls_in(llama_model, method, seed):
    with pytest.raises(InputError, match="'<eos>' has no token of its own"):
        vectors.extract(
            llama_model, "cat", positive=CATS[:3], background=["<eos>", *SHIPS[:2]], method=method, layer=1,
            calibrate=False, seed=seed,
        )  # fmt: skip


def test_of_layers_that_tell_the_texts_apart_equally_well_the_clearest_is_taken(llama_model, monkeypatch):
    def scores(_model, texts, directions):
        signs = [1.0 if "cat" in text else -1.0 for text in texts]
        return {at: [sign * (1 + at) + place % 2 for place, sign in enumerate(signs)] for at in directions}

    monkeypatch.setattr("vectors.extraction._projections", scores)
    found = find(llama_model, method="mean-difference")
    assert (found.auc, found.layer) == (1.0, llama_model.n_layers - 1)


def test_likelihoods_that_are_not_finite_are_refused(make_hf, make_tokenizer):
    hf = make_hf("llama")
    with torch.no_grad():
        hf.lm_head.weight[5] = float("inf")
    model = ResidualModel(hf, make_tokenizer(), name="broken")
    with pytest.raises(ModelError, match=r"no finite likelihood.*float32"):
        find(model, method="learned", layer=1)
