"""`steer explore`: its commands, its file, and its refusals."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from steer.runs.sample_set import SampleSet


@pytest.fixture
def explore(
    steer: Callable[..., Any], tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Any]:
    """Run `steer explore` in an empty folder, with some lines typed."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    def run(typed: str, *more: Any) -> Any:
        monkeypatch.setattr("sys.stdin", io.StringIO(typed))
        return steer("explore", *more, "--model", tiny, "--device", "cpu")

    return run


BEGIN = ("cat + 0.5 sea", "--max-tokens", 8, "--seed", 7, "-n", 3)


def indices(out: str) -> list[int]:
    return [json.loads(line)["index"] for line in out.splitlines()]


def test_commands_pick_widen_narrow_go_back_and_save(explore: Callable[..., Any]) -> None:
    done = explore("1,2\nm\nw\nn\nb\nb\ns best.jsonl 4 5\nsave node.jsonl\nq\n", *BEGIN, "--json")
    assert done.code == 0
    # the first screen, around two of it, more, wider, narrower, and two back
    assert indices(done.out) == [*range(15), 9, 10, 11, 6, 7, 8]
    radii = {sample.index: sample.radius for sample in SampleSet.load("explore-7.jsonl")}
    assert [radii[index] for index in (0, 3, 6, 9, 12)] == pytest.approx([0.5, 0.35, 0.35, 0.525, 0.35])
    assert [sample.index for sample in SampleSet.load("best.jsonl")] == [4, 5]
    assert [sample.index for sample in SampleSet.load("node.jsonl")] == [3, 4, 5, 6, 7, 8]
    assert "node 1, radius 0.35" in done.err and "15 texts are saved" in done.err
    assert "--resume explore-7.jsonl" in done.err


def test_it_resumes_and_compose_samples_around_its_texts(
    explore: Callable[..., Any], steer: Callable[..., Any], tiny: Path
) -> None:
    whole = explore("0\nm\n", *BEGIN, "--json", "-o", "whole.jsonl")
    explore("0\n", *BEGIN, "--json", "-o", "parts.jsonl")
    done = explore("m\nq\n", "--resume", "parts.jsonl", "--json")
    assert indices(done.out) == [3, 4, 5, 6, 7, 8] and done.out.splitlines() == whole.out.splitlines()[3:]
    around = steer("compose", "--around", "whole.jsonl:5", "--model", tiny, "-n", 1, "--max-tokens", 4)
    assert around.code == 0


def test_unknown_commands_print_a_note_and_the_search_continues(explore: Callable[..., Any]) -> None:
    Path("explore-7.jsonl").unlink(missing_ok=True)
    typed = "99\nx y\nb\ns\ns best.jsonl 1\ns best.jsonl 1\ns best.jsonl 77\n9999999999999999999999\n?\n"
    done = explore(typed, *BEGIN)
    assert done.code == 0 and len(SampleSet.load("explore-7.jsonl")) == 3
    messages = ("no sample 99", "'x y' is not a command", "this is the first node", "name a file", "no sample 77")
    for message in (*messages, "best.jsonl' exists", "is not a command", "s FILE", "saved in 'best.jsonl'"):
        assert message in done.err, message
    assert done.err.count("\x1b") == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "give one of them"),
        (("cat", "--resume", "x.jsonl"), "give one of them"),
        (("--resume", "x.jsonl"), "there is no file 'x.jsonl'"),
        (("cat", "--radius", 0), "give one above 0"),
        (("cat", "-n", 0), "-n"),
        (("cat", "--prompt", ""), "--prompt is empty"),
        (("cat - cat",), "nothing to search around"),
        (("cat", "-o", "no/where.jsonl"), "no folder"),
        (("catt",), "nearest"),
        (("-",), "reads its commands from stdin"),
        (("cat", "-n", 10**20), "-n"),
        (("--resume", "x.jsonl", "-n", 4, "--top-k", 3), "leave -n, --top-k out"),
    ],
)
def test_refusals_come_before_any_file_is_written(
    explore: Callable[..., Any], arguments: tuple[Any, ...], message: str
) -> None:
    done = explore("q\n", *arguments)
    assert done.code in (1, 2) and message in done.err and done.out == "" and list(Path().iterdir()) == []


def test_an_existing_file_is_not_replaced(explore: Callable[..., Any]) -> None:
    Path("explore-7.jsonl").write_text("mine")
    done = explore("q\n", *BEGIN)
    assert (
        done.code == 1
        and "exists: continue it by --resume explore-7.jsonl, or choose" in done.err
        and Path("explore-7.jsonl").read_text() == "mine"
    )


def test_an_empty_file_is_used_and_odd_file_names_are_quoted(explore: Callable[..., Any]) -> None:
    name = "a b;$(x).jsonl"
    Path(name).touch()  # as left by a kill before the first entry
    done = explore("s 1\ns 0 1\ng 0\ng 7\n" + "1" * 5000 + "\n0\ns mix.jsonl 0 4\nq\n", *BEGIN, "-o", name)
    assert done.code == 0 and f"steer explore --resume '{name}'" in done.err and len(SampleSet.load(name)) == 6
    assert done.err.count("name a file, then the numbers") == 2 and not Path("1").exists() and not Path("0").exists()
    assert "no node 7" in done.err and "different nodes" in done.err


def test_ctrl_c_ends_a_screen_then_the_search_and_loses_no_text(
    explore: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from steer.sampling import exploration

    real, calls = exploration.samples_at, [0]

    def stopped(*arguments: Any) -> Any:
        calls[0] += 1
        for count, sample in enumerate(real(*arguments)):
            if calls[0] == 2 and count == 1:
                raise KeyboardInterrupt
            yield sample

    monkeypatch.setattr(exploration, "samples_at", stopped)
    done = explore("m\nm\n", *BEGIN, "--json")
    assert done.code == 0 and "m continues this screen" in done.err
    assert sorted(indices(done.out)) == [0, 1, 2, 3, 4, 5] and len(SampleSet.load("explore-7.jsonl")) == 6

    class Interrupted(io.StringIO):
        def readline(self, *_: Any) -> str:
            raise KeyboardInterrupt

    monkeypatch.setattr(exploration, "samples_at", real)
    monkeypatch.setattr("io.StringIO", Interrupted)
    done = explore("", *BEGIN, "-o", "other.jsonl")
    assert (
        done.code == 130
        and "interrupted: 3 texts are saved; to continue: steer explore --resume other.jsonl" in done.err
    )
