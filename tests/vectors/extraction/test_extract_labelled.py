"""A vector for every label is the one that `extract` finds, from one pass over the texts."""

import numpy as np
import pytest
import torch
from helpers.contrast_texts import SCENES, VERBS
from hypothesis import given
from hypothesis import strategies as st

import vectors
from vectors.activations import contrast_moments
from vectors.activations.moments import Moments
from vectors.common.errors import InputError
from vectors.extraction.extract_labelled import SECOND, extract_each

ROWS = [
    (f"the {animal} {verb} by the {scene}", [animal, scene])
    for animal in ("cat", "dog")
    for verb in VERBS
    for scene in SCENES
]
TEXTS, LABELS = [text for text, _ in ROWS], [labels for _, labels in ROWS]


@pytest.mark.parametrize("method", SECOND)
def test_each_vector_is_the_one_that_extract_finds(llama_model, method):
    concepts = extract_each(llama_model, TEXTS, LABELS, method=method, layer=1, calibrate=False)
    assert sorted(concepts) == sorted({"cat", "dog", *SCENES})
    for name in ("dog", "sea"):
        positive = [text for text, labels in ROWS if name in labels]
        background = [text for text, labels in ROWS if name not in labels]
        vector = vectors.extract(
            llama_model, name, positive=positive, background=background, method=method, layer=1, calibrate=False
        )
        assert torch.allclose(concepts[name].direction, vector.direction, atol=1e-4)
        assert (concepts[name].auc, concepts[name].contrast_hash) == (vector.auc, vector.contrast_hash)
        assert concepts[name].gap == pytest.approx(vector.gap, rel=1e-4)


def test_the_texts_are_read_once_for_all_concepts(llama_model, monkeypatch):
    read: list[int] = []
    original = contrast_moments.text_means

    def counted(model, texts, layers, **options):
        read.append(len(texts))
        return original(model, texts, layers, **options)

    monkeypatch.setattr(contrast_moments, "text_means", counted)
    extract_each(llama_model, TEXTS, LABELS, method="mean-difference", layer=1, calibrate=False)
    assert len(read) == 1 and read[0] < len(TEXTS)


def test_learned_concepts_are_learned_together(llama_model, monkeypatch):
    monkeypatch.setattr("vectors.extraction.extract_jointly.steps_for", lambda concepts: 3)
    concepts = extract_each(llama_model, TEXTS, LABELS, layer=1, calibrate=False)
    assert {vector.method for vector in concepts.values()} == {"learned-together"}


@given(st.integers(0, 10**6), st.integers(1, 9))
def test_moments_without_some_rows_are_those_of_the_other_rows(seed, cut):
    rows = torch.from_numpy(np.random.default_rng(seed).normal(3, 5, size=(10, 3)))
    sides = [Moments.empty(3, second=True) for _ in range(3)]
    for side, part in zip(sides, (rows, rows[:cut], rows[cut:]), strict=True):
        side.add(part)
    rest = sides[0].without(sides[1])
    assert rest.count == 10 - cut
    assert torch.allclose(rest.mean, sides[2].mean) and torch.allclose(rest.scatter, sides[2].scatter, atol=1e-8)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "probe"}, "'probe' reads the texts anew for each concept: choose from learned, mean-difference"),
        ({"labels": LABELS[1:]}, "71 labels"),
        ({"labels": [[]] * len(TEXTS)}, "no text has a label"),
        ({"labels": [["rare"], *[[]] * (len(TEXTS) - 1)]}, "too few texts have or lack 'rare'"),
        ({"layer": 3}, "0 to 2"),
        ({"pool": "median"}, "pool is 'median'"),
        ({"labels": [["a/b"]] * len(TEXTS)}, "cannot name a concept"),
    ],
)
def test_unusable_options_are_refused(llama_model, changes, message):
    options = {"labels": LABELS, "method": "mean-difference", "layer": 1, "calibrate": False} | changes
    with pytest.raises(InputError, match=message):
        extract_each(llama_model, TEXTS, options.pop("labels"), **options)
