"""Recentring keeps doses, centres on the picked samples, replays, and refuses invalid picks."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import steer
from steer.composition.steering_point import SteeringPoint
from steer.runs.sample_set import SampleSet
from steer.sampling.replay import replayed
from steer.sampling.run_plan import SamplingOptions, make_plan
from steer.search.recentring import centre_point, picks_of, recentre
from vectors import keep
from vectors.activations import natural_covariance
from vectors.common.errors import InputError, ModelError, OutputError
from vectors.concepts.vector import ConceptVector
from vectors.model.residual_model import ResidualModel


@pytest.fixture
def two(llama_model: ResidualModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[ConceptVector]:
    """Two concepts in the model's library: what is recorded is found there again."""
    monkeypatch.setenv("STEER_HOME", str(tmp_path / "home"))
    sampled = []
    for seed, name in enumerate(("cat", "sea")):
        row = torch.randn(llama_model.d_model, generator=torch.Generator().manual_seed(seed))
        vector = ConceptVector(
            name=name, model=llama_model.name, model_hash=llama_model.hash, layer=1, direction=row / row.norm(),
            mean=torch.zeros(llama_model.d_model), gap=3.0, method="mean", positions="all",
        )  # fmt: skip
        keep(vector)
        sampled.append(vector)
    return sampled


def runs(model: ResidualModel, point: object, **options: object) -> SampleSet:
    return steer.sample(model, point, **({"n": 8, "seed": 4, "max_tokens": 10, "radius": 0.8} | options))  # type: ignore[arg-type]


def shift(model: ResidualModel, point: object, index: int, **options: object) -> torch.Tensor:
    return (
        make_plan(model, point, SamplingOptions(**({"seed": 4, "radius": 0.8} | options)))
        .shifts([index])[1, "all"][0]
        .double()
    )  # type: ignore[arg-type]


def test_radius_zero_around_one_pick_repeats_it(llama_model: ResidualModel, two: list[ConceptVector]) -> None:
    first = runs(llama_model, "cat + 0.5 sea")
    again = runs(llama_model, recentre(first, [5]), radius=0.0)
    at = make_plan(llama_model, recentre(first, [5])).point
    assert torch.allclose(at.deltas[1, "all"].double(), shift(llama_model, "cat + 0.5 sea", 5), atol=1e-6)
    assert again[5].tokens == first[5].tokens and again[0].doses == first[0].doses
    assert again[0].settings["around"] == {
        "picks": [{"seed": 4, "index": 5, "radius": 0.8, "geometry": "shell"}], "shrink": 0.7, "before": None,
    }  # fmt: skip


def test_a_centre_keeps_doses_and_the_radius_of_the_composed_point(
    llama_model: ResidualModel, two: list[ConceptVector]
) -> None:
    first = runs(llama_model, "cat + 0.5 sea")
    around = recentre(first, [1, 2, 6], shrink=0.5)
    assert around.radius == 0.4
    plan = make_plan(llama_model, around, SamplingOptions(seed=9))
    plain = steer.compose("cat + 0.5 sea", llama_model)
    assert plan.radius == 0.4
    rows = plan.shifts(range(50))[1, "all"].double()
    mean = torch.stack([shift(llama_model, "cat + 0.5 sea", i) for i in (1, 2, 6)]).mean(dim=0)
    for vector in plain.vectors:
        asked = float(vector.direction.double() @ plain.deltas[1, "all"].double())
        assert torch.allclose(rows @ vector.direction.double(), torch.full((50,), asked).double(), atol=1e-5)
    away = (rows - mean).norm(dim=1)
    assert torch.allclose(away, torch.full((50,), 0.4 * plain.norms[1, "all"]).double(), rtol=1e-4)
    # half of the variance between the picks, which are few of many dimensions
    apart = torch.stack([shift(llama_model, "cat + 0.5 sea", i) for i in (1, 2, 6)]) - mean
    span = torch.linalg.svd(apart)[2][:2]
    share = float(((rows - mean) @ span.T).square().sum() / (rows - mean).square().sum())
    assert 0.3 < share < 0.7


def test_a_chain_of_centres_replays(llama_model: ResidualModel, two: list[ConceptVector], tmp_path: Path) -> None:
    sampled = runs(llama_model, "cat + 0.5 sea")
    for depth in range(4):
        sampled = runs(llama_model, recentre(sampled, [1, depth]), radius=None, seed=depth)
        sampled = SampleSet.load(sampled.save(tmp_path / f"{depth}.jsonl"))
        again = replayed(llama_model, sampled)
        for sample, cost in zip(sampled, again, strict=True):
            assert cost.pressure["total"] == pytest.approx(sample.pressure["total"], abs=1e-3)
    told = sampled[0].settings["around"]
    assert told["before"]["before"]["before"]["before"] is None
    assert sampled[0].radius == pytest.approx(0.8 * 0.7**4)
    picks = picks_of(sampled[0])
    assert picks is not None and picks.to_dict() == told
    assert isinstance(centre_point(steer.compose("cat + 0.5 sea", llama_model), picks, None), SteeringPoint)


