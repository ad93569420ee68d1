"""Sweeps: whole grids, gone on with after any stop, the same whatever process sampled them, and drawn."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import steer
from steer.composition.steering_point import SteeringPoint
from steer.judges.evaluation_set import EvaluationSet
from steer.judges.judge import FunctionJudge
from steer.runs.sample_set import SampleSet
from steer.sweeps.grid import Grid
from steer.sweeps.suggest_radius import radius_from_counts
from steer.sweeps.sweep import sweep
from steer.sweeps.workers import Job
from vectors import extract, keep, load_model
from vectors.common.errors import InputError, OutputError
from vectors.concepts.vector import ConceptVector
from vectors.model.residual_model import ResidualModel

SEA = EvaluationSet(judges=(FunctionJudge("sea", lambda text: "sea" in text),))


@pytest.fixture
def point(llama_model: ResidualModel) -> SteeringPoint:
    direction = torch.randn(llama_model.d_model, generator=torch.Generator().manual_seed(0))
    cat = ConceptVector(
        name="cat",
        model=llama_model.name,
        model_hash=llama_model.hash,
        layer=1,
        direction=direction / direction.norm(),
        mean=torch.zeros(llama_model.d_model),
        gap=2.0,
        method="mean-difference",
        positions="all",
    )
    return steer.compose({cat: 1.5})


def small(model: ResidualModel, point: SteeringPoint, **options: object):
    given = {"radii": (0.0, 1.0), "n": 10, "max_tokens": 16, "evaluation_set": SEA}
    return sweep(model, point, **(given | options))


@pytest.mark.slow
def test_every_cell_is_the_run_that_sampling_gives(
    llama_model: ResidualModel, point: SteeringPoint, tmp_path: Path
) -> None:
    made = small(llama_model, point, doses=(1.0, 2.0), temperatures=(0.8, 1.0), layers=(None, 0), folder=tmp_path / "s")
    assert len(made.rows) == 16 and [row.cell for row in made.rows] == list(made.grid.cells)
    job = Job(point, made.grid, tmp_path / "s")
    for row in made.rows:
        kept = SampleSet.load(tmp_path / "s" / row.cell.file)
        assert kept == steer.sample(
            llama_model, job.cell_point(row.cell), n=10, radius=row.cell.radius, temperature=row.cell.temperature,
            max_tokens=16,
        )  # fmt: skip
        assert kept[0].doses == {"cat": 1.5 * row.cell.dose}
        assert kept[0].layer == [1 if row.cell.layer is None else 0]
    assert all(figure.low <= figure.value <= figure.high for row in made.rows for figure in row.figures.values())


def test_figures_do_not_hang_on_which_cell_was_sampled_first(
    llama_model: ResidualModel, point: SteeringPoint, tmp_path: Path
) -> None:
    """Without real texts, all cells are cut to the length of the first one's texts."""
    small(llama_model, point, radii=(1.0,), folder=tmp_path / "s")
    gone_on = small(llama_model, point, folder=tmp_path / "s")
    assert [row.to_dict() for row in gone_on.rows] == [row.to_dict() for row in small(llama_model, point).rows]


def test_a_folder_with_more_samples_is_gone_on_with_as_it_is(
    llama_model: ResidualModel, point: SteeringPoint, tmp_path: Path
) -> None:
    words = ("sea", "storm", "river", "night", "ship", "moon", "king", "song")
    real = tuple(f"the {a} and a {b} in {c}" for a in words for b in words for c in words[:4])
    evaluation_set = EvaluationSet(judges=SEA.judges, real=real[:24])
    small(llama_model, point, n=20, evaluation_set=evaluation_set, folder=tmp_path / "s")
    again = small(llama_model, point, n=10, evaluation_set=evaluation_set, folder=tmp_path / "s")
    assert again.grid.n == 10 and all(row.success.n == 10 for row in again.rows)
    alone = small(llama_model, point, n=10, evaluation_set=evaluation_set)
    assert [str(row.frontier) for row in again.rows] == [str(row.frontier) for row in alone.rows]


