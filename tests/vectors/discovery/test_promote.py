"""Candidates become concept vectors that point towards their texts; a pilot gives them a unit if it finds one."""

from dataclasses import replace

import pytest
import torch
from helpers.planted import rainbows

from vectors.common.errors import InputError, VectorError
from vectors.discovery.candidates import Discovery
from vectors.discovery.discover import discover
from vectors.discovery.promote import HELD_OUT, LEARNING_HELD_OUT, promote_candidate
from vectors.extraction.extract import extract
from vectors.model.residual_model import ResidualModel, load_model


@pytest.fixture(scope="module")
def model(model_folder) -> ResidualModel:
    return load_model(model_folder("llama"), "cpu")


@pytest.fixture(scope="module")
def discovery(model) -> Discovery:
    return discover(model, rainbows(), k=6, layer=1)


@pytest.mark.parametrize("away", [False, True])
def test_a_promoted_candidate_points_to_its_typical_texts(model, discovery, away):
    vector = promote_candidate(model, discovery, 2, "stormy", away=away, learn=False, calibrate=False, seed=3)
    contrast = discovery.contrast(2, away=away)
    assert (vector.name, vector.layer, vector.positions, vector.method) == ("stormy", 1, "all", "discovered-ica")
    assert (vector.n_positive, vector.n_background) == (12, 108) and vector.contrast_hash == contrast.hash
    assert not vector.calibrated and vector.auc is None and vector.gap > 0
    train, held_out = contrast.split(held_out=HELD_OUT, seed=3)
    assert all(vector.is_unseen(text) for text in held_out.background)
    index = {text: i for i, text in enumerate(discovery.texts)}
    means = [
        discovery.means[[index[text] for text in texts]].mean(dim=0) for texts in (train.positive, train.background)
    ]
    assert vector.gap == pytest.approx(float(vector.direction @ (means[0] - means[1])), rel=1e-4)
    torch.testing.assert_close(vector.mean, means[1])
    direction = discovery.candidate(2).filter * (-1 if away else 1)
    torch.testing.assert_close(vector.direction, direction / direction.norm())


def test_the_other_sign_is_the_opposite_direction(model, discovery):
    one, other = (
        promote_candidate(model, discovery, 1, "one", away=away, learn=False, calibrate=False) for away in (False, True)
    )
    assert torch.equal(one.direction, -other.direction) and one.contrast_hash != other.contrast_hash


@pytest.mark.slow
def test_the_learned_shift_is_that_of_extract_on_the_typical_texts(model, discovery):
    contrast = discovery.contrast(1)
    vector = promote_candidate(model, discovery, 1, "one", calibrate=False, seed=2)
    extracted = extract(
        model, "one", positive=contrast.positive, background=contrast.background, method="learned", calibrate=False,
        seed=2,
    )  # fmt: skip
    assert torch.equal(vector.direction, extracted.direction) and vector.gap == extracted.gap
    assert (vector.method, vector.positions) == ("learned-discovered-ica", "bos")
    assert vector.contrast_hash == contrast.hash and vector.held_out == LEARNING_HELD_OUT


@pytest.mark.slow
def test_the_pilot_gives_a_curve_and_a_unit_if_there_is_an_effect(model, discovery):
    vector = promote_candidate(model, discovery, 1, "one", learn=False, seed=1)
    assert vector.unit_curve and vector.unit_judge is not None
    assert vector.calibrated == (vector.unit is not None)


def test_candidates_that_cannot_be_promoted_are_refused(model, discovery, model_folder, make_hf, make_tokenizer):
    with pytest.raises(InputError, match="from 1 to 6"):
        promote_candidate(model, discovery, 7, "one", calibrate=False)
    with pytest.raises(InputError, match="cannot name"):
        promote_candidate(model, discovery, 1, "a/b", calibrate=False)
    with pytest.raises(VectorError, match="was made in model"):
        promote_candidate(load_model(model_folder("gpt2"), "cpu"), discovery, 1, "one", learn=False, calibrate=False)
    for wrong in ({"layer": 3}, {"means": discovery.means[:, :5]}):
        with pytest.raises(VectorError, match="layers 0 to 2 and width 32"):
            promote_candidate(model, replace(discovery, **wrong), 1, "one", learn=False, calibrate=False)
    silent = ResidualModel(make_hf("gpt2"), make_tokenizer(bos=False, eos=False), name="silent")
    own = discover(silent, rainbows(40), k=2)
    with pytest.raises(InputError, match="--no-calibrate"):
        promote_candidate(silent, own, 1, "one")
    assert promote_candidate(silent, own, 1, "one", learn=False, calibrate=False).positions == "all"
