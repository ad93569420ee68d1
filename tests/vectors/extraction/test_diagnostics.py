"""Evidence for a direction: its AUC on held-out texts, its stability, and its typical texts and tokens."""

import numpy as np
import pytest
from helpers.contrast_texts import CATS, SHIPS, extract_cat

import vectors
from vectors.activations.moments import moments
from vectors.data.contrast import ContrastSet
from vectors.extraction.diagnostics import vector_auc


def test_random_labels_give_an_auc_near_one_half(llama_model):
    mixed = np.random.default_rng(0).permutation(CATS + SHIPS)
    half = len(mixed) // 2
    vector = vectors.extract(
        llama_model, "noise", positive=list(mixed[:half]), background=list(mixed[half:]), method="mean-difference",
        layer=1, calibrate=False, held_out=0.5,
    )  # fmt: skip
    assert 0.2 < vector.auc < 0.8


def test_a_shift_ranks_held_out_texts_by_their_gain_in_likelihood(llama_model, monkeypatch):
    monkeypatch.setattr(
        "vectors.extraction.diagnostics.likelihood_gains",
        lambda model, rows, _shifts: [float("cat" in model.decode(row)) for row in rows],
    )
    vector = extract_cat(llama_model, method="learned", layer=1)
    assert vector.auc == 1.0 and vector.gap > 0


def test_the_evidence_has_scores_stability_tokens_and_typical_texts(llama_model):
    vector = extract_cat(llama_model, method="mean-difference", layer=1)
    facts = vector.evidence
    assert [row["layer"] for row in facts["layers"]] == [1] and facts["layers"][0]["auc"] == pytest.approx(vector.auc)
    assert 0.5 < facts["stability"] <= 1 and len(facts["tokens"]["top"]) == len(facts["tokens"]["bottom"]) == 8
    projections = {
        text: float(moments(llama_model, llama_model.encode([text]), [1])[1].mean @ vector.direction.double())
        for text in CATS
    }
    assert facts["texts"] == sorted(CATS, key=projections.__getitem__, reverse=True)[:3]
    assert "stability" not in extract_cat(llama_model, method="mean-difference", layer=1, stability=False).evidence


@pytest.mark.parametrize("method", ["mean-difference", "gradient"])
def test_the_auc_of_a_vector_can_be_measured_again(llama_model, method):
    vector = extract_cat(llama_model, method=method, layer=1)
    _, held_out = ContrastSet(CATS, SHIPS).split()
    assert vector_auc(llama_model, vector, held_out) == vector.auc
