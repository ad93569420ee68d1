"""`steer compose`: entries in order, documented JSON, and files that are resumed and not overwritten."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import steer as steer_package
from cli.terminal.output import ClosedPipeError
from steer.runs.sample_set import Sample, SampleSet
from steer.sampling import sampler
from vectors.concepts.library import keep
from vectors.concepts.vector import ConceptVector
from vectors.formats.arrays import write_arrays
from vectors.formats.gguf import write_gguf
from vectors.model.residual_model import load_model

ROOT = Path(__file__).parents[3]
KEYS = (  # noqa: SIM905 (in the order of the file)
    "index text tokens logprob_base logprob_steered pressure seed radius geometry doses layer model finish "
    "prompt settings"
).split()


@pytest.fixture
def compose(steer: Callable[..., Any], tiny: Path) -> Callable[..., Any]:
    """Run `steer compose "cat + 0.5 sea"` on the tiny model, eight tokens an entry."""
    return lambda *more: steer(
        "compose", "cat + 0.5 sea", "--model", tiny, "--device", "cpu", "--max-tokens", 8, "--radius", 0.5, *more
    )


def test_without_costs_pressure_is_left_out(steer: Callable[..., Any], tiny: Path, tmp_path: Path) -> None:
    arguments = ("compose", "cat", "--model", tiny, "--device", "cpu", "-n", 3, "--seed", 1, "--max-tokens", 12)
    plain, quick = steer(*arguments), steer(*arguments, "--no-costs")
    assert quick.code == 0 and "pressure" not in quick.out and "steered" in quick.out
    texts = [
        [json.loads(line)["text"] for line in steer(*arguments, "--json", *more).out.splitlines()]
        for more in ((), ("--no-costs",))
    ]
    assert texts[0] == texts[1] and plain.out.count("pressure") == 3
    place = tmp_path / "quick.jsonl"
    steer(*arguments, "--no-costs", "-o", place)
    assert json.loads(place.read_text().splitlines()[0])["pressure"] is None
    alone = steer("report", place)
    assert alone.code == 0 and "no pressure: the run was sampled without costs" in alone.out + alone.err


def test_json_has_the_promised_keys_and_the_seed_repeats_the_run(compose: Callable[..., Any]) -> None:
    done = compose("-n", 3, "--seed", 7, "--json")
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert done.code == 0 and [row["index"] for row in rows] == [0, 1, 2] and list(rows[0]) == KEYS
    assert rows[0]["doses"] == {"cat": 1.0, "sea": 0.5} and rows[0]["layer"] == [1] and rows[0]["radius"] == 0.5
    assert rows[0]["settings"]["max_tokens"] == 8 and len(rows[0]["tokens"]) <= 8
    assert "seed 7" in done.err and "'sea' has no measured unit" in done.err
    assert compose("-n", 3, "--seed", 7, "--json").out == done.out


def test_a_drawn_seed_is_printed_and_repeats_the_run(compose: Callable[..., Any]) -> None:
    done = compose("-n", 2)
    seed = done.err.split("seed ")[1].split()[0]
    assert compose("-n", 2, "--seed", seed).out == done.out
    assert done.out.startswith("0 ── pressure ") and "\n1 ── pressure " in done.out and "\x1b" not in done.out


def test_doses_that_cancel_are_said_to_be_the_base_model(steer: Callable[..., Any], tiny: Path) -> None:
    done = steer("compose", "cat - cat", "--model", tiny, "--max-tokens", 4, "-n", 1, "--radius", 1)
    assert done.code == 0 and "every dose is 0" in done.err and "--radius has no effect" in done.err


@pytest.mark.parametrize("expression", ["", " \n"])
def test_an_empty_expression_is_an_unset_variable(steer: Callable[..., Any], tiny: Path, expression: str) -> None:
    done = steer("compose", expression, "--model", tiny)
    assert (done.code, done.out) == (2, "") and "the expression is empty: name a concept, or leave it out" in done.err


def test_without_an_expression_the_model_is_sampled_without_steering(
    steer: Callable[..., Any], tiny: Path, home: Path, tmp_path: Path
) -> None:
    shutil.rmtree(home)  # a model without concepts
    path = tmp_path / "run.jsonl"
    options = ("--model", tiny, "--device", "cpu", "--max-tokens", 8, "--seed", 7, "--json", "-o", path)
    done = steer("compose", "-n", 2, *options)
    assert done.code == 0 and "note: no expression: this samples the model without steering" in done.err
    texts = [json.loads(line)["text"] for line in done.out.splitlines()]
    model = load_model(tiny, "cpu")
    assert texts == steer_package.sample(model, None, n=2, seed=7, max_tokens=8).texts
    more = steer("compose", "-n", 3, *options, "--resume")
    assert more.code == 0 and [json.loads(line)["index"] for line in more.out.splitlines()] == [2]
    prompted = steer("compose", "-n", 1, *options[:-2], "--prompt", "the sea")
    assert json.loads(prompted.out)["prompt"] == "the sea"
    refused = steer("compose", "-n", 1, *options[:-2], "--radius", 1)
    assert refused.code == 2 and "no expression to search around" in refused.err


def test_the_embedded_model_has_a_name(steer: Callable[..., Any]) -> None:
    plain = steer("compose", "cat", "-n", 1, "--seed", 1, "--max-tokens", 8, "--json")
    assert steer("compose", "cat", "-n", 1, "--seed", 1, "--max-tokens", 8, "--json", "--model", "almanac") == plain


@pytest.mark.parametrize("name", ["~nosuchuser/model", "x" * 300, "a\0b"])
def test_names_that_are_no_folder_are_refused(steer: Callable[..., Any], name: str) -> None:
    for command in (("compose", "cat"), ("ls",), ("show", "cat"), ("show",)):
        assert steer(*command, "--model", name).code == 1


def test_a_prompt_is_continued_and_an_expression_comes_from_stdin(
    steer: Callable[..., Any], tiny: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    place = tmp_path / "expression"
    place.write_text("2 cat\n")
    with place.open() as stream:
        monkeypatch.setattr("sys.stdin", stream)
        done = steer("compose", "-", "--model", tiny, "--max-tokens", 4, "-n", 1, "--prompt", "the sea", "--json")
    row = json.loads(done.out)
    assert row["doses"] == {"cat": 2.0} and row["prompt"] == "the sea" and not row["text"].startswith("the sea")


def test_an_empty_stdin_is_no_expression(
    steer: Callable[..., Any], tiny: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "empty").write_text(" \n")
    with (tmp_path / "empty").open() as stream:
        monkeypatch.setattr("sys.stdin", stream)
        done = steer("compose", "-", "--model", tiny)
    assert done.code == 2 and "standard input holds no expression: name a concept, or leave the - out" in done.err


def test_too_many_tokens_are_refused_before_anything_is_said(compose: Callable[..., Any]) -> None:
    done = compose("--max-tokens", 10**11)
    assert (
        done.code == 2 and len(done.err.splitlines()) == 1 and "the start token and 100000000000 new tokens" in done.err
    )


def test_positions_that_a_concept_was_not_made_for_are_noted(compose: Callable[..., Any]) -> None:
    assert "made for" not in compose("-n", 1).err
    assert "note: 'cat' was made for positions all" in compose("-n", 1, "--positions", "bos").err
    assert compose("-n", 1, "--positions", "").code == 2


def test_the_file_holds_what_is_printed_and_resumes(compose: Callable[..., Any], tmp_path: Path) -> None:
    place = tmp_path / "run.jsonl"
    done = compose("-n", 2, "--seed", 7, "--json", "-o", place)
    assert place.read_text() == done.out or sorted(place.read_text().splitlines()) == sorted(done.out.splitlines())
    first = place.read_text()
    assert compose("-n", 4, "-o", place).code == 1 and place.read_text() == first
    more = compose("-n", 4, "--json", "-o", place, "--resume")  # the seed is the file's
    assert [json.loads(line)["index"] for line in more.out.splitlines()] == [2, 3] and "seed 7" in more.err
    assert place.read_text().startswith(first)
    whole = compose("-n", 4, "--seed", 7, "--json").out
    # another batch size may round the last digit of a cost otherwise
    for kept, line in zip(SampleSet.load(place), whole.splitlines(), strict=True):
        mine, fresh = json.loads(kept.to_json()), json.loads(line)
        for name in ("logprob_base", "logprob_steered", "pressure"):
            assert mine.pop(name) == pytest.approx(fresh.pop(name), rel=1e-4)
        assert mine == fresh
    assert "all 4 samples are already" in compose("-n", 4, "-o", place, "--resume").err
    other = compose("-n", 4, "--seed", 8, "-o", place, "--resume")
    assert other.code == 1 and "its seed is 7, this run's is 8" in other.err
    assert "its temperature is" in compose("-n", 4, "--temperature", 0.5, "-o", place, "--resume").err
    assert compose("-n", 1, "--seed", 9, "-o", place, "--force").code == 0 and len(SampleSet.load(place)) == 1


def test_entries_are_printed_in_order_as_soon_as_their_turn_comes_and_kept_as_they_finish(
    compose: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "run.jsonl"
    real = sampler.samples_of
    printed: list[list[int]] = []

    def shuffled(*arguments: Any, **options: Any) -> Iterator[Sample]:
        samples = list(real(*arguments, **options))
        for at in (2, 0, 3, 1):
            yield next(each for each in samples if each.index == at)
            out, _ = capfd.readouterr()
            printed.append([json.loads(line)["index"] for line in out.splitlines()])
            assert at in {each.index for each in SampleSet.load(place)}
        raise KeyboardInterrupt

    monkeypatch.setattr(sampler, "samples_of", shuffled)
    done = compose("-n", 6, "--seed", 7, "--json", "-o", place)
    assert printed == [[], [0], [], [1, 2, 3]]
    assert done.code == 130 and "4 of 6 samples are saved" in done.err and "--resume --seed 7" in done.err
    assert len(SampleSet.load(place)) == 4


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["catt"], 2, "nearest"),
        (["cat", "--prompt", "sea " * 500], 2, "context"),
        (["cat", "--model", "/nowhere/at/all"], 1, "nowhere"),
        (["cat", "--device", "moon"], 2, "device"),
        (["cat", "--dtype", "int7"], 2, "dtype"),
    ],
)
def test_refusals_that_need_the_model(
    steer: Callable[..., Any],
    capfd: pytest.CaptureFixture[str],
    tiny: Path,
    tmp_path: Path,
    arguments: list[str],
    code: int,
    said: str,
) -> None:
    place = tmp_path / "run.jsonl"
    capfd.readouterr()  # drop what was printed while the model was made
    done = steer("compose", "--model", tiny, "--max-tokens", 8, "-o", place, *arguments)
    assert done.code == code and said in done.err and done.out == "" and not place.exists()
    assert len(done.err.splitlines()) == 1


def test_a_closed_pipe_does_not_stop_a_run_into_a_file(
    compose: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def leave(_: str) -> None:
        raise ClosedPipeError

    monkeypatch.setattr("cli.terminal.ordered_output.emit", leave)
    assert compose("-n", 3).code == 0
    place = tmp_path / "run.jsonl"
    assert compose("-n", 3, "-o", place).code == 0 and len(SampleSet.load(place)) == 3


def _start(program: list[str], tiny: Path, *arguments: str, **options: Any) -> subprocess.Popen[str]:
    command = [*program, "compose", "cat", "--model", str(tiny), "--max-tokens", "8", *arguments]
    return subprocess.Popen(
        command, text=True, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's & leaves it ignored
        **options,
    )  # fmt: skip


@pytest.mark.slow
def test_ctrl_c_keeps_what_is_finished_and_says_how_to_go_on(program: list[str], tiny: Path, tmp_path: Path) -> None:
    place = tmp_path / "run.jsonl"
    process = _start(program, tiny, "-n", "1000000000", "-o", str(place), stdout=subprocess.DEVNULL)
    until = time.monotonic() + 120
    while time.monotonic() < until and not (place.exists() and place.stat().st_size) and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "--resume --seed" in err and "Traceback" not in err
    assert f"{len(SampleSet.load(place))} of 1000000000 samples are saved" in err


@pytest.mark.slow
def test_a_killed_run_keeps_whole_lines_and_is_completed(program: list[str], tiny: Path, tmp_path: Path) -> None:
    place = tmp_path / "run.jsonl"
    process = _start(program, tiny, "-n", "1000000000", "-o", str(place), "--seed", "3", stdout=subprocess.DEVNULL)
    until = time.monotonic() + 120
    while time.monotonic() < until and not (place.exists() and place.stat().st_size > 5000) and process.poll() is None:
        time.sleep(0.05)
    process.kill()
    process.communicate(timeout=60)
    kept = len(SampleSet.load(place))
    assert kept > 0
    resumed = _start(program, tiny, "-n", str(kept + 40), "-o", str(place), "--resume", stdout=subprocess.DEVNULL)
    _, err = resumed.communicate(timeout=120)
    assert resumed.returncode == 0 and "seed 3" in err
    assert {each.index for each in SampleSet.load(place)} >= set(range(kept + 40))


@pytest.mark.slow
def test_a_closed_pipe_ends_the_run_quietly(program: list[str], tiny: Path) -> None:
    process = _start(program, tiny, "-n", "1000000000", "--json", stdout=subprocess.PIPE)
    assert process.stdout is not None and json.loads(process.stdout.readline())["index"] == 0
    process.stdout.close()
    assert process.wait(timeout=60) == 0
    assert process.stderr is not None
    lines = process.stderr.read().splitlines()
    estimate, seed = (line for line in lines if "so far" not in line)  # a slow machine also prints progress
    assert estimate.startswith("this takes up to about ") and "takes about" in estimate and seed.startswith("seed ")


@pytest.mark.slow
def test_a_full_disk_behind_stdout_is_an_error(program: list[str], tiny: Path) -> None:
    with open("/dev/full", "w") as full:
        process = _start(program, tiny, "-n", "1", stdout=full)
        _, err = process.communicate(timeout=120)
    assert process.returncode == 1 and "error: cannot write to stdout (No space left on device)" in err


@pytest.mark.slow
def test_the_embedded_model_prints_its_first_entry_soon_and_asks_no_network(program: list[str], tmp_path: Path) -> None:
    # a sitecustomize that Python imports first, so that the command itself cannot open a socket
    (tmp_path / "sitecustomize.py").write_text(
        "import socket\ndef refuse(*_, **__): raise SystemExit('asked the network')\n"
        "socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse\n"
    )
    path = os.pathsep.join([str(tmp_path), *sys.path])
    took = 0.0
    for _ in range(2):  # the first run may read the packages from a cold disk
        began = time.monotonic()
        process = subprocess.Popen(
            [*program, "compose", "sonnet + quantum + cat", "-n", "4", "--radius", "0.5", "--seed", "7", "--json"],
            env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        assert process.stdout is not None and json.loads(process.stdout.readline())["doses"].keys() == {
            "sonnet", "quantum", "cat",
        }  # fmt: skip
        took = time.monotonic() - began
        assert len(process.stdout.readlines()) == 3 and process.wait(timeout=60) == 0
        if took < 10:
            return
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", "import torch, transformers.models.llama.modeling_llama"], check=True)
    imports = time.monotonic() - began  # four seconds on a quiet machine, so scale by how busy this one is
    assert took < 2.5 * imports


def test_the_embedded_model_writes_a_sonnet_of_a_quantum_cat(steer: Callable[..., Any]) -> None:
    done = steer("compose", "sonnet + quantum + cat", "-n", 2, "--radius", 0.5, "--seed", 7)
    assert done.code == 0 and done.out.count(" ── pressure ") == 2 and len(done.out.splitlines()) > 6


@pytest.mark.slow
def test_a_run_into_a_file_finishes_when_stdout_is_closed(program: list[str], tiny: Path, tmp_path: Path) -> None:
    place = tmp_path / "run.jsonl"
    with open("/dev/full", "w") as full:
        process = _start(program, tiny, "-n", "3", "-o", str(place), stdout=full)
        _, err = process.communicate(timeout=120)
    assert process.returncode == 0 and "sampling into the file continues" in err and len(SampleSet.load(place)) == 3


def test_a_run_is_recentred_on_samples(
    compose: Callable[..., Any], steer: Callable[..., Any], tiny: Path, tmp_path: Path
) -> None:
    place, next_place = tmp_path / "run.jsonl", tmp_path / "next.jsonl"
    compose("-n", 4, "--seed", 7, "--radius", 1, "-o", place)

    def around(*more: Any) -> Any:
        return steer("compose", "--model", tiny, "--device", "cpu", "--max-tokens", 8, *more)

    doses = SampleSet.load(place)[0].doses
    done = around("--around", f"{place}:1,3", "-n", 2, "--seed", 8, "-o", next_place)
    found = SampleSet.load(next_place)
    assert done.code == 0 and found[0].radius == 0.7 and found[0].doses == doses
    assert [pick["index"] for pick in found[0].settings["around"]["picks"]] == [1, 3]
    again = around("--around", f"{next_place}:0", "-n", 1, "--radius", 0.2, "--json")
    assert json.loads(again.out)["settings"]["around"]["before"] == found[0].settings["around"]
    for wrong, why in (
        (f"{place}:9", "there is no sample 9"),
        (str(place), "give a file and the indices in it"),
        (f"{place}:a", "give a file and the indices in it"),
        (f"{tmp_path / 'none.jsonl'}:1", "there is no file"),
    ):
        refused = around("--around", wrong, "-n", 1)
        assert refused.code == 2 and why in refused.err and refused.out == ""
    assert "exclude each other" in compose("--around", f"{place}:1", "-n", 1).err


@pytest.fixture
def wide(tiny: Path) -> Path:
    """The tiny model, for which the user's library also holds `wide`, with a shift at each of its layers."""
    model = load_model(tiny, "cpu")
    rows = torch.eye(32)[4:7]
    keep(
        ConceptVector(
            name="wide", model=model.name, model_hash=model.hash, layer=0, direction=rows[0], mean=torch.zeros(32),
            gap=2.0, method="gguf", positions="all", other_shifts={1: rows[1], 2: rows[2]},
        )
    )  # fmt: skip
    return tiny


