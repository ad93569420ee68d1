"""Every method finds a direction that ranks held-out texts, and reads the texts and weights as documented."""

import numpy as np
import pytest
import torch
from helpers.contrast_texts import CATS, SHIPS, extract_cat

import vectors
from vectors.activations.moments import moments
from vectors.common import option_names
from vectors.common.errors import InputError, ModelError
from vectors.data.contrast import ContrastSet
from vectors.decoding.prompt_free_samples import sample_prompt_free
from vectors.extraction.contest.learned import REWARDED, WAYS
from vectors.extraction.methods import METHODS
from vectors.model.hooks import shift_layers
from vectors.model.residual_model import ResidualModel


@pytest.mark.parametrize("method", [name for name in METHODS if name != "token"])
def test_the_direction_of_every_method_ranks_held_out_texts(llama_model, method):
    vector = extract_cat(llama_model, method=method, layer=1)
    assert vector.auc > 0.9 and vector.gap > 0 and vector.positions == METHODS[method].positions
    assert (vector.method, vector.layer, vector.n_positive, vector.n_background) == (method, 1, len(CATS), len(SHIPS))
    assert vector.model_hash == llama_model.hash
    assert float(vector.direction.norm()) == pytest.approx(1, abs=1e-5)


def test_positions_are_those_of_the_method_unless_they_are_given(llama_model):
    assert extract_cat(llama_model, method="learned", layer=1).positions == "bos"
    assert extract_cat(llama_model, method="learned", layer=1, positions="all").positions == "all"
    assert extract_cat(llama_model, method="mean-difference", layer=1).positions == "all"
    assert extract_cat(llama_model, method="mean-difference", layer=1, positions="bos").positions == "bos"


def test_likelihoods_that_are_not_finite_are_refused(make_hf, make_tokenizer):
    hf = make_hf("llama")
    with torch.no_grad():
        hf.lm_head.weight[5] = float("inf")
    model = ResidualModel(hf, make_tokenizer(), name="broken")
    with pytest.raises(
        ModelError, match="likelihoods under a shift at layer 1 that are not finite, because its weights hold NaN"
    ):
        extract_cat(model, method="learned", layer=1)


def test_mean_centred_subtracts_the_mean_of_samples_of_the_model(llama_model):
    vector = extract_cat(llama_model, method="mean-centred", layer=1)
    fit, _ = ContrastSet(tuple(CATS), tuple(SHIPS)).split()
    samples = sample_prompt_free(llama_model, 64, seed=1)
    means = [moments(llama_model, llama_model.encode(side), [1])[1].mean for side in (fit.positive, samples)]
    difference = means[0] - means[1]
    assert torch.allclose(vector.direction, (difference / difference.norm()).float(), atol=1e-5)
    assert vector.n_background == len(SHIPS) and vector.contrast_hash == ContrastSet(CATS, SHIPS).hash


def test_token_needs_no_texts_and_makes_its_words_more_likely(llama_model):
    vector = vectors.extract(llama_model, "cat", method="token", layer=1, calibrate=False)
    assert vector.auc is None and vector.n_positive == 0 and vector.is_unseen("any") is None
    ids = llama_model.batch(llama_model.encode(["the dog saw a"]))
    word = llama_model.tokenizer.convert_tokens_to_ids("cat")
    with torch.no_grad():
        base = llama_model.hf(**ids).logits[0].log_softmax(dim=-1)[:, word].mean()
        with shift_layers(llama_model, {1: vector.direction * vector.scale}):
            shifted = llama_model.hf(**ids).logits[0].log_softmax(dim=-1)[:, word].mean()
    assert shifted > base + 0.5
    other = vectors.extract(llama_model, "beast", method="token", words=["dog"], layer=1, calibrate=False)
    assert abs(float(other.direction @ vector.direction)) < 0.99
    with pytest.raises(InputError, match="'beast' is no single token"):
        vectors.extract(llama_model, "beast", method="token", layer=1, calibrate=False)


def test_pca_of_pairs_is_the_axis_of_the_differences_within_pairs(llama_model):
    """The subject of the pairs varies more than the concept, so the texts have to be compared within each pair."""
    ships = [text.replace("cat", "ship") for text in CATS]
    vector = extract_cat(llama_model, background=ships, paired=True, method="pca", layer=1)
    fit, _ = ContrastSet(CATS, ships, paired=True).split()
    rows = [
        np.stack([moments(llama_model, llama_model.encode([text]), [1])[1].mean.numpy() for text in side])
        for side in (fit.positive, fit.background)
    ]
    axis = np.linalg.svd(rows[0] - rows[1])[2][0]
    assert abs(float(vector.direction.numpy() @ axis)) == pytest.approx(1, abs=1e-4)
    assert vector.held_out is None and vector.is_unseen(CATS[0]) is None


def test_a_huge_weight_makes_the_mean_that_of_the_weighted_texts(llama_model):
    heavy = extract_cat(
        llama_model, method="mean-difference", layer=1, weights={text: 1e6 for text in CATS if "sea" in text}
    )
    fit, _ = ContrastSet(CATS, SHIPS).split()
    sea = moments(llama_model, llama_model.encode([text for text in fit.positive if "sea" in text]), [1])[1].mean
    other = moments(llama_model, llama_model.encode(fit.background), [1])[1].mean
    assert torch.allclose(heavy.direction, ((sea - other) / (sea - other).norm()).float(), atol=1e-3)


def test_the_option_names_are_those_of_the_methods():
    assert tuple(METHODS) == option_names.METHODS
    shifts = {name for name, method in METHODS.items() if method.shift}
    assert {*shifts, *WAYS, REWARDED} == set(option_names.SHIFT_METHODS)
