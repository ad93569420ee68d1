"""AUC along the difference of means by layer, against scikit-learn's."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

import vectors
from vectors.activations.contrast_moments import contrast_moments
from vectors.activations.layer_auc import LAYERS, auc_by_concept_and_layer, auc_by_layer, layers_over_depth
from vectors.activations.moments import moments
from vectors.activations.text_activations import encode_texts
from vectors.data.contrast import ContrastSet
from vectors.extraction.extract_labelled import extract_each

VERBS, PLACES = ("sang", "ran", "fell", "saw", "rose", "heard"), ("sea", "river", "tree", "stone", "night", "wind")
CATS = [f"the cat {verb} by the {place}" for verb in VERBS for place in PLACES]
DOGS = [f"the dog {verb} by the {place}" for verb in VERBS for place in PLACES]


def tokens_of(model):
    return dict(zip([*CATS, *DOGS], encode_texts(model, [*CATS, *DOGS]), strict=True))


@pytest.mark.parametrize("n_layers", [1, 3, LAYERS, LAYERS + 1, 33, 80])
def test_layers_are_evenly_spaced_over_the_depth(n_layers):
    layers = layers_over_depth(n_layers)
    assert layers == sorted(set(layers)) and layers[0] == 0 and layers[-1] < n_layers
    assert len(layers) == min(n_layers, LAYERS)


def test_each_layers_auc_is_scikit_learns(llama_model):
    fit, held = ContrastSet(CATS, DOGS).split(seed=3)
    rows = auc_by_layer(llama_model, fit, held, tokens_of(llama_model), seed=3)
    assert [row["layer"] for row in rows] == [0, 1, 2]
    for row in rows:
        layer = row["layer"]
        means = [
            moments(llama_model, encode_texts(llama_model, side), [layer])[layer].mean
            for side in (fit.positive, fit.background)
        ]
        scores = [
            float(moments(llama_model, encode_texts(llama_model, [text]), [layer])[layer].mean @ (means[0] - means[1]))
            for side in (held.positive, held.background) for text in side
        ]  # fmt: skip
        truth = [1] * len(held.positive) + [0] * len(held.background)
        assert row["auc"] == pytest.approx(roc_auc_score(truth, scores), abs=1e-5)
        assert row["low"] <= row["auc"] <= row["high"]


def test_several_concepts_give_the_auc_of_each_alone(llama_model):
    texts, has = [*CATS, *DOGS], np.array([[index < 36, "sea" in text] for index, text in enumerate([*CATS, *DOGS])])
    fit, held = slice(0, 72, 5), slice(1, 72, 5)
    fit_moments = contrast_moments(llama_model, encode_texts(llama_model, texts[fit]), has[fit], [0, 1, 2])
    both = auc_by_concept_and_layer(llama_model, fit_moments, encode_texts(llama_model, texts[held]), has[held], seed=1)
    for column in (0, 1):
        sides = [
            [[text for text, label in zip(texts[part], has[part, column], strict=True) if label == wanted]
             for wanted in (True, False)]
            for part in (fit, held)
        ]  # fmt: skip
        alone = auc_by_layer(llama_model, *(ContrastSet(*side) for side in sides), tokens_of(llama_model), seed=1)
        assert [row["auc"] for row in both[column]] == pytest.approx([row["auc"] for row in alone])


def test_evidence_of_a_learned_shift_has_the_auc_by_layer(llama_model, monkeypatch):
    monkeypatch.setattr("vectors.extraction.extract_jointly.steps_for", lambda concepts: 2)
    monkeypatch.setattr("vectors.extraction.methods.STEPS", 2)
    monkeypatch.setattr("vectors.extraction.shifts.learned_shift.STEPS", 2)
    shift = vectors.extract(
        llama_model, "cat", positive=CATS, background=DOGS, method="learned", layer=1, calibrate=False
    )
    assert [row["layer"] for row in shift.evidence["layers"]] == [1]
    assert [row["layer"] for row in shift.evidence["read"]] == [0, 1, 2]
    labels = [["cat"]] * len(CATS) + [["dog"]] * len(DOGS)
    together = extract_each(llama_model, [*CATS, *DOGS], labels, layer=1, calibrate=False)
    assert [row["layer"] for row in together["dog"].evidence["read"]] == [0, 1, 2]
    plain = vectors.extract(
        llama_model, "cat", positive=CATS, background=DOGS, method="mean-difference", layer=1, calibrate=False
    )
    assert "read" not in plain.evidence
