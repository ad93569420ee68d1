"""A concept for every label, as if each had been extracted by itself."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import vectors
from vectors.activations import contrast_moments
from vectors.activations.moments import Moments
from vectors.common.errors import InputError
from vectors.extraction.extract_labelled import SECOND, extract_each

VERBS, PLACES = ("sang", "ran", "fell", "saw", "rose", "heard"), ("sea", "river", "tree", "stone", "night", "wind")
ROWS = [
    (f"the {who} {verb} by the {place}", [who, place]) for who in ("cat", "dog") for verb in VERBS for place in PLACES
]
TEXTS, LABELS = [text for text, _ in ROWS], [labels for _, labels in ROWS]


@pytest.mark.parametrize("method", SECOND)
def test_each_is_what_extract_finds(llama_model, method):
    found = extract_each(llama_model, TEXTS, LABELS, method=method, layer=1, calibrate=False)
    assert sorted(found) == sorted({"cat", "dog", *PLACES})
    for name in ("dog", "sea"):
        sides = [[text for text, labels in ROWS if (name in labels) == having] for having in (True, False)]
        alone = vectors.extract(
            llama_model, name, positive=sides[0], background=sides[1], method=method, layer=1, calibrate=False
        )
        assert torch.allclose(found[name].direction, alone.direction, atol=1e-4)
        assert (found[name].auc, found[name].contrast_hash) == (alone.auc, alone.contrast_hash)
        assert found[name].gap == pytest.approx(alone.gap, rel=1e-4)


def test_the_texts_are_read_once_for_all(llama_model, monkeypatch):
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
    found = extract_each(llama_model, TEXTS, LABELS, layer=1, calibrate=False)
    assert {vector.method for vector in found.values()} == {"learned-together"}


@given(st.integers(0, 10**6), st.integers(1, 9))
def test_what_is_left_of_moments_are_those_of_the_rest(seed, cut):
    rows = torch.from_numpy(np.random.default_rng(seed).normal(3, 5, size=(10, 3)))
    sides = [Moments.empty(3, second=True) for _ in range(3)]
    for side, part in zip(sides, (rows, rows[:cut], rows[cut:]), strict=True):
        side.add(part)
    left = sides[0].without(sides[1])
    assert left.count == 10 - cut
    assert torch.allclose(left.mean, sides[2].mean) and torch.allclose(left.scatter, sides[2].scatter, atol=1e-8)


@pytest.mark.parametrize(
    ("wrong", "said"),
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
def test_what_cannot_be_used_is_refused(llama_model, wrong, said):
    options = {"labels": LABELS, "method": "mean-difference", "layer": 1, "calibrate": False} | wrong
    with pytest.raises(InputError, match=said):
        extract_each(llama_model, TEXTS, options.pop("labels"), **options)
