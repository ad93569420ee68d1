"""Concepts learned together: one vector a label, to be used alone or in combination."""

import numpy as np
import pytest
import torch

from vectors.activations.moments import moments
from vectors.activations.text_likelihood import likelihood_gains
from vectors.common.errors import InputError
from vectors.concepts.vector_file import load_file, save
from vectors.extraction.extract_jointly import extract_together

TEXTS = [
    f"the {animal} {verb} by the {scene} ."
    for animal in ("cat", "dog") for verb in ("sang", "ran", "fell", "saw") for scene in ("sea", "tree", "river")
]  # fmt: skip
LABELS = [[word for word in ("cat", "sea") if word in text] for text in TEXTS]


def extract(model, **options):
    return extract_together(model, TEXTS, LABELS, **({"layer": 1, "calibrate": False, "steps": 80} | options))


def test_every_label_gets_a_vector_that_ranks_its_held_out_texts(llama_model, tmp_path, monkeypatch):
    # a score that separates the cats perfectly and does not depend on the sea
    monkeypatch.setattr(
        "vectors.extraction.diagnostics.likelihood_gains",
        lambda model, rows, _shifts: [float("cat" in model.decode(row)) for row in rows],
    )
    concepts = extract(llama_model)
    assert sorted(concepts) == ["cat", "sea"]
    for name, vector in concepts.items():
        assert (vector.name, vector.layer, vector.positions, vector.method) == (name, 1, "bos", "learned-together")
        assert (vector.auc == 1.0) == (name == "cat")
        assert (vector.n_positive, vector.n_background) == ((12, 12) if name == "cat" else (8, 16))
        assert load_file(save(vector, tmp_path / f"{name}.safetensors")) == vector


def test_each_shift_raises_the_likelihood_of_its_own_texts_most(llama_model):
    for name, vector in extract(llama_model).items():
        shift = vector.direction.double() * vector.gap
        positive, background = (
            llama_model.encode([text for text in TEXTS if (name in text) == has_concept])
            for has_concept in (True, False)
        )
        gain, background_gain = (
            float(np.mean(likelihood_gains(llama_model, rows, {(1, "bos"): shift}))) for rows in (positive, background)
        )
        # a shift at the start token of a random model has little effect on the last words, where the sea is
        assert gain > 3 and (name == "sea" or gain > background_gain + 3)


def test_the_order_of_texts_has_no_effect_and_the_seed_does(llama_model):
    once = extract(llama_model, steps=3)
    again = extract_together(llama_model, TEXTS[::-1], LABELS[::-1], layer=1, calibrate=False, steps=3)
    other = extract(llama_model, steps=3, seed=1)
    for name in once:
        assert torch.equal(once[name].direction, again[name].direction)
        assert torch.allclose(once[name].mean, again[name].mean, atol=1e-6)
        assert once[name].auc == again[name].auc
        assert not torch.equal(once[name].direction, other[name].direction)


def test_the_mean_is_that_of_the_training_texts_without_the_concept(llama_model):
    vector = extract(llama_model, steps=1)["sea"]
    assert vector.held_out == 0.25 and vector.split_seed == 0
    without = [text for text in TEXTS if not vector.is_unseen(text) and "sea" not in text]
    expected = moments(llama_model, llama_model.encode(without), [1])[1].mean.float()
    assert torch.allclose(vector.mean, expected, atol=1e-5)


@pytest.mark.slow
def test_pilots_add_their_curves(llama_model, monkeypatch):
    monkeypatch.setattr("vectors.calibration.calibrate._STEPS", 2)
    monkeypatch.setattr("vectors.calibration.calibrate._BISECTIONS", 0)
    assert all(len(vector.unit_curve) == 3 for vector in extract(llama_model, calibrate=True, steps=3).values())


@pytest.mark.parametrize(
    ("texts", "labels", "options", "message"),
    [
        (TEXTS, LABELS[1:], {}, "24 texts and 23 labels"),
        (TEXTS, [[] for _ in TEXTS], {}, "no text has a label"),
        (TEXTS, [["cat"] for _ in TEXTS], {}, "background is empty"),
        (TEXTS, [["cat"] if index == 0 else [] for index in range(24)], {}, "too few texts have or lack 'cat'"),
        (TEXTS, [["a/b"] for _ in TEXTS], {}, "cannot name a concept"),
        (TEXTS, LABELS, {"layer": 3}, "0 to 2"),
        ([*TEXTS, "<eos>"], [*LABELS, ["cat"]], {}, "no token of its own"),
        (TEXTS, LABELS, {"held_out": 1.0}, "between 0 and 1"),
        (TEXTS, LABELS, {"positions": "some"}, "choose from bos"),
    ],
)
def test_unusable_texts_and_options_are_refused(llama_model, texts, labels, options, message):
    with pytest.raises(InputError, match=message):
        extract_together(llama_model, texts, labels, **({"layer": 1, "calibrate": False, "steps": 1} | options))
