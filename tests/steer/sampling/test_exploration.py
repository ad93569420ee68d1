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
from steer.sampling.exploration import WIDER, Exploration, Node, shared_fields
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


def explore(model: ResidualModel, plan: RunPlan, path: Path) -> dict[int, str]:
    """Sample two screens, one around two picks, one at a wider radius; then go back and sample around one text."""
    with SampleFile(path, "new", shared_fields(plan, model)) as file:
        exploration = Exploration(model, plan, file, n=3)
        assert len(list(exploration.sample_screen())) == len(list(exploration.sample_screen())) == 3
        exploration.pick([1, 4])
        list(exploration.sample_screen())
        exploration.widen()
        list(exploration.sample_screen())
        assert (
            exploration.go_back()
            and exploration.current.number == 1
            and [sample.index for sample in exploration.screen] == [6, 7, 8]
        )
        exploration.pick([7])
        list(exploration.sample_screen())
        assert [node.parent for node in exploration.nodes.values()] == [None, 0, 1, 1]
        return {index: sample.text for index, sample in exploration.samples.items()}


def test_every_sample_of_the_tree_replays(llama_model: ResidualModel, plan: RunPlan, tmp_path: Path) -> None:
    explore(llama_model, plan, tmp_path / "tree.jsonl")
    saved = SampleSet.load(tmp_path / "tree.jsonl")
    assert [sample.index for sample in saved] == list(range(15)) and {sample.seed for sample in saved} == {5}
    radii = {sample.index: sample.radius for sample in saved}
    assert [radii[index] for index in (0, 6, 9, 12)] == pytest.approx([0.8, 0.56, 0.56 * WIDER, 0.56 * 0.7])
    for start, end in ((0, 6), (6, 9), (9, 12), (12, 15)):
        for sample, cost in zip(saved[start:end], replayed(llama_model, saved[start:end]), strict=True):
            assert cost.pressure["total"] == pytest.approx(sample.pressure["total"], abs=1e-3)
    # any sample can be a pick by its index alone
    again = steer.sample(llama_model, recentre(saved, [7]), n=15, seed=5, max_tokens=8)
    assert [sample.tokens for sample in again[12:15]] == [sample.tokens for sample in saved[12:15]]
    with pytest.raises(InputError, match="sample 7 is of another run than sample 1"):
        recentre(saved, [1, 7])


@pytest.mark.parametrize("lost", [0, 1, 2, 4, 8])
def test_a_truncated_file_resumes_to_the_same_tree(
    llama_model: ResidualModel, plan: RunPlan, tmp_path: Path, lost: int
) -> None:
    texts = explore(llama_model, plan, tmp_path / "tree.jsonl")
    lines = (tmp_path / "tree.jsonl").read_text().splitlines(keepends=True)
    torn = "".join(lines[: 15 - lost]) + ("" if not lost else lines[15 - lost][:40])
    (tmp_path / "tree.jsonl").write_text(torn)
    with SampleFile(tmp_path / "tree.jsonl", "resume") as file:
        exploration = Exploration.resumed(llama_model, file)
        assert len(exploration.samples) == 15 - lost and len(exploration.missing) == (-(15 - lost)) % 3
        if exploration.missing:
            list(exploration.sample_screen())
        last = exploration.current.number
        if last == 0:
            exploration.pick([1, 4])
            list(exploration.sample_screen())
        assert {index: exploration.samples[index].text for index in exploration.samples} == {
            index: texts[index] for index in exploration.samples
        }
    saved = SampleSet.load(tmp_path / "tree.jsonl")
    assert len(saved) == len(exploration.samples)


def test_an_interrupted_screen_is_completed(llama_model: ResidualModel, plan: RunPlan, tmp_path: Path) -> None:
    with SampleFile(tmp_path / "tree.jsonl", "new", shared_fields(plan, llama_model)) as file:
        exploration = Exploration(llama_model, plan, file, n=3)
        next(samples := exploration.sample_screen())
        samples.close()
        assert len(exploration.missing) == 2 and len(exploration.screen) == 1
        assert {sample.index for sample in exploration.sample_screen()} | {exploration.screen[0].index} <= {0, 1, 2}
        assert exploration.missing == [] and len(SampleSet.load(tmp_path / "tree.jsonl")) == 3


def test_nodes_without_samples_are_dropped(llama_model: ResidualModel, plan: RunPlan, tmp_path: Path) -> None:
    with SampleFile(tmp_path / "tree.jsonl", "new", shared_fields(plan, llama_model)) as file:
        exploration = Exploration(llama_model, plan, file, n=2)
        list(exploration.sample_screen())
        exploration.pick([0])
        exploration.sample_screen().close()  # stopped before the first
        exploration.widen()
        assert exploration.current.parent == 0 and exploration.current.number == 1
        list(exploration.sample_screen())
        assert exploration.go_back() and exploration.current.number == 0
        exploration.pick([1])
        list(exploration.sample_screen())
        exploration.go_to(1)
        with pytest.raises(InputError, match="no node 9: go to one of 0, 1, 2"):
            exploration.go_to(9)
        exploration.current = Node(3, 1, replace(plan, gate=True, positions="bos"))  # where nothing can be sampled
        with pytest.raises(InputError, match="gate"):
            exploration.sample_screen()
        assert exploration.current.number == 1
    with SampleFile(tmp_path / "tree.jsonl", "resume") as file:
        again = Exploration.resumed(llama_model, file)
        assert sorted(again.nodes) == [0, 1, 2] and again.current.number == 2
        assert {node.number: node.parent for node in again.nodes.values()} == {0: None, 1: 0, 2: 0}
        assert again.samples == exploration.samples


