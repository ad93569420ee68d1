"""Candidates are matched with known concepts by the texts that the model writes with each concept."""

import pytest
import torch
from helpers.planted import rainbows

from vectors.common.errors import ModelError
from vectors.concepts.vector import ConceptVector
from vectors.discovery.discover import discover
from vectors.discovery.match_concepts import MIN_AUC, match_concepts
from vectors.model.residual_model import ResidualModel, load_model


@pytest.fixture(scope="module")
def model(model_folder) -> ResidualModel:
    return load_model(model_folder("llama"), "cpu")


def concept(model, name, direction, *, layer=2, unit=1.0) -> ConceptVector:
    return ConceptVector(
        name=name, model=model.name, model_hash=model.hash, layer=layer, direction=direction / direction.norm(),
        mean=torch.zeros(model.d_model), gap=unit, unit=unit, method="mean-difference", positions="all",
    )  # fmt: skip


@pytest.mark.slow
def test_a_concept_whose_texts_a_candidate_ranks_first_is_named(model):
    rainbow = model.encode(["rainbow"])[0][-1]
    towards = model.hf.lm_head.weight[rainbow] - model.hf.lm_head.weight.mean(dim=0)
    known = [concept(model, "none", torch.ones(32), layer=0, unit=0.01), concept(model, "bow", towards, unit=60.0)]
    discovery = discover(model, rainbows(), k=16, layer=0)
    assert all("rainbow" in snippet for snippet in discovery.candidates[0].snippets)
    named = match_concepts(model, discovery, known)
    like = named.candidates[0].like
    assert like is not None and like.name == "bow" and like.auc >= MIN_AUC and like.cosine is None
    again = match_concepts(model, discovery, known)
    assert [each.like for each in again.candidates] == [each.like for each in named.candidates]
    assert torch.equal(named.candidates[0].part, discovery.candidates[0].part)


def test_the_cosine_is_given_at_the_same_layer_and_opposites_are_matched(model):
    rainbow = model.encode(["rainbow"])[0][-1]
    towards = model.hf.lm_head.weight[rainbow] - model.hf.lm_head.weight.mean(dim=0)
    known = [concept(model, "bow", towards, unit=60.0)]
    discovery = discover(model, rainbows(), k=16, layer=2)
    likenesses = [
        (sign, candidate, likeness)
        for candidate in match_concepts(model, discovery, known).candidates
        for sign, likeness in ((1, candidate.like), (-1, candidate.unlike))
        if likeness is not None
    ]
    assert likenesses
    for sign, candidate, likeness in likenesses:
        assert likeness.cosine == pytest.approx(
            sign * float(torch.cosine_similarity(candidate.part, known[0].direction, dim=0)), abs=1e-5
        )


def test_a_model_without_a_start_token_is_refused(make_hf, make_tokenizer):
    silent = ResidualModel(make_hf("gpt2"), make_tokenizer(bos=False, eos=False), name="silent")
    discovery = discover(silent, rainbows(40), k=2)
    assert match_concepts(silent, discovery, []) is discovery
    with pytest.raises(ModelError, match="start"):
        match_concepts(silent, discovery, [concept(silent, "sea", torch.ones(32))])