def test_layers_and_method_are_recorded_and_respected_by_what_reads_the_run(
    steer: Callable[..., Any], wide: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run.jsonl"
    fixed = ("compose", "wide + 0.5 cat", "--model", wide, "--device", "cpu", "--max-tokens", 6, "--seed", 3, "-o", run)
    chosen = ("--layers", "1-2", "--method", "sum")
    assert steer(*fixed, *chosen, "-n", 2, "--no-costs").code == 0
    row = json.loads(run.read_text().splitlines()[0])
    assert row["layer"] == [1, 2] and row["settings"]["composition"] == "sum" and row["settings"]["layers"] == "1-2"
    other = steer(*fixed, "-n", 3, "--no-costs", "--resume")
    assert other.code == 1 and "holds another run" in other.err
    assert steer(*fixed, *chosen, "-n", 3, "--no-costs", "--resume").code == 0
    report = steer("report", run, "--model", wide, "--device", "cpu")  # composes the point again to measure pressure
    assert report.code == 0 and "pressure" in report.out
    around = steer("compose", "--around", f"{run}:0,1", "--model", wide, "--device", "cpu", "-n", 1, "--max-tokens", 4,
                   "--radius", 0.3, "--json")  # fmt: skip
    assert around.code == 0 and json.loads(around.out)["settings"]["layers"] == "1-2"
    assert json.loads(around.out)["layer"] == [1, 2]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["wide", "--layers", "7"], 2, "'wide' has no layer 7: choose from 0-2"),
        (["wide", "--layers", "x"], 2, "--layers is 'x': give layers"),
        (["cat", "--layers", "2"], 2, "'cat' each steer at one: leave --layers"),
        (["wide", "--method", "mean"], 2, "--method is 'mean': choose from exact, sum, rotate"),
        (["--method", "sum"], 2, "there is no expression"),
        (["--layers", "1"], 2, "there is no expression"),
    ],
)
def test_layers_and_methods_that_mean_nothing_are_refused(
    steer: Callable[..., Any], wide: Path, arguments: list[str], code: int, said: str
) -> None:
    done = steer("compose", *arguments, "--model", wide, "--device", "cpu", "-n", 1)
    assert done.code == code and said in done.err and done.out == ""


