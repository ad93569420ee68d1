"""Exploration: every sample replays, a file resumes completely, and invalid steps are refused."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import steer
from steer.runs.sample_file import SampleFile
from steer.runs.sample_set import SampleSet
from steer.sampling.exploration import WIDER, Exploration, Place, common
from steer.sampling.replay import replayed
from steer.sampling.run_plan import RunPlan, SamplingOptions, make_plan
from steer.search.recentring import recentre
from vectors import keep
from vectors.common.errors import InputError, ModelError, OutputError
from vectors.concepts.vector import ConceptVector
from vectors.model.residual_model import ResidualModel


@pytest.fixture
def plan(llama_model: ResidualModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunPlan:
    monkeypatch.setenv("STEER_HOME", str(tmp_path / "home"))
    for seed, name in enumerate(("cat", "sea")):
        row = torch.randn(llama_model.d_model, generator=torch.Generator().manual_seed(seed))
        keep(
            ConceptVector(
                name=name, model=llama_model.name, model_hash=llama_model.hash, layer=1, direction=row / row.norm(),
                mean=torch.zeros(llama_model.d_model), gap=3.0, method="mean", positions="all",
            )
        )  # fmt: skip
    return make_plan(llama_model, "cat + 0.5 sea", SamplingOptions(max_tokens=8, radius=0.8, seed=5))


def explored(model: ResidualModel, plan: RunPlan, path: Path) -> dict[int, str]:
    """Two screens, two nearer ones around two picks, one wider, back, and around one more."""
    with SampleFile(path, "new", common(plan, model)) as file:
        made = Exploration(model, plan, file, n=3)
        assert len(list(made.more())) == len(list(made.more())) == 3
        made.pick([1, 4])
        list(made.more())
        made.wider()
        list(made.more())
        assert made.back() and made.here.number == 1 and [sample.index for sample in made.screen] == [6, 7, 8]
        made.pick([7])
        list(made.more())
        assert [place.parent for place in made.places.values()] == [None, 0, 1, 1]
        return {index: sample.text for index, sample in made.samples.items()}


def test_every_sample_of_the_tree_replays(llama_model: ResidualModel, plan: RunPlan, tmp_path: Path) -> None:
    explored(llama_model, plan, tmp_path / "tree.jsonl")
    kept = SampleSet.load(tmp_path / "tree.jsonl")
    assert [sample.index for sample in kept] == list(range(15)) and {sample.seed for sample in kept} == {5}
    radii = {sample.index: sample.radius for sample in kept}
    assert [radii[index] for index in (0, 6, 9, 12)] == pytest.approx([0.8, 0.56, 0.56 * WIDER, 0.56 * 0.7])
    for start, end in ((0, 6), (6, 9), (9, 12), (12, 15)):
        for sample, cost in zip(kept[start:end], replayed(llama_model, kept[start:end]), strict=True):
            assert cost.pressure["total"] == pytest.approx(sample.pressure["total"], abs=1e-3)
    # any sample can be a pick by its index alone
    again = steer.sample(llama_model, recentre(kept, [7]), n=15, seed=5, max_tokens=8)
    assert [sample.tokens for sample in again[12:15]] == [sample.tokens for sample in kept[12:15]]
    with pytest.raises(InputError, match="sample 7 is of another run than sample 1"):
        recentre(kept, [1, 7])


@pytest.mark.parametrize("lost", [0, 1, 2, 4, 8])
def test_a_truncated_file_resumes_to_the_same_tree(
    llama_model: ResidualModel, plan: RunPlan, tmp_path: Path, lost: int
) -> None:
    texts = explored(llama_model, plan, tmp_path / "tree.jsonl")
    lines = (tmp_path / "tree.jsonl").read_text().splitlines(keepends=True)
    torn = "".join(lines[: 15 - lost]) + ("" if not lost else lines[15 - lost][:40])
    (tmp_path / "tree.jsonl").write_text(torn)
    with SampleFile(tmp_path / "tree.jsonl", "resume") as file:
        made = Exploration.resumed(llama_model, file)
        assert len(made.samples) == 15 - lost and len(made.wanted) == (-(15 - lost)) % 3
        if made.wanted:
            list(made.more())
        last = made.here.number
        if last == 0:
            made.pick([1, 4])
            list(made.more())
        assert {index: made.samples[index].text for index in made.samples} == {
            index: texts[index] for index in made.samples
        }
    kept = SampleSet.load(tmp_path / "tree.jsonl")
    assert len(kept) == len(made.samples)


def test_an_interrupted_screen_is_completed(llama_model: ResidualModel, plan: RunPlan, tmp_path: Path) -> None:
    with SampleFile(tmp_path / "tree.jsonl", "new", common(plan, llama_model)) as file:
        made = Exploration(llama_model, plan, file, n=3)
        next(samples := made.more())
        samples.close()
        assert len(made.wanted) == 2 and len(made.screen) == 1
        assert {sample.index for sample in made.more()} | {made.screen[0].index} <= {0, 1, 2}
        assert made.wanted == [] and len(SampleSet.load(tmp_path / "tree.jsonl")) == 3


def test_places_without_samples_are_not_kept(llama_model: ResidualModel, plan: RunPlan, tmp_path: Path) -> None:
    with SampleFile(tmp_path / "tree.jsonl", "new", common(plan, llama_model)) as file:
        made = Exploration(llama_model, plan, file, n=2)
        list(made.more())
        made.pick([0])
        made.more().close()  # stopped before the first
        made.wider()
        assert made.here.parent == 0 and made.here.number == 1
        list(made.more())
        assert made.back() and made.here.number == 0
        made.pick([1])
        list(made.more())
        made.go(1)
        with pytest.raises(InputError, match="no place 9: go to one of 0, 1, 2"):
            made.go(9)
        made.here = Place(3, 1, replace(plan, gate=True, positions="bos"))  # where nothing can be sampled
        with pytest.raises(InputError, match="gate"):
            made.more()
        assert made.here.number == 1
    with SampleFile(tmp_path / "tree.jsonl", "resume") as file:
        again = Exploration.resumed(llama_model, file)
        assert sorted(again.places) == [0, 1, 2] and again.here.number == 2
        assert {place.number: place.parent for place in again.places.values()} == {0: None, 1: 0, 2: 0}
        assert again.samples == made.samples


def test_a_screen_is_completed_after_other_places(llama_model: ResidualModel, plan: RunPlan, tmp_path: Path) -> None:
    with SampleFile(tmp_path / "tree.jsonl", "new", common(plan, llama_model)) as file:
        made = Exploration(llama_model, plan, file, n=2)
        samples = made.more()
        first = next(samples).index
        samples.close()
        made.pick([first])
        list(made.more())
        made.back()
        assert made.wanted == [1 - first]
        assert [sample.index for sample in made.more()] == [1 - first]


def test_vectors_of_the_callers_own_can_be_explored(
    llama_model: ResidualModel, plan: RunPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEER_HOME", str(tmp_path / "nowhere"))
    with SampleFile(tmp_path / "tree.jsonl", "new", common(plan, llama_model)) as file:
        made = Exploration(llama_model, plan, file, n=2)
        list(made.more())
        made.pick([0, 1])
        list(made.more())
    with (
        SampleFile(tmp_path / "tree.jsonl", "resume") as file,
        pytest.raises(
            InputError, match=r"steered by 'cat', which the library lacks: copy its file to .*cat.safetensors'"
        ),
    ):
        Exploration.resumed(llama_model, file)


def test_a_removed_file_is_noticed(llama_model: ResidualModel, plan: RunPlan, tmp_path: Path) -> None:
    with SampleFile(tmp_path / "tree.jsonl", "new", common(plan, llama_model)) as file:
        made = Exploration(llama_model, plan, file, n=2)
        list(made.more())
        (tmp_path / "tree.jsonl").unlink()
        with pytest.raises(OutputError, match="removed or replaced"):
            made.more()


def test_refused_steps_change_nothing(llama_model: ResidualModel, plan: RunPlan, tmp_path: Path) -> None:
    with SampleFile(tmp_path / "tree.jsonl", "new", common(plan, llama_model)) as file:
        made = Exploration(llama_model, plan, file, n=2)
        with pytest.raises(InputError, match="no sample to save yet"):
            made.save(tmp_path / "none.jsonl")
        list(made.more())
        made.pick([0])
        list(made.more())
        for picks, said in (
            ([], "no sample is picked"),
            ([9], "no sample 9: pick by .* such as 2"),
            ([1, 2], "different"),
        ):
            with pytest.raises(InputError, match=said):
                made.pick(picks)
        assert made.here.number == 1 and len(made.places) == 2
        made.pick([1])  # of the place before
        assert made.here.parent == 0
        with pytest.raises(InputError, match="no sample 9 to save"):
            made.save(tmp_path / "none.jsonl", [0, 9])
        with pytest.raises(InputError, match="different places"):
            made.save(tmp_path / "none.jsonl", [2, 0])
        made.save(tmp_path / "best.jsonl", [1, 0])
        assert [sample.index for sample in SampleSet.load(tmp_path / "best.jsonl")] == [0, 1]
        with pytest.raises(OutputError, match="exists"):
            made.save(tmp_path / "best.jsonl", [0])
        with pytest.raises(OutputError, match="another process"), SampleFile(tmp_path / "tree.jsonl", "resume"):
            pass
    for bad, said in (
        ({"radius": 0.0}, "radius is 0"),
        ({"point": make_plan(llama_model, {"cat": 0.0}).point}, "dose is 0"),
    ):
        with pytest.raises(InputError, match=said):
            Exploration(
                llama_model,
                RunPlan(**({"point": plan.point, "positions": plan.positions, "radius": 1.0} | bad)),
                file,
                n=2,
            )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"place": None}, "has no place"),
        ({"place": 7, "parent": 8}, "before its samples"),
        ({"of": 0}, "has no place"),
        ({"screen": "x"}, "screen"),
        ({"parent": 99, "place": 1}, "before its samples"),
        ({"of": 10**9}, "has no place"),
        ({"seed": 6}, "is of another run than its place"),
        ({"doses": {"cat": 2.0, "sea": 0.5}}, "is of another run than its place"),
        ({"radius": -1.0}, "radius"),
        ({"model": "other"}, "is of another run than its place"),
    ],
)
def test_damaged_files_are_refused_in_one_line(
    llama_model: ResidualModel, plan: RunPlan, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    explored(llama_model, plan, tmp_path / "tree.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "tree.jsonl").read_text().splitlines()]
    lines[6] |= change
    (tmp_path / "tree.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with SampleFile(tmp_path / "tree.jsonl", "resume") as file, pytest.raises(InputError, match=said) as caught:
        Exploration.resumed(llama_model, file)
    assert len(str(caught.value).splitlines()) == 1


def test_files_of_another_run_or_model_are_refused(
    llama_model: ResidualModel, plan: RunPlan, tmp_path: Path, model_folder: Any
) -> None:
    steer.sample(llama_model, plan.point, n=1, max_tokens=4, output=tmp_path / "run.jsonl")
    (tmp_path / "empty.jsonl").write_text("")
    for name, said in (("run", "has no place"), ("empty", "has no samples")):
        with SampleFile(tmp_path / f"{name}.jsonl", "resume") as file, pytest.raises(InputError, match=said):
            Exploration.resumed(llama_model, file)
    explored(llama_model, plan, tmp_path / "tree.jsonl")
    from vectors.model.residual_model import load_model

    with SampleFile(tmp_path / "tree.jsonl", "resume") as file, pytest.raises(ModelError, match="other weights"):
        Exploration.resumed(load_model(str(model_folder("gpt2")), "cpu"), file)
