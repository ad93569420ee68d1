"""Companions of a concept in calibration, drawn from a library of known concepts."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from vectors.calibration.companions import (
    ALONE,
    MIN_COMPANIONS,
    LibraryCompanions,
    find_companions,
    learned_companions,
)
from vectors.concepts.library import keep
from vectors.concepts.vector import ConceptVector
from vectors.model.residual_model import ResidualModel


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STEER_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def concept(model: ResidualModel, name: str, seed: int, **changes: object) -> ConceptVector:
    row = torch.randn(model.d_model, generator=torch.Generator().manual_seed(seed))
    vector = ConceptVector(
        name=name, model=model.name, model_hash=model.hash, layer=1, direction=row / row.norm(),
        mean=torch.zeros(model.d_model), gap=1.0, unit=2.0, method="learned", positions="bos",
    )  # fmt: skip
    return replace(vector, **changes)


def test_companions_can_be_composed_with_the_concept(llama_model: ResidualModel, home: Path):
    own = concept(llama_model, "own", 0)
    assert find_companions(llama_model, own, seed=0) is None
    for seed in range(1, MIN_COMPANIONS):
        keep(concept(llama_model, f"other {seed}", seed))
    for unusable in (
        concept(llama_model, "own", 10),
        concept(llama_model, "no unit", 11, unit=None),
        concept(llama_model, "the same", 14, direction=own.direction),
        concept(llama_model, "the opposite", 15, direction=-own.direction),
    ):
        keep(unusable)
    assert find_companions(llama_model, own, seed=0) is None
    keep(concept(llama_model, "one more", 5))
    (next(home.iterdir()) / "damaged.safetensors").write_bytes(b"no vector")
    companions = find_companions(llama_model, own, seed=0)
    assert companions is not None and companions.names[0] == "own"
    assert sorted(companions.names[1:]) == ["one more", "other 1", "other 2"]
    everywhere = replace(own, positions="all", other_shifts={(0, "bos"): own.direction})
    assert find_companions(llama_model, everywhere, seed=0) is not None


def test_every_sample_has_the_shift_that_is_tried_and_at_most_one_companion(llama_model: ResidualModel):
    own, *others = (concept(llama_model, str(seed), seed, unit=1.0 + seed) for seed in range(5))
    companions = LibraryCompanions(vector=own, others=others, seed=3)
    (rows,) = (rows.double() for rows in companions(7.0, 300).values())
    assert torch.allclose(rows @ own.direction.double(), torch.full((300,), 7.0).double(), atol=0.01)
    projections = rows @ torch.stack([other.direction for other in others]).double().T
    active = torch.isclose(projections, torch.tensor([other.scale for other in others]).double(), atol=0.01)
    alone = ~active.any(dim=1)
    assert torch.allclose(rows[alone], 7.0 * own.direction.double(), atol=0.01)
    assert (active.sum(dim=1) <= 1).all()
    assert abs(float(alone.double().mean()) - ALONE) < 0.1
    assert (active.sum(dim=0) > 20).all()


def test_the_companions_of_a_sample_depend_on_neither_the_shift_nor_the_number_of_samples(llama_model: ResidualModel):
    own, *others = (concept(llama_model, str(seed), seed) for seed in range(4))
    companions = LibraryCompanions(vector=own, others=others, seed=1)
    few, many, longer, none = (companions(shift, n)[1, "bos"] for shift, n in ((1.0, 5), (1.0, 9), (2.0, 5), (0.0, 5)))
    assert torch.equal(few, many[:5])
    basis = torch.stack([own.direction, *(other.direction for other in others)]).double()
    coefficients = [
        np.round(np.linalg.lstsq(basis.T.numpy(), row.double().numpy(), rcond=None)[0], 4) for row in longer
    ]
    assert all((abs(row[1:]) > 1e-3).sum() <= 1 for row in coefficients)
    assert float((none @ own.direction).abs().max()) < 2.1  # the projection of the companions alone
    assert bool((none[few.norm(dim=1) < 1.01] == 0).all())


def test_a_companion_of_another_layer_is_added_at_that_layer(llama_model: ResidualModel):
    own, here = concept(llama_model, "own", 0), concept(llama_model, "here", 1)
    there = concept(llama_model, "there", 2, layer=0, unit=3.0)
    shifts = LibraryCompanions(vector=own, others=[here, there], seed=2)(4.0, 60)
    assert set(shifts) == {(0, "bos"), (1, "bos")}
    active = shifts[0, "bos"].norm(dim=1) > 0
    assert 10 < int(active.sum()) < 30
    assert torch.allclose(shifts[0, "bos"][active], (there.direction * 3.0).expand(int(active.sum()), -1), atol=1e-5)
    assert torch.allclose(shifts[1, "bos"] @ own.direction, torch.full((60,), 4.0), atol=0.01)
    assert torch.allclose(shifts[1, "bos"][active], own.direction * 4.0, atol=0.01)  # one companion at a time


def test_a_companion_at_other_positions_keeps_its_dose_where_both_act(llama_model: ResidualModel):
    own = concept(llama_model, "own", 0)
    others = [concept(llama_model, str(seed), seed, positions="all") for seed in range(1, 4)]
    companions = LibraryCompanions(vector=own, others=others, seed=2)
    shifts, alone = companions(4.0, 40), companions.alone(40)
    assert set(shifts) == {(1, "bos"), (1, "not-bos")}
    assert torch.allclose(shifts[1, "bos"] @ own.direction, torch.full((40,), 4.0), atol=0.01)
    for index, companion in enumerate(companions.drawn(40)):
        assert (companion is None) == alone[index]
        if companion is not None:
            assert float(shifts[1, "not-bos"][index] @ companion.direction) == pytest.approx(2.0, abs=0.01)


def test_companions_as_in_learning_are_concepts_of_texts_with_the_concept():
    shifts = torch.randn(3, 8, generator=torch.Generator().manual_seed(0)).double()
    has = np.array([[True, True, False]] * 3 + [[False, False, True]] * 3)
    companions = learned_companions(shifts, has, 0, layer=1, seed=4)
    rows = companions(2.5, 64)[1]
    direction, second = shifts[0] / shifts[0].norm(), shifts[1] / shifts[1].norm()
    assert torch.allclose(rows.double() @ direction, torch.full((64,), 2.5, dtype=torch.float64), atol=1e-2)
    alone = torch.isclose(rows.double(), direction * 2.5, atol=1e-2).all(dim=1)
    assert 16 < int(alone.sum()) < 48  # the second concept is active in half of them, the third in none
    assert torch.allclose(rows[~alone].double() @ second, shifts[1].norm(), atol=1e-2)
    # a sample has the same companions for any shift and number of samples; at shift zero it has nothing else
    assert torch.equal(companions(2.5, 16)[1], rows[:16])
    unshifted = companions(0.0, 64)[1]
    assert torch.allclose(unshifted[alone], torch.zeros(8)) and not unshifted[~alone].eq(0).all(dim=1).any()