@pytest.mark.parametrize("name", ["v.gguf", "v.npz", "v.safetensors", "v.pt", "v of mine.npy"])
def test_the_path_of_another_tools_file_names_the_command_that_imports_it(
    steer: Callable[..., Any], tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = {layer: torch.eye(32)[layer] for layer in range(3)}
    if name.endswith((".npz", ".safetensors")):
        write_arrays(name, rows)
    elif name.endswith(".gguf"):
        write_gguf(name, {layer: rows[layer] for layer in (1, 2)}, model_type="llama")
    elif name.endswith(".npy"):
        np.save(name, torch.stack(list(rows.values())).numpy())
    else:
        torch.save(rows, name)
    for path in (name, f"./{name}", str(tmp_path / name)):
        done = steer("compose", f"cat + '{path}'", "--model", tiny, "--device", "cpu", "-n", 1)
        assert done.code == 2 and done.out == "" and "is a file of another tool" in done.err
        command = shlex.split(done.err.split("`")[1])
        assert command[0] == "steer"
        assert steer(*command[1:], "--force").code == 0
    used = steer("compose", "'v'" if name.startswith("v.") else "'v of mine'", "--model", tiny, "--device", "cpu",
                 "-n", 1, "--max-tokens", 3, "--no-costs")  # fmt: skip
    assert used.code == 0
    absent = steer("compose", "absent.gguf", "--model", tiny, "--device", "cpu", "-n", 1)
    assert absent.code == 2 and "there is no file 'absent.gguf'" in absent.err
