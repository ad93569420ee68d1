"""`report`, `compare`, `fidelity` and `sweep` on the command line."""

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cli.terminal.output import WIDTH
from steer.runs.sample_set import SampleSet


@pytest.fixture
def run(steer: Callable[..., Any], tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Sample the tiny model into a file of the folder that the test is in."""
    monkeypatch.chdir(tmp_path)

    def made(name: str, *more: object) -> Path:
        place = Path(name)
        options = ("-n", 12, "--max-tokens", 16, "--model", tiny, "--device", "cpu", "-o", place)
        assert steer("compose", "cat", *options, *more).code == 0
        return place

    return made


def sides(folder: Path) -> tuple[Path, Path]:
    """Two files of texts that a classifier tells apart."""
    words = (
        "the", "a", "sea", "storm", "rainbow", "river", "night", "day", "light", "dark", "red", "blue", "old", "young",
        "king", "song", "ship", "moon",
    )  # fmt: skip
    for name, word in (("with", "cat"), ("without", "dog")):
        texts = [f"{word} {first} {second} {word}" for first, second in zip(words, words[3:] + words[:3], strict=True)]
        (folder / f"{name}.txt").write_text("\n".join(texts + [f"{text} and {text}" for text in texts]) + "\n")
    return folder / "with.txt", folder / "without.txt"


def test_a_report_fits_the_terminal_and_names_what_is_missing(
    steer: Callable[..., Any], run: Callable[..., Path]
) -> None:
    place = run("a.jsonl", "--seed", 1)
    done = steer("report", place)
    assert done.code == 0 and "12 texts" in done.out and "distinct-2" in done.out and "need the model" in done.err
    assert max(map(len, done.out.splitlines())) <= WIDTH
    head, sentence, figures = done.out.split("\n\n")[:3]
    assert head == f"{place}: 12 texts" and sentence.startswith("success is not known without a judge; ")
    assert [line.split("  ")[1] for line in figures.splitlines() if line[2] != " "] == [
        "success", "diversity", "pressure", "what else moved",
    ]  # fmt: skip


def test_every_figure_of_a_report_is_explained_by_the_command(
    steer: Callable[..., Any], run: Callable[..., Path], tiny: Path, tmp_path: Path
) -> None:
    said = steer("report", "--meanings")
    assert said.code == 0 and max(map(len, said.out.splitlines())) <= WIDTH
    names = {line.split("  ")[0] for line in said.out.splitlines()} - {""}
    positive, background = sides(tmp_path)
    options = ("--positive", positive, "--background", background, "--model", tiny, "--device", "cpu", "--json")
    told = json.loads(steer("report", run("a.jsonl", "--seed", 1), *options).out)
    assert {figure["name"] for section in told["sections"].values() for figure in section} <= names


def test_a_saved_run_prints_next_commands_that_work(
    steer: Callable[..., Any], tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    options = ("-n", 3, "--max-tokens", 8, "--model", tiny, "--device", "cpu", "-o", "my run.jsonl")
    said = steer("compose", "cat", *options).err.splitlines()[-1]
    assert said == f"next: steer report 'my run.jsonl' --model {shlex.quote(str(tiny))} --device cpu"
    assert steer(*shlex.split(said)[2:]).code == 0


def test_a_judge_and_the_model_bring_success_and_typicality(
    steer: Callable[..., Any], run: Callable[..., Path], tiny: Path, tmp_path: Path
) -> None:
    place = run("a.jsonl", "--seed", 1)
    positive, background = sides(tmp_path)
    options = ("--positive", positive, "--background", background, "--model", tiny, "--device", "cpu")
    done = steer("report", place, *options)
    assert done.code == 0 and "the judge's texts" in done.err and "of 12 texts have what you asked for" in done.out
    for part in (
        "success",
        "judge's accuracy",
        "direction - judge",
        "typicality",
        "branching factor",
        "frontier",
        "p95 pressure",
    ):
        assert part in done.out
    content = json.loads(steer("report", place, *options, "--json").out)
    assert content["n"] == 12 and content["sections"]["success"][0]["low"] <= 1.0


def test_several_runs_stand_side_by_side(steer: Callable[..., Any], run: Callable[..., Path]) -> None:
    places = [run(f"{seed}.jsonl", "--seed", seed) for seed in (1, 2, 3)]
    done = steer("report", *places)
    assert done.code == 0 and max(map(len, done.out.splitlines())) <= WIDTH
    assert all(f"{place}  " in done.out for place in (1, 2, 3))


@pytest.mark.slow
def test_two_runs_are_compared(steer: Callable[..., Any], run: Callable[..., Path]) -> None:
    one, other = run("a.jsonl", "--seed", 1), run("b.jsonl", "--seed", 2, "--radius", 1)
    done = steer("compare", one, other)
    assert done.code == 0 and "B - A" in done.out and max(map(len, done.out.splitlines())) <= WIDTH
    rows = [json.loads(line) for line in steer("compare", one, other, "--json").out.splitlines()]
    assert all(0 < row["p"] <= 1 for row in rows)
    assert steer("compare", one, one).code == 2


def test_a_sweep_prints_each_cell_and_goes_on(steer: Callable[..., Any], tiny: Path, tmp_path: Path) -> None:
    options = ("--radius", "0:1:0.5", "-n", 8, "--max-tokens", 12, "--model", tiny, "--device", "cpu")
    done = steer("sweep", "cat", *options, "-o", tmp_path / "s", "--plot", tmp_path / "r.png")
    assert done.code == 0 and len(done.out.splitlines()) == 4 and (tmp_path / "r.png").stat().st_size > 5000
    assert max(map(len, done.out.splitlines())) <= WIDTH
    assert len(SampleSet.load(next((tmp_path / "s").glob("*radius0.5*")))) == 8
    again = steer("sweep", "cat", *options, "-o", tmp_path / "s")
    assert again.out == done.out
    rows = [json.loads(line) for line in steer("sweep", "cat", *options, "--json").out.splitlines()]
    assert [row["radius"] for row in rows] == [0.0, 0.5, 1.0]


@pytest.mark.slow
def test_fidelity_of_another_model_needs_labelled_texts(steer: Callable[..., Any], tiny: Path, tmp_path: Path) -> None:
    model = ("--model", tiny, "--device", "cpu")
    done = steer("fidelity", "cat", "-n", 40, *model)
    assert done.code == 2 and "--reference" in done.err
    rows = [
        {"text": f"{pet} {word} {pet} in the {light}", "pet": pet, "light": light}
        for pet in ("cat", "dog")
        for light in ("day", "night")
        for word in ("sea", "storm", "river", "ship", "moon", "rain", "wind", "snow")
    ]
    place = tmp_path / "real.jsonl"
    place.write_text("".join(json.dumps(row) + "\n" for row in rows * 2))
    done = steer("fidelity", "cat", "-n", 60, "--max-tokens", 12, *model, "--reference", place, "--given", "pet=cat")
    assert (done.code == 0 and "light" in done.out) or "texts have" in done.err
    weighed = ("--reference", place, "--given", "pet=cat", "--calibrated")
    done = steer("fidelity", "cat", "-n", 20, "--max-tokens", 30, *model, *weighed)
    assert done.code in (0, 2) and ("different texts" in done.err or "texts have" in done.err)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["report", "missing.jsonl"], "missing.jsonl"),
        (["report", "bad.jsonl"], "bad.jsonl"),
        (["report", "one.jsonl"], "at least two"),
        (["report", "run.jsonl", "--positive", "texts.txt"], "--positive and --background"),
        (["compare", "run.jsonl", "missing.jsonl"], "missing.jsonl"),
        (["sweep", "cat", "--radius", "1:0:0.5"], "--radius is"),
        (["sweep", "cat", "--radius", "0:1"], "--radius is"),
        (["sweep", "cat", "--layer", "0.5"], "whole numbers"),
        (["sweep", "cat", "-n", "1"], "-n is 1"),
        (["sweep", "cat +"], "at the end"),
        (["sweep", "cat", "--plot", "x.gif"], ".png"),
        (["sweep", "cat", "--plot", "x.png", "--theme", "pink"], "light or dark"),
        (["fidelity", "cat", "-n", "19"], "-n is 19"),
        (["fidelity", "cat", "--resume"], "give it with -o FILE"),
        (["fidelity", "cat", "--calibrated", "--resume", "-o", "f.jsonl"], "leave --resume out"),
        (["sweep", "cat", "--radius", "-1"], "radius is -1"),
        (["sweep", "cat", "--radius", "0", "--plot", "x.png"], "two or more values"),
        (["sweep", "cat", "--plot", "x.png", "--plane", "x.png"], "its own file"),
        (["sweep", "cat", "--jobs", "0"], "--jobs is 0"),
        (["sweep", "cat", "-o", "--json"], "folder's name"),
        (["sweep", "cat", "-o", ""], "folder's name"),
        (["report", "mixed.jsonl"], "another run"),
        (["fidelity", "cat", "--given", "a=b"], "--reference"),
    ],
)
def test_bad_input_is_refused_in_one_line(
    steer: Callable[..., Any], run: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    arguments: list[str], said: str,
) -> None:  # fmt: skip
    place = run("run.jsonl", "--seed", 1)
    (tmp_path / "one.jsonl").write_text(place.read_text().splitlines()[0] + "\n")
    (tmp_path / "bad.jsonl").write_text("{not json\n")
    lines = place.read_text().splitlines()
    (tmp_path / "mixed.jsonl").write_text("\n".join([lines[0], lines[1].replace('"seed": 1', '"seed": 2')]) + "\n")
    monkeypatch.chdir(tmp_path)
    done = steer(*arguments)
    assert done.code in (1, 2) and said in done.err
    assert not list(tmp_path.glob("x.*"))


def test_a_page_is_written_once_and_for_runs_only(steer: Callable[..., Any], run: Callable[..., Path], tiny: Path):
    place = run("a.jsonl", "--seed", 1)
    done = steer("report", place, "--model", tiny, "--device", "cpu", "--html", "a.html")
    assert done.code == 0 and "open 'a.html' in a browser" in done.err and "12 texts" in done.out
    assert Path("a.html").read_text().count("<article") == 12
    again = steer("report", place, "--html", "a.html")
    assert again.code == 1 and "--force" in again.err
    assert steer("report", place, place, "--html", "a.html", "--force").code == 0
    assert Path("a.html").read_text().count("<article") == 24
    wrong = steer("report", place, "--html", place)
    assert wrong.code == 2 and "end its name with .html" in wrong.err and SampleSet.load(place)[0].index == 0