def test_natural_searches_replay_or_refuse_another_covariance(
    llama_model: ResidualModel, two: list[ConceptVector], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(natural_covariance, "TEXTS", 40)
    monkeypatch.setattr(natural_covariance, "MAX_TOKENS", 12)
    first = runs(llama_model, "cat + 0.5 sea", geometry="natural")
    assert list(first[0].settings["spread"]) == ["1"]
    stood = runs(llama_model, recentre(first, [1, 2]), geometry="natural", radius=None)
    for sampled in (first, stood, runs(llama_model, recentre(first, [3]), radius=None)):
        for sample, cost in zip(sampled, replayed(llama_model, sampled), strict=True):
            assert cost.pressure["total"] == pytest.approx(sample.pressure["total"], abs=1e-3)
    for place in (tmp_path / "home").rglob("*.spread"):
        place.unlink()
    monkeypatch.setattr(natural_covariance, "MAX_TOKENS", 10)
    with pytest.raises(ModelError, match=r"measured again after this run.*put back .*natural"):
        replayed(llama_model, first)


def test_a_run_within_a_budget_can_be_recentred(llama_model: ResidualModel, two: list[ConceptVector]) -> None:
    first = runs(llama_model, "cat + 0.5 sea", max_pressure=0.05, radius=0.5)
    assert first[0].settings["scale"] < 1
    sampled = runs(llama_model, recentre(first, [2, 3]), max_pressure=0.03, radius=None)
    for sample, cost in zip(sampled, replayed(llama_model, sampled), strict=True):
        assert cost.pressure["total"] == pytest.approx(sample.pressure["total"], abs=1e-3)


def test_caps_around_caps_keep_their_doses(llama_model: ResidualModel, two: list[ConceptVector]) -> None:
    sampled = runs(llama_model, "cat + 0.5 sea", geometry="cap")
    plain = steer.compose("cat + 0.5 sea", llama_model)
    for depth in range(3):
        around = recentre(sampled, [depth])
        at = make_plan(llama_model, around).point.deltas[1, "all"].double()
        for vector in plain.vectors:
            asked = float(vector.direction.double() @ plain.deltas[1, "all"].double())
            assert float(vector.direction.double() @ at) == pytest.approx(asked, rel=1e-5)
        sampled = runs(llama_model, around, geometry=None, radius=None)
        assert sampled[0].geometry == "cap"


def test_open_options_come_from_the_picked_run(llama_model: ResidualModel, two: list[ConceptVector]) -> None:
    first = runs(llama_model, "cat + 0.5 sea", prompt="the cat", gate=True, positions="first:4")
    stood = runs(llama_model, recentre(first, [1]), radius=None)
    assert (stood[0].prompt, stood[0].settings["gate"], stood[0].settings["positions"]) == ("the cat", True, "first:4")
    other = runs(llama_model, recentre(first, [1]), positions="all", prompt="the sea")
    assert (other[0].prompt, other[0].settings["positions"]) == ("the sea", "all")
    with pytest.raises(InputError, match="radius 0, and so one direction"):
        runs(llama_model, recentre(runs(llama_model, "cat", radius=0.0), [1]), radius=None)


def test_runs_with_and_without_a_centre_are_not_mixed(
    llama_model: ResidualModel, two: list[ConceptVector], tmp_path: Path
) -> None:
    first = runs(llama_model, "cat + 0.5 sea")
    place = tmp_path / "run.jsonl"
    runs(llama_model, recentre(first, [1]), n=2, output=place)
    with pytest.raises(OutputError, match="its around is"):
        runs(llama_model, "cat + 0.5 sea", n=4, output=place, resume=True)
    with pytest.raises(InputError, match="around"):
        SampleSet([first[0], SampleSet.load(place)[1]]).check_one_run()


def test_invalid_picks_are_refused(llama_model: ResidualModel, two: list[ConceptVector]) -> None:
    first = runs(llama_model, "cat + 0.5 sea")
    with pytest.raises(InputError, match="there is no sample 99: pick from 0, 1, 2"):
        recentre(first, [1, 99])
    with pytest.raises(InputError, match="no sample is picked"):
        recentre(first, [])
    with pytest.raises(InputError, match="shrink"):
        recentre(first, [1], shrink=-1.0)
    with pytest.raises(InputError, match="steered by nothing"):
        recentre(runs(llama_model, None), [1])
    keep(replace(two[0], direction=torch.roll(two[0].direction, 1)), force=True)
    with pytest.raises(ModelError, match="'cat' has changed since"):
        runs(llama_model, recentre(first, [1]))


@pytest.mark.parametrize(
    "bad",
    [3, [], {"picks": []}, {"picks": [{}], "shrink": 1}, {"picks": 7, "shrink": 1, "before": None},
     {"picks": [], "shrink": 1},
     {"picks": [{"seed": -1, "index": 0, "radius": 1, "geometry": "shell"}], "shrink": 1, "before": None},
     {"picks": [{"seed": 1, "index": 0, "radius": 1, "geometry": "cube"}], "shrink": 1, "before": None},
     {"picks": [{"seed": 1, "index": 0, "radius": 1, "geometry": "shell"}], "shrink": "x", "before": None}],
)  # fmt: skip
def test_a_damaged_record_is_one_line(llama_model: ResidualModel, two: list[ConceptVector], bad: object) -> None:
    first = runs(llama_model, "cat + 0.5 sea", n=2)
    broken = replace(first[0], settings=first[0].settings | {"around": bad})
    with pytest.raises(InputError) as caught:
        picks_of(broken)
    assert len(str(caught.value).splitlines()) == 1
    assert np.isfinite(len(json.dumps(bad)))
