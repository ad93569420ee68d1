"""`steer explore`: what lines do, what is kept, and what is refused."""

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


def test_lines_pick_look_wider_and_nearer_go_back_and_save(explore: Callable[..., Any]) -> None:
    done = explore("1,2\nm\nw\nn\nb\nb\ns best.jsonl 4 5\nsave place.jsonl\nq\n", *BEGIN, "--json")
    assert done.code == 0
    # the first screen, around two of it, more, wider, narrower, and two back
    assert indices(done.out) == [*range(15), 9, 10, 11, 6, 7, 8]
    kept = SampleSet.load("explore-7.jsonl")
    radii = {sample.index: sample.radius for sample in kept}
    assert [radii[at] for at in (0, 3, 6, 9, 12)] == pytest.approx([0.5, 0.35, 0.35, 0.525, 0.35])
    assert [sample.index for sample in SampleSet.load("best.jsonl")] == [4, 5]
    assert [sample.index for sample in SampleSet.load("place.jsonl")] == [3, 4, 5, 6, 7, 8]
    assert "place 1, radius 0.35" in done.err and "15 texts are kept" in done.err
    assert "--resume explore-7.jsonl" in done.err


def test_it_goes_on_where_it_was_and_what_it_keeps_can_be_stood_on(
    explore: Callable[..., Any], steer: Callable[..., Any], tiny: Path
) -> None:
    whole = explore("0\nm\n", *BEGIN, "--json", "-o", "whole.jsonl")
    explore("0\n", *BEGIN, "--json", "-o", "parts.jsonl")
    done = explore("m\nq\n", "--resume", "parts.jsonl", "--json")
    assert indices(done.out) == [3, 4, 5, 6, 7, 8] and done.out.splitlines() == whole.out.splitlines()[3:]
    stood = steer("compose", "--around", "whole.jsonl:5", "--model", tiny, "-n", 1, "--max-tokens", 4)
    assert stood.code == 0


def test_lines_that_mean_nothing_are_said_and_the_search_goes_on(explore: Callable[..., Any]) -> None:
    Path("explore-7.jsonl").unlink(missing_ok=True)
    typed = "99\nx y\nb\ns\ns best.jsonl 1\ns best.jsonl 1\ns best.jsonl 77\n9999999999999999999999\n?\n"
    done = explore(typed, *BEGIN)
    assert done.code == 0 and len(SampleSet.load("explore-7.jsonl")) == 3
    for said in ("no sample 99", "'x y' is not a key", "this is the first place", "name a file", "best.jsonl' exists",
                 "no sample 77", "is not a key", "s FILE", "saved in 'best.jsonl'"):  # fmt: skip
        assert said in done.err, said
    assert done.err.count("\x1b") == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
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
        (("-",), "stdin is for the keys"),
        (("cat", "-n", 10**20), "-n"),
        (("--resume", "x.jsonl", "-n", 4, "--top-k", 3), "leave -n, --top-k out"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_kept(
    explore: Callable[..., Any], arguments: tuple[Any, ...], said: str
) -> None:
    done = explore("q\n", *arguments)
    assert done.code in (1, 2) and said in done.err and done.out == "" and list(Path().iterdir()) == []


def test_a_file_that_is_there_is_not_written_over(explore: Callable[..., Any]) -> None:
    Path("explore-7.jsonl").write_text("mine")
    done = explore("q\n", *BEGIN)
    assert (
        done.code == 1
        and "exists: continue it by --resume explore-7.jsonl, or choose" in done.err
        and Path("explore-7.jsonl").read_text() == "mine"
    )


def test_a_file_of_nothing_is_begun_and_odd_names_can_be_pasted(explore: Callable[..., Any]) -> None:
    name = "a b;$(x).jsonl"
    Path(name).touch()  # as a kill before the first entry leaves it
    done = explore("s 1\ns 0 1\ng 0\ng 7\n" + "1" * 5000 + "\n0\ns mix.jsonl 0 4\nq\n", *BEGIN, "-o", name)
    assert done.code == 0 and f"steer explore --resume '{name}'" in done.err and len(SampleSet.load(name)) == 6
    assert done.err.count("name a file, and texts") == 2 and not Path("1").exists() and not Path("0").exists()
    assert "no place 7" in done.err and "different places" in done.err


def test_ctrl_c_ends_a_screen_and_then_the_search_and_loses_nothing(
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
        and "interrupted: 3 texts are kept; to continue: steer explore --resume other.jsonl" in done.err
    )