def test_a_stopped_sweep_is_gone_on_with(
    llama_model: ResidualModel, point: SteeringPoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = small(llama_model, point)
    seen = []

    def stop(row: object) -> None:
        seen.append(row)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        small(llama_model, point, folder=tmp_path / "s", watcher=stop)
    assert len(seen) == 1
    file = tmp_path / "s" / whole.grid.cells[1].file
    lines = (tmp_path / "s" / whole.grid.cells[0].file).read_bytes().splitlines(keepends=True)
    assert not file.exists() and len(lines) == 10
    (tmp_path / "s" / whole.grid.cells[0].file).write_bytes(b"".join(lines[:4]) + lines[4][:30])  # killed in a line
    assert small(llama_model, point, folder=tmp_path / "s").to_dict() == whole.to_dict()
    with pytest.raises(OutputError, match="choose a new folder"):
        small(llama_model, point, folder=tmp_path / "s", seed=1)


@pytest.mark.slow
def test_jobs_give_the_same_sweep(llama_model: ResidualModel, point: SteeringPoint, tmp_path: Path) -> None:
    assert small(llama_model, point, jobs=2).to_dict() == small(llama_model, point).to_dict()


def test_several_jobs_need_a_model_that_can_be_loaded_again(
    llama_model: ResidualModel, point: SteeringPoint, make_hf, make_tokenizer
) -> None:
    model = ResidualModel(make_hf("llama"), make_tokenizer(), name=llama_model.name)
    with pytest.raises(InputError, match="give one job"):
        small(model, point, jobs=2)


def often(text: str) -> bool:
    return len(text) % 3 > 0


@pytest.mark.slow
def test_the_suggested_radius_keeps_nine_tenths(llama_model: ResidualModel, point: SteeringPoint) -> None:
    made = small(
        llama_model,
        point,
        radii=(0.0, 0.5, 1.0, 4.0),
        n=60,
        evaluation_set=EvaluationSet(judges=(FunctionJudge("s", often),)),
    )
    success = {row.cell.radius: row.success.value for row in made.rows if row.success}
    found = made.suggested_radius()
    assert found is not None
    assert found == radius_from_counts(list(success), [round(60 * value) for value in success.values()], [60] * 4)
    assert json.loads(json.dumps(made.to_dict()))["suggested_radius"]["radius"] == found.radius
    assert small(llama_model, point, evaluation_set=EvaluationSet()).suggested_radius() is None


@pytest.mark.slow
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_sweep_is_plotted_over_the_radius_and_on_the_plane(
    llama_model: ResidualModel, point: SteeringPoint, tmp_path: Path, theme: str
) -> None:
    made = small(
        llama_model,
        point,
        temperatures=(0.9, 1.0),
        n=16,
        evaluation_set=EvaluationSet(judges=(FunctionJudge("all", bool),)),
    )
    for draw, name in ((made.plot, "radius.png"), (made.plot_plane, "plane.svg")):
        axes = draw(tmp_path / name, theme=theme)
        assert (tmp_path / name).stat().st_size > 5000 and np.size(axes) == (4 if draw == made.plot else 1)
        with pytest.raises(OutputError, match="exists"):
            draw(tmp_path / name)
    with pytest.raises(InputError, match="two or more"):
        small(llama_model, point, radii=(0.0,)).plot(tmp_path / "y.png")
    assert not (tmp_path / "y.png").exists()


def test_a_grid_is_checked_before_anything_is_sampled(llama_model: ResidualModel, point: SteeringPoint) -> None:
    with pytest.raises(InputError, match="layers 0 to 2"):
        small(llama_model, point, layers=(7,))
    with pytest.raises(InputError, match="radius is -1"):
        small(llama_model, point, radii=(-1.0,))
    assert Grid(expression="cat", radii=(0.0,)).n == 64


def test_a_cell_of_another_run_is_not_taken_for_this_one(
    llama_model: ResidualModel, point: SteeringPoint, tmp_path: Path
) -> None:
    made = small(llama_model, point, folder=tmp_path / "s")
    (vector,) = point.vectors
    other = steer.compose({replace(vector, direction=-vector.direction): 1.5})
    with pytest.raises(OutputError, match="its vector cat is"):
        small(llama_model, other, folder=tmp_path / "s")
    files = [tmp_path / "s" / row.cell.file for row in made.rows]
    files[0].write_bytes(files[1].read_bytes())
    with pytest.raises(OutputError, match=r"its radius is 1\.0, this run's is 0\.0"):
        small(llama_model, point, folder=tmp_path / "s")
    files[0].write_text("nonsense\n")
    with pytest.raises(OutputError, match="sample the cell again"):
        small(llama_model, point, folder=tmp_path / "s")
    files[0].unlink()
    again = small(llama_model, point, folder=tmp_path / "s")
    assert [str(row.success) for row in again.rows] == [str(row.success) for row in made.rows]


def test_near_radii_have_files_of_their_own(llama_model: ResidualModel, point: SteeringPoint, tmp_path: Path) -> None:
    made = small(llama_model, point, radii=(0.3333333, 0.33333333), n=4, folder=tmp_path / "s")
    assert len({row.cell.file for row in made.rows}) == 2 == len(list((tmp_path / "s").glob("radius*")))


def test_what_an_interruption_left_behind_does_not_take_a_folder(
    llama_model: ResidualModel, point: SteeringPoint, tmp_path: Path
) -> None:
    (tmp_path / ".steer-0123.tmp").touch()
    assert len(small(llama_model, point, n=4, folder=tmp_path).rows) == 2


_KILLED = """
import sys, torch, steer, vectors
if __name__ == "__main__":
    model = vectors.load_model(sys.argv[1], device="cpu")
    steer.sweep(model, "cat", radii=(0.0, 0.5, 1.0, 1.5), n=900, max_tokens=40, folder=sys.argv[2], jobs=2)
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_no_worker_outlives_a_sweep_that_was_stopped(
    tmp_path: Path, make_hf, make_tokenizer, how: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_hf("llama").save_pretrained(tmp_path / "model")
    make_tokenizer().save_pretrained(tmp_path / "model")
    monkeypatch.setenv("STEER_HOME", str(tmp_path / "home"))
    model = load_model(tmp_path / "model", device="cpu")
    texts = ["the cat sat in the sea", "a cat ran by the ship", "cat and king", "the cat saw the moon"]
    others = ["the dog sat in the sea", "a dog ran by the ship", "dog and king", "the dog saw the moon"]
    keep(extract(model, "cat", positive=texts, background=others, calibrate=False, method="mean-difference"))
    (tmp_path / "run.py").write_text(_KILLED)
    run = subprocess.Popen(
        [sys.executable, tmp_path / "run.py", tmp_path / "model", tmp_path / "s"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 240
    while len(list((tmp_path / "s").glob("radius*"))) < 3:  # the first cell is whole, two workers are at theirs
        assert run.poll() is None and time.monotonic() < deadline, run.communicate()
        time.sleep(0.2)
    os.kill(run.pid, how)
    _, said = run.communicate(timeout=60)  # workers hold the pipes: this waits for them, too
    assert "spawn" not in said
    sizes = [path.stat().st_size for path in sorted((tmp_path / "s").glob("radius*"))]
    time.sleep(2)
    assert [path.stat().st_size for path in sorted((tmp_path / "s").glob("radius*"))] == sizes
