"""Composition part by part of a text, against a pseudo-inverse at every position."""

from typing import Any

import numpy as np
import pytest
import torch
from helpers.points import axis, concept
from hypothesis import given
from hypothesis import strategies as st

from steer.composition.steering_point import SteeringPoint, compose
from vectors.common.errors import InputError, VectorError
from vectors.concepts.by_position import moved
from vectors.concepts.vector import ConceptVector
from vectors.model.positions import POSITIONS, position_weights

WHERE = st.sampled_from([*POSITIONS, "first:3", "decay:2"])
PREFIX, LENGTH = 3, 9


@st.composite
def casts(draw: st.DrawFn) -> dict[ConceptVector, float]:
    """Two or three concepts with shifts at one to three sites each, random in 16 dimensions."""
    random = np.random.default_rng(draw(st.integers(0, 999)))
    cast = {}
    for index in range(draw(st.integers(2, 3))):
        layer, where = draw(st.integers(0, 1)), draw(WHERE)
        others = draw(st.sets(st.tuples(st.integers(0, 1), WHERE), max_size=2)) - {(layer, where)}
        away = draw(st.sets(st.tuples(st.integers(0, 1), WHERE), max_size=2))
        vector = concept(
            f"c{index}", random.standard_normal(16), layer=layer, positions=where, gap=float(random.uniform(0.5, 4)),
            other_shifts={site: torch.from_numpy(random.standard_normal(16)) for site in others},
            away_shifts={site: torch.from_numpy(random.standard_normal(16)) for site in away},
        )  # fmt: skip
        cast[vector] = draw(st.sampled_from([1.0, -0.5, 2.0, 0.0]))
    return cast


def _acts(where: str, position: int) -> bool:
    """Whether the shift counts there, in composition: a scope counts until the end of the text."""
    return ":" in where or bool(position_weights(where, LENGTH, PREFIX)[position])


def added(shifts: dict[tuple[int, str], Any], layer: int) -> np.ndarray:
    """What shifts by site add at each position, "pos d_model"."""
    total = np.zeros((LENGTH, 16))
    for (at, where), row in shifts.items():
        if at == layer:
            total += position_weights(where, LENGTH, PREFIX).double().numpy()[:, None] * row.double().numpy()
    return total


@given(casts())
def test_every_position_gets_the_smallest_shift_with_the_projections_of_each_concept_alone(
    cast: dict[ConceptVector, float],
) -> None:
    point = compose(cast)
    for layer, position in np.ndindex(2, LENGTH):
        columns, asked = [], []
        for vector, dose in cast.items():
            by_scope: dict[str, Any] = {}  # shifts whose weights change alike are one shift
            shifts = vector.shifts_of(dose)
            for (at, where), row in shifts.items():
                if at == layer and _acts(where, position):
                    scope = where if ":" in where and position >= PREFIX else ""
                    by_scope[scope] = by_scope.get(scope, 0) + vector.scale * row.double().numpy()
            alone = dose * vector.scale * added(shifts, layer)[position]
            columns += by_scope.values()
            asked += [column @ alone for column in by_scope.values()]
        delta = added(point.deltas, layer)[position]
        if not columns:
            assert not delta.any()
            continue
        expected = np.linalg.pinv(np.stack(columns)) @ np.array(asked)
        assert np.allclose(delta, expected, atol=1e-4)


@given(casts())
def test_a_position_has_one_site_beside_those_that_fade(cast: dict[ConceptVector, float]) -> None:
    point = compose(cast)
    for layer in point.layers:
        names = [where for at, where in point.deltas if at == layer and ":" not in where]
        weights = sum((position_weights(where, LENGTH, PREFIX) for where in names), torch.zeros(LENGTH))
        assert weights.max() <= 1


