"""Known concepts are found again by the texts that the model writes under them."""

import pytest
import torch
from planted import rainbows

from vectors.concept import ConceptVector
from vectors.discovery import discover
from vectors.errors import ModelError
from vectors.model import ResidualModel, load_model
from vectors.recognised import ENOUGH, recognised
from vectors.residual import shifted


@pytest.fixture(scope="module")
def model(model_folder) -> ResidualModel:
    return load_model(model_folder("llama"), "cpu")


def concept(model, name, direction, *, layer=1, unit=1.0) -> ConceptVector:
    return ConceptVector(
        name=name, model=model.name, model_hash=model.hash, layer=layer, direction=direction / direction.norm(),
        mean=torch.zeros(model.d_model), gap=unit, unit=unit, method="mean-difference", positions="all",
    )  # fmt: skip


def towards(model, token: int) -> torch.Tensor:
    """What raises one token's logit most, by gradient at the start token."""
    shift = torch.zeros(model.d_model, requires_grad=True)
    with torch.enable_grad(), shifted(model, {1: shift}):
        logits = model.hf(torch.tensor([[model.bos_id]])).logits[0, -1]
    return torch.autograd.grad(logits.log_softmax(-1)[token], [shift])[0]


def test_a_concept_that_writes_what_a_candidate_reads_is_named(model):
    found = discover(model, rainbows(), k=12, layer=1)
    rainbow = model.encode(["rainbow"])[0][-1]
    best = max(found.candidates, key=lambda each: sum("rainbow" in snippet for snippet in each.snippets))
    known = [
        concept(model, "bow", towards(model, rainbow), unit=8.0),
        concept(model, "none", torch.ones(32), unit=0.01),
    ]
    named = recognised(model, found, known)
    like = named.candidate(best.number).like
    assert like is not None and like.name == "bow" and like.auc >= ENOUGH
    assert like.cosine == pytest.approx(float(torch.cosine_similarity(best.part, known[0].direction, dim=0)), abs=1e-5)
    again = recognised(model, found, known)
    assert [each.like for each in again.candidates] == [each.like for each in named.candidates]
    assert torch.equal(named.candidates[0].part, found.candidates[0].part)


def test_no_start_token_no_texts(make_hf, make_tokenizer):
    silent = ResidualModel(make_hf("gpt2"), make_tokenizer(bos=False, eos=False), name="silent")
    found = discover(silent, rainbows(40), k=2)
    assert recognised(silent, found, []) is found
    with pytest.raises(ModelError, match="start"):
        recognised(silent, found, [concept(silent, "sea", torch.ones(32))])
