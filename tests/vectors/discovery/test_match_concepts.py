"""Known concepts are found again by the texts that the model writes under them."""

import pytest
import torch
from helpers.planted import rainbows

from vectors.common.errors import ModelError
from vectors.concepts.vector import ConceptVector
from vectors.discovery.discover import discover
from vectors.discovery.match_concepts import ENOUGH, match_concepts
from vectors.model.residual_model import ResidualModel, load_model


@pytest.fixture(scope="module")
def model(model_folder) -> ResidualModel:
    return load_model(model_folder("llama"), "cpu")


def concept(model, name, direction, *, layer=2, unit=1.0) -> ConceptVector:
    return ConceptVector(
        name=name, model=model.name, model_hash=model.hash, layer=layer, direction=direction / direction.norm(),
        mean=torch.zeros(model.d_model), gap=unit, unit=unit, method="mean-difference", positions="all",
    )  # fmt: skip


def test_a_concept_that_writes_what_a_candidate_reads_is_named(model):
    rainbow = model.encode(["rainbow"])[0][-1]
    towards = model.hf.lm_head.weight[rainbow] - model.hf.lm_head.weight.mean(dim=0)
    known = [concept(model, "none", torch.ones(32), layer=0, unit=0.01), concept(model, "bow", towards, unit=60.0)]
    found = discover(model, rainbows(), k=16, layer=0)
    assert all("rainbow" in snippet for snippet in found.candidates[0].snippets)
    named = match_concepts(model, found, known)
    like = named.candidates[0].like
    assert like is not None and like.name == "bow" and like.auc >= ENOUGH and like.cosine is None
    again = match_concepts(model, found, known)
    assert [each.like for each in again.candidates] == [each.like for each in named.candidates]
    assert torch.equal(named.candidates[0].part, found.candidates[0].part)


def test_at_one_layer_the_cosine_is_told_too_and_the_opposite_is_looked_at(model):
    rainbow = model.encode(["rainbow"])[0][-1]
    towards = model.hf.lm_head.weight[rainbow] - model.hf.lm_head.weight.mean(dim=0)
    known = [concept(model, "bow", towards, unit=60.0)]
    found = discover(model, rainbows(), k=16, layer=2)
    told = [
        (sign, each, likeness)
        for each in match_concepts(model, found, known).candidates
        for sign, likeness in ((1, each.like), (-1, each.unlike))
        if likeness is not None
    ]
    assert told
    for sign, each, likeness in told:
        assert likeness.cosine == pytest.approx(
            sign * float(torch.cosine_similarity(each.part, known[0].direction, dim=0)), abs=1e-5
        )


def test_no_start_token_no_texts(make_hf, make_tokenizer):
    silent = ResidualModel(make_hf("gpt2"), make_tokenizer(bos=False, eos=False), name="silent")
    found = discover(silent, rainbows(40), k=2)
    assert match_concepts(silent, found, []) is found
    with pytest.raises(ModelError, match="start"):
        match_concepts(silent, found, [concept(silent, "sea", torch.ones(32))])
