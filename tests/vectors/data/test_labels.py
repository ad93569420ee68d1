"""Labels become a matrix, a held-out mask and contrast sets, or are refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steer.composition.expression import parse
from vectors.common.errors import InputError
from vectors.common.validation import check_name
from vectors.data.contrast import is_held_out
from vectors.data.labels import concept_names, contrast_of_label, held_out_mask, label_matrix

TEXTS = [f"text {index}" for index in range(40)]
LABELS = [["even"] if index % 2 == 0 else ["odd", "third"][: 1 + (index % 3 == 0)] for index in range(40)]


def test_a_matrix_has_a_column_for_each_concept() -> None:
    names, has = label_matrix(TEXTS, LABELS)
    assert names == ["even", "odd", "third"] and has.shape == (40, 3)
    assert [{name for name, value in zip(names, row, strict=True) if value} for row in has] == [*map(set, LABELS)]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([["a"]], "40 texts and 1 labels"),
        ([[]] * 40, "no text has a label"),
        ([["a/b"]] * 40, "cannot name a concept"),
    ],
)
def test_unusable_labels_are_refused(labels: list[list[str]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        label_matrix(TEXTS, labels)


def test_the_held_out_texts_depend_on_text_and_seed_alone() -> None:
    names, has = label_matrix(TEXTS, LABELS)
    mask = held_out_mask(TEXTS, names[:2], has[:, :2], share=0.25, seed=3)
    assert mask.tolist() == [is_held_out(text, share=0.25, seed=3) for text in TEXTS]


@pytest.mark.parametrize(("index", "purpose"), [("first held out", "learn from"), ("first kept", "hold out")])
def test_a_concept_must_be_in_both_parts(index: str, purpose: str) -> None:
    held_out = [is_held_out(text, share=0.25, seed=3) for text in TEXTS]
    rare = np.zeros((40, 1), dtype=bool)
    rare[held_out.index(index == "first held out")] = True
    with pytest.raises(InputError, match=f"too few texts have or lack 'rare' to {purpose}"):
        held_out_mask(TEXTS, ["rare"], rare, share=0.25, seed=3)


def test_a_label_contrasts_texts_with_and_without_it() -> None:
    _, has = label_matrix(TEXTS, LABELS)
    contrast = contrast_of_label(TEXTS, has[:, 0])
    assert contrast.positive == tuple(TEXTS[::2]) and contrast.background == tuple(TEXTS[1::2])


def test_names_are_made_from_any_label() -> None:
    labels = [
        "sea",
        "slow-burn",
        "Sci-Fi & Fantasy",
        "être triste",
        "3",
        "1.0",
        "a/b",
        "हिन्दी",
        "nan",
        "-x-",
        "😀",
        "con",
    ]
    names = concept_names(labels, "My key")
    assert list(names.values()) == [
        "sea", "slow-burn", "sci-fi-fantasy", "être-triste", "my-key-3", "my-key-1-0", "a-b", "हिन्दी", "my-key-nan",
        "x", "my-key-😀", "my-key-con",
    ]  # fmt: skip
    assert all(check_name(name) == name for name in names.values())


@given(st.lists(st.text(min_size=1), min_size=1, max_size=3))
def test_names_are_valid_and_different_or_the_labels_are_refused(labels: list[str]) -> None:
    try:
        names = concept_names(labels, "label")
    except InputError as error:
        assert "\n" not in str(error)
        return
    assert len({name.casefold() for name in names.values()}) == len(set(labels))
    for name in names.values():
        assert check_name(name) == name and parse(name) == {name: 1.0}


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["C++", "C#"], "the labels 'C\\+\\+' and 'C#' would both be stored as 'c'"),
        (["Sea", "sea"], "the labels 'Sea' and 'sea'"),
        (["\ufffd"], "no name can be made from the label"),
        (["!!!"], "no name can be made from the label '!!!': give it one with --where 'tone=!!!'"),
    ],
)
def test_labels_that_cannot_be_told_apart_are_refused(labels: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        concept_names(labels, "tone")
