"""Composition against an independent pseudo-inverse, and its refusals."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.points import axis, concept
from hypothesis import given
from hypothesis import strategies as st

from steer.composition import expression, steering_point
from steer.composition.forecast import forecast
from steer.composition.steering_point import compose
from vectors.common.errors import InputError, VectorError
from vectors.concepts import library, vector_file
from vectors.concepts.vector import ConceptVector


@dataclass
class Stand:
    """As much of a model as composition looks at."""

    name: str = "tiny"
    hash: str = "0123456789abcdef"
    n_layers: int = 4
    d_model: int = 16
    library: Path | None = None


# a shift too small for float32 is refused
DOSES = st.just(0.0) | st.floats(1e-6, 3) | st.floats(-3, -1e-6)
FACTORS = st.just(0.0) | st.floats(1e-6, 2) | st.floats(-2, -1e-6)


@st.composite
def casts(draw: st.DrawFn) -> list[tuple[Any, float, float]]:
    """A few random directions in 16 dimensions, far from parallel with near certainty, each with a unit and a dose."""
    generator = np.random.default_rng(draw(st.integers(0, 10**6)))
    size = draw(st.integers(1, 4))
    doses = draw(st.lists(DOSES, min_size=size, max_size=size))
    scales = draw(st.lists(st.floats(0.1, 10), min_size=size, max_size=size))
    rows = generator.standard_normal((size, 16)) + 0.5
    return list(zip(rows, scales, doses, strict=True))


def built(raw: list[tuple[Any, float, float]]) -> dict[ConceptVector, float]:
    return {concept(f"c{i}", row, unit=unit): dose for i, (row, unit, dose) in enumerate(raw)}


@given(casts())
def test_the_point_is_the_smallest_with_the_requested_projections(raw: list[tuple[Any, float, float]]) -> None:
    cast = built(raw)
    delta = compose(cast).deltas[1, "all"].double().numpy()
    directions = np.stack([vector.direction.double().numpy() for vector in cast])
    asked = np.array([dose * vector.scale for vector, dose in cast.items()])
    size = max(1.0, float(np.abs(asked).max()))
    assert np.allclose(directions @ delta, asked, atol=2e-6 * size)
    # the pseudo-inverse of the constraints gives the minimum-norm solution
    assert np.allclose(delta, np.linalg.pinv(directions) @ asked, atol=2e-6 * size)


@given(casts(), FACTORS)
def test_composition_is_linear_in_the_doses(raw: list[tuple[Any, float, float]], factor: float) -> None:
    cast = built(raw)
    point = compose(cast)
    again = compose({vector: factor * dose for vector, dose in cast.items()})
    assert torch.allclose(again.deltas[1, "all"], factor * point.deltas[1, "all"], atol=1e-4)


@given(casts())
def test_the_order_of_concepts_does_not_matter(raw: list[tuple[Any, float, float]]) -> None:
    cast = built(raw)
    other = compose(dict(reversed(cast.items())))
    assert torch.allclose(other.deltas[1, "all"], compose(cast).deltas[1, "all"], atol=1e-4)


@given(casts())
def test_plain_summation_adds_the_scaled_directions(raw: list[tuple[Any, float, float]]) -> None:
    cast = built(raw)
    expected = sum(dose * vector.scale * vector.direction.double() for vector, dose in cast.items())
    assert isinstance(expected, torch.Tensor)
    assert torch.allclose(compose(cast, method="sum").deltas[1, "all"].double(), expected, atol=1e-4)


@given(casts())
def test_the_span_is_an_orthonormal_basis_of_the_concepts(raw: list[tuple[Any, float, float]]) -> None:
    cast = built(raw)
    basis = compose(cast).span(1).numpy()
    assert basis.shape == (len(cast), 16)
    assert np.allclose(basis @ basis.T, np.eye(len(cast)), atol=1e-12)
    rows = np.stack([vector.direction.double().numpy() for vector in cast])
    assert np.allclose(rows @ basis.T @ basis, rows, atol=1e-6)


def test_orthogonal_concepts_keep_their_own_shifts() -> None:
    point = compose({axis("cat", 1.0): 1.0, axis("sea", 0.0, 1.0, unit=5.0): -0.5})
    assert point.deltas[1, "all"].tolist() == [2.0, -2.5] + [0.0] * 14
    assert point.deltas[1, "all"].dtype == torch.float32
    assert point.doses == {"cat": 1.0, "sea": -0.5}
    assert point.expression == "cat - 0.5 sea"
    assert point.norms[1, "all"] == pytest.approx(np.hypot(2.0, 2.5))


def test_a_dose_of_zero_holds_its_concept_at_zero() -> None:
    cat, pet = axis("cat", 1.0), axis("pet", 1.0, 1.0)
    held = compose({cat: 1.0, pet: 0.0}).deltas[1, "all"]
    assert float(held @ pet.direction) == pytest.approx(0.0, abs=1e-6)
    assert float(held @ cat.direction) == pytest.approx(2.0)
    assert float(compose({cat: 1.0}).deltas[1, "all"] @ pet.direction) > 1.0


def test_all_doses_zero_compose_to_the_base_model() -> None:
    point = compose({axis("cat", 1.0): 0.0, axis("pet", 1.0, 1.0): -0.0})
    assert not point.deltas[1, "all"].any()
    assert not torch.signbit(point.deltas[1, "all"]).any()


def test_layers_are_composed_separately() -> None:
    low, high = axis("low", 1.0, layer=0), axis("high", 1.0, layer=3)
    point = compose({high: 1.0, low: 1.0})  # parallel, but they never meet
    assert point.layers == (0, 3)
    assert point.deltas[0, "all"].tolist() == compose({low: 1.0}).deltas[0, "all"].tolist()
    assert point.span(3).shape == (1, 16)
    with pytest.raises(InputError, match="layer 2 is not steered by this point: choose from 0, 3"):
        point.span(2)


def test_a_vector_of_several_layers_is_dosed_at_each_of_them() -> None:
    wide = axis("wide", 1.0, unit=3.0, layer=0, other_shifts={2: torch.tensor([0.0, 0.5] + [0.0] * 14)})
    other = axis("other", 1.0, 1.0, unit=1.0, layer=2)
    point = compose({wide: 2.0, other: 1.0})
    assert point.layers == (0, 2)
    assert point.deltas[0, "all"].tolist() == pytest.approx([6.0] + [0.0] * 15)
    # at layer 2: dose 2 x unit 3 x length 0.5 along the second axis, and 1 along the diagonal
    assert point.deltas[2, "all"][:2].tolist() == pytest.approx([2**0.5 - 3.0, 3.0], abs=1e-6)
    assert point.span(2).shape == (2, 16) and point.span(0).shape == (1, 16)
    assert forecast(point).cosines == {("wide", "other"): pytest.approx(0.5**0.5)}
    with pytest.raises(InputError, match="a gate needs to know what is natural"):
        point.moves(gate=True)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_near_parallel_concepts_are_named(sign: float) -> None:
    cast = {axis("cat", 1.0): 1.0, axis("sea", 0.0, 0.0, 1.0): 1.0, axis("kitten", sign, 0.2): 1.0}
    with pytest.raises(VectorError, match=r"'cat' and 'kitten' are nearly parallel \(cosine -?0.981"):
        compose(cast)
    assert compose(cast, method="sum").layers == (1,)


def test_cosines_just_below_the_limit_pass() -> None:
    def pair(cosine: float) -> dict[ConceptVector, float]:
        return {axis("a", 1.0): 1.0, axis("b", cosine, float(np.sqrt(1 - cosine**2))): 1.0}

    assert compose(pair(0.949)).layers == (1,)
    with pytest.raises(VectorError, match="nearly parallel"):
        compose(pair(0.951))


def test_a_dependent_triple_is_refused_by_name() -> None:
    cast = {axis("a", 1.0): 1.0, axis("b", 0.0, 1.0): 1.0, axis("c", 1.0, 1.0): 1.0, axis("free", 0.0, 0.0, 1.0): 1.0}
    with pytest.raises(VectorError, match=r"concepts 'a', 'b', 'c' are nearly dependent \(condition number"):
        compose(cast)


def test_more_concepts_than_dimensions_are_refused() -> None:
    angles = (0.0, 1.0, 2.0)
    with pytest.raises(VectorError, match="nearly dependent"):
        compose({concept(f"c{a}", [np.cos(a), np.sin(a)]): 1.0 for a in angles})


def test_two_vectors_of_one_name_are_refused_but_one_twice_adds(tmp_path: Path) -> None:
    cat = axis("cat", 1.0)
    with pytest.raises(VectorError, match="two different vectors are both named 'cat'"):
        compose({cat: 1.0, axis("cat", 0.0, 1.0): 1.0})
    path = vector_file.save(cat, tmp_path / "cat.safetensors")
    doses: dict[ConceptVector | str, float] = {cat: 1.0, str(path): 0.5}
    point = compose(doses, Stand())
    assert point.doses == {"cat": 1.5}
    assert point.deltas[1, "all"][0] == pytest.approx(3.0)


def test_names_paths_and_vectors_give_the_same_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEER_HOME", str(tmp_path))
    cat, sea = axis("cat", 1.0), axis("sea", 0.5, 1.0)
    library.keep(cat)
    path = vector_file.save(sea, tmp_path / "mine.safetensors")
    mixed: dict[ConceptVector | str, float] = {"cat": 1.0, sea: -0.5}
    points = [
        compose({cat: 1.0, sea: -0.5}),
        compose(f"cat - 0.5 '{path}'", Stand()),
        compose(mixed, Stand()),
    ]
    for point in points:
        assert torch.equal(point.deltas[1, "all"], points[0].deltas[1, "all"])
        assert point.expression == "cat - 0.5 sea"
    with pytest.raises(InputError, match=r"'cta'.*nearest are cat; `steer ls`"):
        compose("cta", Stand())


def test_vectors_of_two_models_are_refused() -> None:
    cat, sea = axis("cat", 1.0), axis("sea", 0.0, 1.0, model="other", model_hash="ffff")
    with pytest.raises(VectorError, match=r"'tiny' \(width 16\) and 'sea' for 'other' \(width 16\)"):
        compose({cat: 1.0, sea: 1.0})
    narrow = concept("sea", [0.0, 1.0])
    with pytest.raises(VectorError, match=r"\(width 16\).*\(width 2\)"):
        compose({cat: 1.0, narrow: 1.0})
    with pytest.raises(VectorError, match=r"'tiny' \(width 16.*'gpt2' \(width 768"):
        compose({cat: 1.0}, Stand(name="gpt2", hash="ffff", d_model=768))
    renamed = replace(axis("sea", 0.0, 1.0), model="same weights")
    assert compose({cat: 1.0, renamed: 1.0}, Stand(name="third name")).layers == (1,)


@pytest.mark.parametrize("dose", [float("nan"), float("inf"), -1001.0])
def test_invalid_doses_are_refused(dose: float) -> None:
    with pytest.raises(InputError, match="the dose of 'cat' is"):
        compose({axis("cat", 1.0): dose})


def test_other_arguments_are_refused() -> None:
    with pytest.raises(InputError, match="at least one concept"):
        compose({})
    with pytest.raises(InputError, match="pass the model whose library holds it"):
        compose("cat")
    with pytest.raises(InputError, match="choose from exact, sum"):
        compose({axis("cat", 1.0): 1.0}, method="mean")
    with pytest.raises(VectorError, match="layer 1 is too small for float32"):
        compose({axis("cat", 1.0): 1e-60})
    with pytest.raises(VectorError, match="layer 1 overflows float32"):
        compose({axis("cat", 1.0, gap=1e300): 1.0})


def test_an_expression_is_parsed_once_and_each_dose_checked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def count(module: Any, name: str) -> None:
        real = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *arguments: calls.append(name) or real(*arguments))

    for module, name in ((expression, "check_dose"), (steering_point, "check_dose"), (steering_point, "parse")):
        count(module, name)
    vectors = {"cat": axis("cat", 1), "sea": axis("sea", 0, 1)}
    monkeypatch.setattr(library, "load", lambda name, model: vectors[name])
    compose("cat + 0.8 sea", Stand())
    assert calls == ["parse", "check_dose", "check_dose"]
    calls.clear()
    compose(expression.parse("cat + 0.8 sea"), Stand())  # as the commands do, which parse before they load a model
    assert calls == ["check_dose", "check_dose"]
    calls.clear()
    compose({vectors["cat"]: 1.0, vectors["sea"]: 0.8})
    assert calls == ["check_dose", "check_dose"]


def test_some_layers_of_vectors_of_several() -> None:
    rows = {layer: axis("v", *np.eye(4)[layer]).direction for layer in (0, 2, 3)}
    wide, cat = axis("v", 0.0, 1.0, other_shifts=rows), axis("cat", 0, 0, 0, 0, 1.0)
    assert compose({wide: 1.0}, layers="2-").layers == (2, 3)
    point = compose({wide: 1.0, cat: 2.0}, layers=[np.int64(0), 3])
    assert point.layers == (0, 1, 3) and point.chosen_layers == "0,3"  # that of one layer stays
    whole = compose({wide: 1.0})
    assert all(torch.equal(point.deltas[layer, "all"], whole.deltas[layer, "all"]) for layer in (0, 3))
    with pytest.raises(InputError, match=r"'v' has no layer 9: choose from 0-3"):
        compose({wide: 1.0}, layers=9)
    with pytest.raises(InputError, match=r"'cat' each steer at one: leave --layers"):
        compose({cat: 1.0}, layers="2-3")
    with pytest.raises(InputError, match="a gate needs the layers"):
        point.moves(gate=True)


def test_parallel_vectors_can_be_summed_as_the_message_says() -> None:
    one, other = axis("one", 1.0), axis("other", 1.0, 0.1)
    with pytest.raises(VectorError, match=r"nearly parallel.*--method sum \(method='sum'\)"):
        compose({one: 1.0, other: -1.0})
    point = compose({one: 1.0, other: -1.0}, method="sum")
    assert torch.allclose(point.deltas[1, "all"], 2.0 * (one.direction - other.direction), atol=1e-6)
