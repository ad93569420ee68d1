"""Company of a pilot, from a library whose concepts are known."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from vectors.calibration.companions import ALONE, MIN_COMPANIONS, find_companions, library_companions
from vectors.concepts.library import keep
from vectors.concepts.vector import ConceptVector
from vectors.model.residual_model import ResidualModel


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STEER_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def concept(model: ResidualModel, name: str, seed: int, **given: object) -> ConceptVector:
    row = torch.randn(model.d_model, generator=torch.Generator().manual_seed(seed))
    made = ConceptVector(
        name=name, model=model.name, model_hash=model.hash, layer=1, direction=row / row.norm(),
        mean=torch.zeros(model.d_model), gap=1.0, unit=2.0, method="learned", positions="bos",
    )  # fmt: skip
    return replace(made, **given)


def test_company_is_what_can_be_composed_with_it(llama_model: ResidualModel, home: Path):
    own = concept(llama_model, "own", 0)
    assert find_companions(llama_model, own, seed=0) is None
    others = [concept(llama_model, f"other {seed}", seed) for seed in range(1, MIN_COMPANIONS)]
    for each in others:
        keep(each)
    for unlike in (
        concept(llama_model, "own", 10),
        concept(llama_model, "no unit", 11, unit=None),
        concept(llama_model, "everywhere", 13, positions="all"),
        concept(llama_model, "the same", 14, direction=own.direction),
        concept(llama_model, "the opposite", 15, direction=-own.direction),
    ):
        keep(unlike)
    assert find_companions(llama_model, own, seed=0) is None
    keep(concept(llama_model, "one more", 5))
    (next(home.iterdir()) / "damaged.safetensors").write_bytes(b"no vector")
    found = find_companions(llama_model, own, seed=0)
    assert (
        found is not None and found.names[0] == "own" and sorted(found.names[1:]) == ["one more", "other 1", "other 2"]
    )
    assert find_companions(llama_model, replace(own, other_layers={0: own.direction}), seed=0) is None


def test_every_sample_has_its_own_dose_and_that_of_one_other(llama_model: ResidualModel):
    own, *others = (concept(llama_model, str(seed), seed, unit=1.0 + seed) for seed in range(5))
    company = library_companions(own, others, seed=3)
    (rows,) = (rows.double() for rows in company(7.0, 300).values())
    assert torch.allclose(rows @ own.direction.double(), torch.full((300,), 7.0).double(), atol=0.01)
    along = rows @ torch.stack([each.direction for each in others]).double().T
    with_it = torch.isclose(along, torch.tensor([each.scale for each in others]).double(), atol=0.01)
    alone = torch.allclose(rows[~with_it.any(dim=1)], 7.0 * own.direction.double(), atol=0.01)
    assert alone and (with_it.sum(dim=1) <= 1).all()
    assert abs(float((~with_it.any(dim=1)).double().mean()) - ALONE) < 0.1
    assert (with_it.sum(dim=0) > 20).all()


def test_a_sample_has_the_same_company_at_every_length_and_of_any_number(llama_model: ResidualModel):
    own, *others = (concept(llama_model, str(seed), seed) for seed in range(4))
    company = library_companions(own, others, seed=1)
    few, many, longer, none = (company(*asked)[1] for asked in ((1.0, 5), (1.0, 9), (2.0, 5), (0.0, 5)))
    assert torch.equal(few, many[:5])
    basis = torch.stack([own.direction, *(each.direction for each in others)]).double()
    told = [np.round(np.linalg.lstsq(basis.T.numpy(), row.double().numpy(), rcond=None)[0], 4) for row in longer]
    assert all((abs(row[1:]) > 1e-3).sum() <= 1 for row in told)
    assert float((none @ own.direction).abs().max()) < 2.1  # of the company alone
    assert bool((none[few.norm(dim=1) < 1.01] == 0).all())


def test_company_of_another_layer_is_added_there(llama_model: ResidualModel):
    own, here = concept(llama_model, "own", 0), concept(llama_model, "here", 1)
    there = concept(llama_model, "there", 2, layer=0, unit=3.0)
    found = library_companions(own, [here, there], seed=2)(4.0, 60)
    assert set(found) == {0, 1}
    lengths = found[0].norm(dim=1)
    with_it = lengths > 0
    assert 10 < int(with_it.sum()) < 30
    assert torch.allclose(found[0][with_it], (there.direction * 3.0).expand(int(with_it.sum()), -1), atol=1e-5)
    assert torch.allclose(found[1] @ own.direction, torch.full((60,), 4.0), atol=0.01)
    assert torch.allclose(found[1][with_it], own.direction * 4.0, atol=0.01)  # one other at a time
