"""What a concept vector refuses, and what makes two of them equal."""

from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vectors.common.errors import SteerError, VectorError
from vectors.concepts.vector import ConceptVector


def concept(**changes: Any) -> ConceptVector:
    fields: dict[str, Any] = {
        "name": "cat",
        "model": "tiny",
        "model_hash": "0123456789abcdef",
        "layer": 1,
        "direction": torch.tensor([0.6, 0.8, 0.0]),
        "mean": torch.tensor([1.0, 2.0, 3.0]),
        "gap": 2.5,
        "method": "mean",
        "positions": "all",
        "created": "2024-01-02T03:04:05+00:00",
    }
    return ConceptVector(**(fields | changes))


def test_scale_is_the_unit_once_there_is_one() -> None:
    assert (concept().scale, concept().calibrated) == (2.5, False)
    assert (concept(unit=4.0).scale, concept(unit=4.0).calibrated) == (4.0, True)


def test_equal_contents_make_equal_keys() -> None:
    doses = {concept(): 1.0}
    assert doses[concept()] == 1.0
    assert concept() != "cat"


@pytest.mark.parametrize(
    "change",
    [
        {"name": "dog"},
        {"layer": 2},
        {"gap": 2.0},
        {"unit": 1.0},
        {"unit_curve": ({"dose": 1.0},)},
        {"unit_judge": ((1, 2), (0, 2))},
        {"auc": 0.5},
        {"direction": torch.tensor([0.8, 0.6, 0.0])},
        {"mean": torch.zeros(3)},
        {"other_shifts": {2: torch.ones(3)}},
    ],
)
def test_any_other_content_makes_another_key(change: dict[str, Any]) -> None:
    assert replace(concept(), **change) != concept()


def test_evidence_does_not_change_the_key() -> None:
    assert replace(concept(), evidence={"stability": 0.5}) == concept()


def test_tensors_are_copied_detached_and_float32() -> None:
    raw = torch.tensor([0.6, 0.8, 0.0], dtype=torch.float64, requires_grad=True)
    vector = concept(direction=raw)
    with torch.no_grad():
        raw.zero_()
    assert vector.direction.dtype == torch.float32
    assert not vector.direction.requires_grad
    assert vector.direction.tolist() == pytest.approx([0.6, 0.8, 0.0])


def test_fields_are_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        concept().gap = 1.0  # type: ignore[misc]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"direction": torch.tensor([1.0, 1.0, 0.0])}, "length 1.41421"),
        ({"direction": torch.zeros(3)}, "length 0"),
        ({"direction": torch.tensor([1.0, float("nan"), 0.0])}, "NaN"),
        ({"direction": torch.tensor([0.6, 0.8])}, "width 2 and a mean of width 3"),
        ({"direction": torch.ones(1, 3)}, r"shape \(1, 3\)"),
        ({"direction": torch.tensor(1.0)}, r"shape \(\)"),
        ({"direction": torch.zeros(0)}, r"shape \(0,\)"),
        ({"direction": torch.tensor([1, 0, 0])}, "int64"),
        ({"mean": torch.tensor([0.0, float("inf"), 0.0])}, "mean of vector 'cat' holds NaN or infinity"),
        ({"mean": torch.tensor([1e300, 0.0, 0.0], dtype=torch.float64)}, "holds NaN or infinity"),
        ({"gap": 0.0}, "more than 0"),
        ({"gap": -1.0}, "more than 0"),
        ({"gap": float("nan")}, "gap"),
        ({"unit": 0.0}, "unit of vector"),
        ({"unit": float("inf")}, "unit of vector"),
        ({"auc": 1.1}, "expected 0 to 1"),
        ({"layer": -1}, "layer of vector"),
        ({"n_positive": -1}, "n_positive"),
        ({"model": ""}, "model of vector"),
        ({"method": "\ud800"}, "UTF-8"),
        ({"model": "x" * 100_000}, "expected at most 5000 characters, it has 100000"),
        ({"created": "yesterday"}, "ISO 8601"),
        ({"unit_curve": ({"kl": float("nan")},)}, "finite"),
        ({"unit_judge": ((1, 0), (0, 1))}, "unit_judge of vector"),
        ({"unit_judge": ((0.5, 1), (0, 1))}, "unit_judge of vector"),
        ({"unit_judge": "ab"}, "expected two pairs"),
        ({"unit_curve": ({"kl": {1, 2}},)}, "JSON"),
        ({"unit_curve": ({"kl": (1, 2)},)}, "JSON"),
        ({"other_shifts": {1: torch.ones(3)}}, "the vector's own site"),
        ({"other_shifts": {2: torch.zeros(3)}}, "a shift of zero"),
        ({"other_shifts": {2: torch.ones(3), (2, "all"): torch.ones(3)}}, "a site twice"),
        ({"other_shifts": {(2, "some"): torch.ones(3)}}, "choose from bos, all"),
        ({"other_shifts": {(2, "bos", 1): torch.ones(3)}}, "a layer in other_shifts of vector"),
        ({"other_shifts": {2: torch.ones(4)}}, "a shift at layer 2, positions all \\(other_shifts\\) of width 4"),
        (
            {"other_shifts": {2: torch.full((3,), float("nan"))}},
            "shift at layer 2, positions all in other_shifts of vector 'cat' holds NaN",
        ),
        ({"other_shifts": {-1: torch.ones(3)}}, "a layer in other_shifts of vector"),
        ({"other_shifts": {"2": torch.ones(3)}}, "a layer in other_shifts of vector"),
        ({"away_shifts": {1: torch.zeros(3)}}, "away_shifts of vector 'cat' holds a shift of zero"),
        (
            {"away_shifts": {1: torch.ones(3), (1, "all"): torch.ones(3)}},
            "away_shifts of vector 'cat' holds a site twice",
        ),
        ({"away_shifts": {(1, "bos"): torch.ones(4)}}, "positions bos \\(away_shifts\\) of width 4"),
        ({"away_shifts": [torch.ones(3)]}, "away_shifts of vector 'cat' is"),
        ({"other_shifts": [torch.ones(3)]}, "a mapping from layers"),
        ({"evidence": {"stability": float("nan")}}, "finite"),
        ({"evidence": [1]}, "evidence of vector"),
        ({"name": "../x"}, "cannot name a concept"),
    ],
)
def test_unusable_fields_are_refused_in_one_line(change: dict[str, Any], problem: str) -> None:
    with pytest.raises(SteerError, match=problem) as caught:
        concept(**change)
    assert "\n" not in str(caught.value)


def test_a_vector_may_steer_several_layers() -> None:
    east = torch.tensor([3.0, 0.0, 0.0])
    several = concept(other_shifts={4: -east, 0: east})
    assert several.layers == (0, 1, 4) and concept().layers == (1,)
    assert torch.equal(several.shifts[1, "all"], several.direction) and torch.equal(several.shifts[4, "all"], -east)
    assert several == concept(other_shifts={0: east, 4: -east}) != concept(other_shifts={0: -east, 4: east})


@given(st.floats(0.9, 1.1))
def test_only_unit_directions_are_accepted(length: float) -> None:
    direction = length * torch.tensor([0.6, 0.8, 0.0])
    if abs(length - 1.0) < 9e-4:
        assert concept(direction=direction).d_model == 3
    elif abs(length - 1.0) > 1.1e-3:
        with pytest.raises(VectorError, match="length"):
            concept(direction=direction)


def test_unknown_positions_are_refused() -> None:
    assert concept(positions="bos").positions == "bos"
    with pytest.raises(VectorError, match="choose from bos, all, generated, not-bos, first:N, decay:H"):
        concept(positions="text")
