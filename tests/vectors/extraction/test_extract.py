"""Extraction end to end on tiny models: held-out texts, candidate layers, the pilot, and unusable options."""

import numpy as np
import pytest
import torch
from helpers.contrast_texts import CATS, SHIPS, extract_cat

import vectors
from vectors.activations.moments import moments
from vectors.common.errors import InputError, VectorError
from vectors.data.contrast import ContrastSet
from vectors.decoding.prompt_free_samples import sample_prompt_free
from vectors.extraction.extract import layers_for


def test_mean_difference_is_that_of_the_texts_not_held_out(tiny_model):
    vector = extract_cat(tiny_model, method="mean-difference", layer=1)
    fit, _ = ContrastSet(tuple(CATS), tuple(SHIPS)).split()
    means = [moments(tiny_model, tiny_model.encode(side), [1])[1].mean for side in (fit.positive, fit.background)]
    difference = means[0] - means[1]
    assert torch.allclose(vector.direction, (difference / difference.norm()).float(), atol=1e-6)
    assert vector.gap == pytest.approx(float(difference.norm()))
    assert torch.allclose(vector.mean, means[1].float(), atol=1e-5)
    assert not vector.calibrated and vector.scale == vector.gap


def test_a_pilot_adds_its_curve_and_reports_progress(llama_model, monkeypatch):
    monkeypatch.setattr("vectors.calibration.calibrate._STEPS", 2)
    monkeypatch.setattr("vectors.calibration.calibrate._BISECTIONS", 0)
    monkeypatch.setattr("vectors.calibration.calibrate._BEYOND", ())
    calls = []
    vector = extract_cat(
        llama_model, method="mean-difference", layer=1, calibrate=True, progress=lambda *call: calls.append(call)
    )
    assert len(vector.unit_curve) == 3
    assert vector.unit_curve[0]["shift"] == 0 and vector.unit_curve[0]["p95"] == 0
    assert vector.calibrated == (vector.unit is not None) and vector.unit_judge is not None
    assert ("pilot of 'cat': success by shift", 3, 3) in calls and any("reading" in what for what, _, _ in calls)


def test_a_layer_may_be_a_number_of_numpy(llama_model):
    one, other = (extract_cat(llama_model, method="mean-difference", layer=layer) for layer in (1, np.int64(1)))
    assert torch.equal(one.direction, other.direction) and other.layer == 1


def test_the_same_seed_gives_the_same_vector(llama_model):
    once, again = (extract_cat(llama_model, method="learned", layer=1, seed=4) for _ in range(2))
    assert torch.equal(once.direction, again.direction) and once.auc == again.auc


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"method": "guess"}, InputError, "learned"),
        ({"layer": 3}, InputError, "0 to 2"),
        ({"layer": -1}, InputError, "0 to 2"),
        ({"positive": []}, InputError, "empty"),
        ({"background": []}, InputError, "empty"),
        ({"positive": ["only this"]}, InputError, "at least 2"),
        ({"positive": SHIPS}, InputError, "same texts"),
        ({"positive": "the cat sang"}, InputError, "positive"),
        ({"background": None, "paired": True}, InputError, "pairs have two sides"),
        ({"positive": None}, InputError, "needs texts that have the concept"),
        ({"positive": None, "method": "token"}, InputError, "no positive ones"),
        ({"positive": CATS[:5], "paired": True}, InputError, "no pairs"),
        ({"pool": "median"}, InputError, "pool is 'median'"),
        ({"weights": {"nowhere": 1.0}}, InputError, "none of the texts"),
        ({"layer": []}, InputError, "several of them"),
        ({"layer": "first"}, InputError, "layer is 'first'"),
        ({"layer": 1.5}, InputError, "layer is 1.5"),
        ({"layer": None}, InputError, "layer is None"),
        ({"layer": [0, 3]}, InputError, "0 to 2"),
        ({"layer": [0, 1], "method": "learned"}, InputError, "one layer by itself"),
        ({"name": "a/b"}, InputError, "cannot name a concept"),
        ({"positive": ["<eos>", "the cat", "a cat"]}, InputError, "no token"),
    ],
)
def test_unusable_options_are_refused(llama_model, changes, error, message):
    options = {
        "positive": CATS,
        "background": SHIPS,
        "method": "mean-difference",
        "layer": 1,
        "calibrate": False,
    } | changes
    name = options.pop("name", "cat")
    with pytest.raises(error, match=message):
        vectors.extract(llama_model, name, **options)


def test_texts_that_look_alike_are_refused(llama_model):
    with pytest.raises(VectorError, match="look alike"):
        vectors.extract(
            llama_model, "cat", positive=["the sea", "zzz", "zzz zzz"], background=["the sea", "qqq", "qqq qqq"],
            method="mean-difference", layer=1, calibrate=False,
        )  # fmt: skip


@pytest.mark.parametrize("method", ["mean-difference", "learned"])
@pytest.mark.parametrize("seed", range(5))  # with some of these seeds, the text is held out
def test_a_text_without_a_token_of_its_own_is_refused_whether_it_is_held_out_or_not(llama_model, method, seed):
    with pytest.raises(InputError, match="'<eos>' has no token of its own"):
        vectors.extract(
            llama_model, "cat", positive=CATS[:3], background=["<eos>", *SHIPS[:2]], method=method, layer=1,
            calibrate=False, seed=seed,
        )  # fmt: skip


def test_by_default_the_model_samples_the_background(llama_model):
    vector = vectors.extract(llama_model, "cat", positive=CATS, method="mean-difference", layer=1, calibrate=False)
    samples = sample_prompt_free(llama_model, 64)
    assert vector.n_background == len(samples)
    same = extract_cat(llama_model, background=samples, method="mean-difference", layer=1)
    assert torch.equal(vector.direction, same.direction)


@pytest.mark.parametrize("method", ["learned", "mean-difference"])
def test_auto_has_several_candidate_layers_if_a_pilot_can_choose(llama_model, method):
    assert len(layers_for(llama_model, method, "auto", choose=True)) > 1
    assert (len(layers_for(llama_model, method, "auto", choose=False)) > 1) == (method != "learned")