def test_a_screen_is_completed_after_a_visit_to_another_node(
    llama_model: ResidualModel, plan: RunPlan, tmp_path: Path
) -> None:
    with SampleFile(tmp_path / "tree.jsonl", "new", shared_fields(plan, llama_model)) as file:
        exploration = Exploration(llama_model, plan, file, n=2)
        samples = exploration.sample_screen()
        first = next(samples).index
        samples.close()
        exploration.pick([first])
        list(exploration.sample_screen())
        exploration.go_back()
        assert exploration.missing == [1 - first]
        assert [sample.index for sample in exploration.sample_screen()] == [1 - first]


def test_vectors_of_the_callers_own_can_be_explored(
    llama_model: ResidualModel, plan: RunPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEER_HOME", str(tmp_path / "nowhere"))
    with SampleFile(tmp_path / "tree.jsonl", "new", shared_fields(plan, llama_model)) as file:
        exploration = Exploration(llama_model, plan, file, n=2)
        list(exploration.sample_screen())
        exploration.pick([0, 1])
        list(exploration.sample_screen())
    with (
        SampleFile(tmp_path / "tree.jsonl", "resume") as file,
        pytest.raises(
            InputError, match=r"steered by 'cat', which the library lacks: copy its file to .*cat.safetensors'"
        ),
    ):
        Exploration.resumed(llama_model, file)


def test_a_removed_file_is_noticed(llama_model: ResidualModel, plan: RunPlan, tmp_path: Path) -> None:
    with SampleFile(tmp_path / "tree.jsonl", "new", shared_fields(plan, llama_model)) as file:
        exploration = Exploration(llama_model, plan, file, n=2)
        list(exploration.sample_screen())
        (tmp_path / "tree.jsonl").unlink()
        with pytest.raises(OutputError, match="removed or replaced"):
            exploration.sample_screen()


def test_refused_steps_change_nothing(llama_model: ResidualModel, plan: RunPlan, tmp_path: Path) -> None:
    with SampleFile(tmp_path / "tree.jsonl", "new", shared_fields(plan, llama_model)) as file:
        exploration = Exploration(llama_model, plan, file, n=2)
        with pytest.raises(InputError, match="no sample to save yet"):
            exploration.save(tmp_path / "none.jsonl")
        list(exploration.sample_screen())
        exploration.pick([0])
        list(exploration.sample_screen())
        for picks, message in (
            ([], "no sample is picked"),
            ([9], "no sample 9: pick by .* such as 2"),
            ([1, 2], "different"),
        ):
            with pytest.raises(InputError, match=message):
                exploration.pick(picks)
        assert exploration.current.number == 1 and len(exploration.nodes) == 2
        exploration.pick([1])  # a sample of the parent node
        assert exploration.current.parent == 0
        with pytest.raises(InputError, match="no sample 9 to save"):
            exploration.save(tmp_path / "none.jsonl", [0, 9])
        with pytest.raises(InputError, match="different nodes"):
            exploration.save(tmp_path / "none.jsonl", [2, 0])
        exploration.save(tmp_path / "best.jsonl", [1, 0])
        assert [sample.index for sample in SampleSet.load(tmp_path / "best.jsonl")] == [0, 1]
        with pytest.raises(OutputError, match="exists"):
            exploration.save(tmp_path / "best.jsonl", [0])
        with pytest.raises(OutputError, match="another process"), SampleFile(tmp_path / "tree.jsonl", "resume"):
            pass
    for bad, message in (
        ({"radius": 0.0}, "radius is 0"),
        ({"point": make_plan(llama_model, {"cat": 0.0}).point}, "dose is 0"),
    ):
        with pytest.raises(InputError, match=message):
            Exploration(
                llama_model,
                RunPlan(**({"point": plan.point, "positions": plan.positions, "radius": 1.0} | bad)),
                file,
                n=2,
            )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"place": None}, "has no screen of an exploration"),
        ({"place": 7, "parent": 8}, "before its samples"),
        ({"of": 0}, "has no screen of an exploration"),
        ({"screen": "x"}, "screen"),
        ({"parent": 99, "place": 1}, "before its samples"),
        ({"of": 10**9}, "has no screen of an exploration"),
        ({"seed": 6}, "is of another run than its node"),
        ({"doses": {"cat": 2.0, "sea": 0.5}}, "is of another run than its node"),
        ({"radius": -1.0}, "radius"),
        ({"model": "other"}, "is of another run than its node"),
    ],
)
def test_damaged_files_are_refused_in_one_line(
    llama_model: ResidualModel, plan: RunPlan, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    explore(llama_model, plan, tmp_path / "tree.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "tree.jsonl").read_text().splitlines()]
    lines[6] |= change
    (tmp_path / "tree.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with SampleFile(tmp_path / "tree.jsonl", "resume") as file, pytest.raises(InputError, match=message) as caught:
        Exploration.resumed(llama_model, file)
    assert len(str(caught.value).splitlines()) == 1


def test_files_of_another_run_or_model_are_refused(
    llama_model: ResidualModel, plan: RunPlan, tmp_path: Path, model_folder: Any
) -> None:
    steer.sample(llama_model, plan.point, n=1, max_tokens=4, output=tmp_path / "run.jsonl")
    (tmp_path / "empty.jsonl").write_text("")
    for name, message in (("run", "has no screen of an exploration"), ("empty", "has no samples")):
        with SampleFile(tmp_path / f"{name}.jsonl", "resume") as file, pytest.raises(InputError, match=message):
            Exploration.resumed(llama_model, file)
    explore(llama_model, plan, tmp_path / "tree.jsonl")
    from vectors.model.residual_model import load_model

    with SampleFile(tmp_path / "tree.jsonl", "resume") as file, pytest.raises(ModelError, match="other weights"):
        Exploration.resumed(load_model(str(model_folder("gpt2")), "cpu"), file)
