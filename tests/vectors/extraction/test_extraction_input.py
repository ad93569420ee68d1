"""Every text of an extraction is tokenised once, and the shared checks refuse the same things everywhere."""

from collections import Counter

import numpy as np
import pytest
import torch
from helpers.contrast_texts import CATS, SHIPS

import vectors
from vectors.activations.moments import moments
from vectors.activations.text_activations import encode_by_text
from vectors.common.errors import InputError
from vectors.data.contrast import ContrastSet
from vectors.extraction.extract_labelled import extract_each
from vectors.extraction.extraction_input import ExtractionInput, check_options, split_labelled_texts
from vectors.extraction.methods import METHODS

LABELS = [["cat"]] * len(CATS) + [["ship"]] * len(SHIPS)


@pytest.fixture
def encoded(llama_model, monkeypatch) -> Counter[str]:
    """How often each text was given to the tokenizer."""
    counts: Counter[str] = Counter()
    encode = llama_model.encode

    def counting(texts, **options):
        counts.update(texts)
        return encode(texts, **options)

    monkeypatch.setattr(llama_model, "encode", counting)
    monkeypatch.setattr("vectors.extraction.methods.STEPS", 2)
    monkeypatch.setattr("vectors.extraction.shifts.learned_shift.STEPS", 2)
    monkeypatch.setattr("vectors.calibration.calibrate._STEPS", 2)
    monkeypatch.setattr("vectors.calibration.calibrate._BISECTIONS", 0)
    return counts


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("layer", [1, "auto"])
def test_each_text_is_encoded_once_without_a_pilot(llama_model, encoded, method, layer):
    vectors.extract(
        llama_model, "cat", positive=CATS, background=SHIPS, method=method, layer=layer, calibrate=False, stability=True
    )
    assert all(encoded[text] == 1 for text in (*CATS, *SHIPS))
    assert max(encoded.values()) == 1  # texts that the model samples, too


@pytest.mark.slow
@pytest.mark.parametrize("method", ["mean-difference", "learned"])
def test_each_text_is_encoded_once_with_a_pilot(llama_model, encoded, method):
    vectors.extract(llama_model, "cat", positive=CATS, background=SHIPS, method=method, layer=1)
    assert max(encoded.values()) == 1


@pytest.mark.parametrize("options", [{"paired": True, "method": "pca"}, {"weights": {CATS[0]: 2.0}, "method": "probe"}])
def test_each_text_is_encoded_once_in_pairs_and_with_weights(llama_model, encoded, options):
    vectors.extract(llama_model, "cat", positive=CATS, background=SHIPS, layer=[0, 1], calibrate=False, **options)
    assert max(encoded.values()) == 1


def test_samples_of_the_model_are_encoded_once(llama_model, encoded):
    vectors.extract(llama_model, "cat", positive=CATS, method="mean-difference", layer=1, calibrate=False)
    assert max(encoded.values()) == 1 and len(encoded) > len(CATS)


@pytest.mark.parametrize("method", ["mean-difference", "learned"])
def test_labelled_texts_are_encoded_once_for_all_concepts(llama_model, encoded, monkeypatch, method):
    monkeypatch.setattr("vectors.extraction.extract_jointly.steps_for", lambda concepts: 2)
    extract_each(llama_model, [*CATS, *SHIPS], LABELS, method=method, layer=1, calibrate=False)
    assert max(encoded.values()) == 1


def test_moments_are_read_once_and_second_moments_serve_for_the_first(llama_model, monkeypatch):
    fit = ContrastSet(CATS[:4], SHIPS[:4], weights={CATS[0]: 3.0})
    data = ExtractionInput(
        model=llama_model, fit=fit, tokens=encode_by_text(llama_model, [*fit.positive, *fit.background]), layers=(1,),
        positions="all",
    )  # fmt: skip
    second = data.moments(second=True)
    assert data.moments() is second is data.moments(second=True)
    weights = torch.tensor([3.0, 1.0, 1.0, 1.0], dtype=torch.float64)
    assert torch.equal(data.weights(fit.positive), weights)
    expected = moments(llama_model, data.rows(fit.positive), [1], weights=weights)[1]
    assert torch.allclose(second[1].positive.mean, expected.mean) and second[1].positive.count == 6


def test_a_pilot_needs_a_start_token_and_positions_have_defaults(llama_model, monkeypatch):
    assert check_options(llama_model, calibrate=True, default_positions="bos") == "bos"
    assert check_options(llama_model, calibrate=True, positions="all", default_positions="bos") == "all"
    monkeypatch.setattr(llama_model, "bos_id", None)
    assert check_options(llama_model, calibrate=False, default_positions="bos") == "all"
    with pytest.raises(InputError, match="no start token"):
        check_options(llama_model, calibrate=True)


def test_labelled_texts_are_split_for_every_concept_alike(llama_model):
    labelled = split_labelled_texts(llama_model, [*CATS, *SHIPS], LABELS, held_out=0.25, seed=0)
    (fit, fit_has), (held, held_has) = labelled.fit, labelled.held_out
    assert sorted([*fit, *held]) == sorted([*CATS, *SHIPS]) and labelled.names == ["cat", "ship"]
    assert np.array_equal(fit_has[:, 0], ["cat" in text for text in fit])
    assert np.array_equal(held_has[:, 1], ["ship" in text for text in held])
    split = labelled.split(0)
    assert set(split.held_out.positive) == {text for text in held if "cat" in text}
    assert set(split.whole.positive) == set(CATS)