@given(casts())
def test_a_concept_alone_is_added_as_it_is_and_sums_add_up(cast: dict[ConceptVector, float]) -> None:
    for vector, dose in cast.items():
        for layer in (0, 1):
            expected = dose * vector.scale * added(vector.shifts_of(dose), layer)
            assert np.allclose(added(compose({vector: dose}).deltas, layer), expected, atol=1e-5)
    total = sum(dose * vector.scale * added(vector.shifts_of(dose), 0) for vector, dose in cast.items())
    assert np.allclose(added(compose(cast, method="sum").deltas, 0), total, atol=1e-4)


@pytest.mark.parametrize(
    ("positions", "names"),
    [
        (("all", "all"), ["all"]),
        (("bos", "all"), ["bos", "not-bos"]),
        (("bos", "bos"), ["bos"]),
        (("bos", "not-bos"), ["bos", "not-bos"]),
        (("generated", "all"), ["bos", "generated", "prompt"]),
        (("first:3", "first:3"), ["first:3"]),
        (("first:3", "all"), ["bos", "generated", "generated*first:3", "prompt"]),
        (("first:3", "bos"), ["bos", "generated*first:3", "prompt"]),
    ],
)
def test_sites_have_as_few_names_as_they_need(positions: tuple[str, str], names: list[str]) -> None:
    cast = {axis("a", 1.0, positions=positions[0]): 1.0, axis("b", 0.5, 1.0, positions=positions[1]): 1.0}
    assert sorted(where for _, where in compose(cast).deltas) == names


def test_concepts_are_only_compared_where_they_act_together() -> None:
    at_start, everywhere = axis("a", 1.0, positions="bos"), axis("b", 1.0, 0.01, positions="not-bos")
    assert compose({at_start: 1.0, everywhere: 1.0}).positions is None
    with pytest.raises(VectorError, match="'a' and 'b' are nearly parallel"):
        compose({at_start: 1.0, axis("b", 1.0, 0.01): 1.0})
    wide = axis("c", 1.0, other_shifts={(1, "decay:2"): axis("c", 0.0, 1.0).direction})
    with pytest.raises(VectorError, match="nearly"):
        compose({wide: 1.0, axis("b", 1.0, 1.0): 1.0})


def test_concepts_move_to_the_positions_that_are_asked_for() -> None:
    both = axis("a", 1.0, other_shifts={(1, "bos"): axis("a", 0.0, 1.0).direction})
    start = axis("b", 0.0, 0.0, 1.0, positions="bos")
    point = compose({both: 1.0, start: 0.5}).scaled(0.5)
    later = point.at_positions("generated")
    assert later.positions == "generated" and later.scale == 0.5
    assert later.deltas[1, "generated"].tolist() == [1.0, 0.0, 0.5] + [0.0] * 13
    faded = point.at_positions("first:3")
    assert sorted(where for _, where in faded.deltas) == ["bos", "generated*first:3", "prompt"]
    assert faded.deltas[1, "bos"].tolist()[:3] == [1.0, 1.0, 0.5]
    single = compose({start: 1.0}).at_positions("all")
    assert list(single.deltas) == [(1, "all")]


def test_moving_keeps_the_start_token_apart_only_beside_other_positions() -> None:
    assert moved("bos", "all", several=False) == "all"
    assert moved("bos", "decay:2", several=True) == moved("bos", "bos", several=True) == "bos"
    assert moved("bos", "not-bos", several=True) is None
    assert moved("first:3", "all", several=True) == "all"


def test_a_point_without_concepts_has_nothing_to_move() -> None:
    point = SteeringPoint(deltas={(0, "bos"): torch.ones(4), (0, "not-bos"): torch.ones(4)}, doses={}, vectors=())
    with pytest.raises(InputError, match="no concepts to move: leave positions out"):
        point.at_positions("all")
    assert point.part_shift(0, "prompt") is not None and point.part_shift(1, "prompt") is None
    assert SteeringPoint(deltas={0: torch.ones(4)}, doses={}, vectors=()).positions == "all"
