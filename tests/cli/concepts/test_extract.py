"""`steer extract`: the concept is saved under its name and replaced only on request."""

import importlib
import json
import shlex
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vectors.concepts.vector_file import load_file

SEAS = ["the old ship on the sea", "a red ship by the sea", "the sea rose and fell", "wind on the sea sang"] * 3
REST = ["the dog ran by the tree", "a blue bird sang", "the king saw the stone", "old gold in the night"] * 3


@pytest.fixture
def extract(steer: Callable[..., Any], tiny: Path, tmp_path: Path) -> Callable[..., Any]:
    """Run `steer extract` on the tiny model, without a pilot."""
    rows = [
        {"text": f"{text} {index}", "topic": topic, "ground": f"{topic}-ground"}
        for topic, texts in (("sea", SEAS), ("land", REST))
        for index, text in enumerate(texts)
    ]
    (tmp_path / "docs.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    for side, topic in (("positive", "sea"), ("background", "land")):
        (tmp_path / f"{side}.txt").write_text("".join(f"{row['text']}\n" for row in rows if row["topic"] == topic))
    return lambda *more: steer(
        "extract", *more, "--model", tiny, "--device", "cpu", "--method", "mean-difference", "--no-calibrate"
    )


def test_a_concept_is_saved_and_replaced_only_on_request(
    extract: Callable[..., Any], steer: Callable[..., Any], tiny: Path, tmp_path: Path
) -> None:
    options = ("--positive", tmp_path / "positive.txt", "--background", tmp_path / "background.txt", "--layer", 1)
    place = tmp_path / "storm.safetensors"
    done = extract("storm", *options, "-o", place)
    assert done.code == 0
    for part in ("storm", "1 of 0 to 2", "natural gap", "not measured", "12 positive, 12 background", str(place)):
        assert part in done.out
    assert "note: 'storm' is not calibrated: dose 1 adds a vector of length " in done.err
    assert "times the usual length of the residual stream at layer 1" in done.err
    assert any(guess in done.err for guess in ("doses of 2 to 5", "doses of 0.5 to 3", "try doses around"))
    said = done.err.splitlines()[-1]
    assert said == f"next: steer compose storm -n 4 --model {tiny} --device cpu"
    assert steer(*shlex.split(said)[2:], "--max-tokens", 4).code == 0
    stored = json.loads(steer("show", "storm", "--json").out)
    assert load_file(stored["path"]) == load_file(place)
    again = extract("storm", *options)
    assert again.code == 1 and "already has 'storm'" in again.err
    assert extract("other", *options, "-o", place).code == 1
    assert steer("show", "other").code == 2  # the refused extraction saved nothing
    forced = extract("storm", *options, "--force", "--json")
    assert forced.code == 0 and json.loads(forced.out)["layer"] == 1


def test_one_file_with_a_key_and_value_gives_the_same_concept(
    extract: Callable[..., Any], steer: Callable[..., Any], tmp_path: Path
) -> None:
    extract("one", "--positive", tmp_path / "positive.txt", "--background", tmp_path / "background.txt", "--layer", 2)
    extract("two", "--from", tmp_path / "docs.jsonl", "--where", "topic=sea", "--layer", 2)
    one, two = (json.loads(steer("show", name, "--json").out) for name in ("one", "two"))
    assert one["contrast_hash"] == two["contrast_hash"] and one["gap"] == two["gap"]


def test_a_refused_extraction_saves_nothing(
    extract: Callable[..., Any], steer: Callable[..., Any], tmp_path: Path
) -> None:
    docs = tmp_path / "docs.jsonl"
    for arguments, said in [
        (("--from", docs, "--where", "topic=moon"), "topic=moon"),
        (("--from", docs, "--where", "topic"), "key=value"),
        (("--from", docs, "--where", "topic=sea", "--layer", 3), "layers 0 to 2"),
    ]:
        done = extract("storm", *arguments)
        assert done.code == 2 and said in done.err and done.out == ""
    assert steer("show", "storm").code == 2


@pytest.mark.parametrize(
    "stage",
    ["vectors.extraction.methods.learn", "vectors.extraction.layer_selection.evidence", "vectors.common.files._link"],
)
def test_an_interrupted_extraction_leaves_nothing(
    steer: Callable[..., Any], extract: Callable[..., Any], tiny: Path, tmp_path: Path, home: Path,
    monkeypatch: pytest.MonkeyPatch, stage: str,
) -> None:  # fmt: skip
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(stage, stop)
    place, before = tmp_path / "storm.safetensors", sorted(home.rglob("*"))
    done = steer(
        "extract", "storm", "--positive", tmp_path / "positive.txt", "--background", tmp_path / "background.txt",
        "--layer", 1, "--method", "learned", "--no-calibrate", "--model", tiny, "--device", "cpu", "-o", place,
    )  # fmt: skip
    assert done.code == 130 and not place.exists()
    assert sorted(home.rglob("*")) == before


@pytest.mark.slow
@pytest.mark.parametrize(
    "stage",
    [
        "contest.contest.measure_effect", "contest.contest.more_samples", "contest.learned.read_lessons",
        "contest.learned.distil", "contest.extract_best.to_vector", "contest.extract_best.calibrate",
    ],
)  # fmt: skip
def test_an_interrupted_contest_goes_on_where_it_was(
    steer: Callable[..., Any], extract: Callable[..., Any], tiny: Path, tmp_path: Path, home: Path,
    monkeypatch: pytest.MonkeyPatch, stage: str,
) -> None:  # fmt: skip
    command = (
        "extract", "storm", "--positive", tmp_path / "positive.txt", "--background", tmp_path / "background.txt",
        "--budget", "100k", "--model", tiny, "--device", "cpu",
    )  # fmt: skip
    straight = steer(*command, "--json")
    assert straight.code == 0 and not list(home.rglob("unfinished/*"))
    path = next(home.rglob("storm.safetensors"))
    path.unlink()
    whole, calls = importlib.import_module(f"vectors.extraction.{stage.rpartition('.')[0]}"), []
    name = stage.rpartition(".")[2]
    real = getattr(whole, name)

    def second_fails(*arguments: Any, **options: Any) -> Any:
        calls.append(name)
        if len(calls) == (2 if name in ("measure_effect", "more_samples") else 1):
            raise KeyboardInterrupt
        return real(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(whole, name, second_fails)
        assert steer(*command).code == 130
    assert not path.exists() and list(home.rglob("unfinished/storm/*"))
    with monkeypatch.context() as patch:
        again: list[str] = []
        patch.setattr(whole, name, lambda *args, **more: (again.append(name), real(*args, **more))[1])
        resumed = steer(*command, "--json")
    assert resumed.code == 0 and not list(home.rglob("unfinished/*"))
    first, second = json.loads(straight.out), json.loads(resumed.out)
    assert first["evidence"] == second["evidence"] and first["unit_curve"] == second["unit_curve"]
    if name == "measure_effect":  # the first candidate is not judged again
        assert len(again) == len(first["evidence"]["tried"]) - 1


def test_show_prints_the_evidence_for_a_concept(
    extract: Callable[..., Any], steer: Callable[..., Any], tmp_path: Path
) -> None:
    extract("ocean", "--from", tmp_path / "docs.jsonl", "--where", "topic=sea")
    extract("soil", "--from", tmp_path / "docs.jsonl", "--where", "topic=land", "--layer", "0,1,2")
    out = steer("show", "ocean").out
    for part in (
        "AUC on held-out texts",
        "halves agree",
        "nearest",
        "soil -",
        "makes more likely",
        "lens against",
        "most typical",
    ):
        assert part in out
    assert sum(line.lstrip()[:2] in ("0*", "1*", "2*") for line in out.splitlines()) == 1
    assert max(map(len, out.splitlines())) <= 80 or "file" in out
    stored = json.loads(steer("show", "ocean", "--json").out)
    assert [row["layer"] for row in stored["evidence"]["layers"]] == [0, 1, 2]
    assert stored["nearest"][0]["name"] == "soil" and stored["nearest"][0]["cosine"] < 0
    assert "AUC of a difference" not in out
    wide = json.loads(steer("show", "soil", "--json").out)
    assert wide["layers"] == [0, 1, 2]


def test_every_value_of_a_key_becomes_a_concept(
    extract: Callable[..., Any], steer: Callable[..., Any], tmp_path: Path
) -> None:
    docs = tmp_path / "docs.jsonl"
    done = extract("--from", docs, "--each", "ground", "--layer", 1)
    assert done.code == 0 and "sea-ground\n" in done.out and "land-ground\n" in done.out
    alone = extract("sea-alone", "--from", docs, "--where", "topic=sea", "--layer", 1, "--json")
    each, one = (json.loads(steer("show", name, "--json").out) for name in ("sea-ground", "sea-alone"))
    assert each["gap"] == pytest.approx(one["gap"], rel=1e-4) and json.loads(alone.out)["name"] == "sea-alone"
    assert extract("--from", docs, "--each", "ground", "--layer", 1).code == 1  # both exist already


def test_pairs_weights_and_texts_of_the_models_own(extract: Callable[..., Any], tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.jsonl"
    versions = [{"positive": one, "background": other} for one, other in zip(SEAS[:4], REST[:4], strict=True)]
    pairs.write_text("".join(f"{json.dumps(row)}\n" for row in versions))
    paired = json.loads(extract("paired", "--pairs", pairs, "--layer", 1, "--json").out)
    assert paired["n_positive"] == 4 and paired["held_out"] is None
    own = json.loads(extract("own", "--positive", tmp_path / "positive.txt", "--layer", 1, "--json").out)
    assert own["n_background"] > 12
    table = tmp_path / "weighed.csv"
    sides = (("sea", SEAS), ("land", REST))
    rows = [f"{text} {at},{topic},{1 + at}" for topic, texts in sides for at, text in enumerate(texts)]
    table.write_text("\n".join(["text,topic,much", *rows]))
    options = ("--from", table, "--where", "topic=sea", "--layer", 1, "--json")
    plain = json.loads(extract("plain", *options).out)
    weighed = json.loads(extract("weighed", *options, "--weight", "much").out)
    assert plain["gap"] != weighed["gap"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--positive", "p.txt"), "the concept has no name"),
        (("storm",), "there are no texts: give --positive FILE"),
        (("storm", "--background", "b.txt"), "give --positive FILE as well"),
        (("storm", "--positive", "p.txt", "--pairs", "x.jsonl"), "--positive and --pairs both give"),
        (("storm", "--positive", "p.txt", "--weight", "w"), "give the texts by --from"),
        (("storm", "--from", "d.jsonl"), "go together"),
        (("storm", "--each", "topic", "--from", "d.jsonl"), "leave NAME out"),
        (("--each", "topic"), "give --from FILE"),
        (("--each", "topic", "--from", "d.jsonl", "--where", "a=b"), "drop --where"),
        (("storm", "--positive", "p.txt", "--pool", "median"), "--pool is 'median': choose from mean, last"),
        (("storm", "--positive", "p.txt", "--words", "a,b"), "--words is for --method token"),
        (("storm", "--positive", "p.txt", "--layer", "1,x"), "--layer is '1,x'"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    extract: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p.txt").write_text("one\ntwo\n")
    (tmp_path / "b.txt").write_text("three\nfour\n")
    (tmp_path / "d.jsonl").write_text((tmp_path / "docs.jsonl").read_text())
    (tmp_path / "x.jsonl").write_text("{}")
    done = extract(*arguments)
    assert done.code == 2 and said in done.err and done.out == ""


def test_an_unknown_method_is_refused_with_the_list_of_methods(steer: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("one\ntwo\n")
    done = steer("extract", "storm", "--positive", tmp_path / "p.txt", "--method", "guess")
    assert done.code == 2 and "'guess': choose from auto, distilled, learned" in done.err


@pytest.mark.slow
def test_a_direction_towards_words_needs_no_texts(steer: Callable[..., Any], tiny: Path) -> None:
    done = steer("extract", "dog", "--model", tiny, "--device", "cpu", "--method", "token", "--layer", 1, "--json")
    told = json.loads(done.out)
    assert done.code == 0 and told["auc"] is None and told["unit_judge"] is None
    assert told["unit"] > 0 and told["unit_curve"][-1]["success"] > told["unit_curve"][0]["success"]
    done = steer(
        "extract", "beast", "--model", tiny, "--device", "cpu", "--method", "token", "--words", "cat, dog", "--layer", 1
    )
    assert done.code == 0 and "none" in done.out and "natural gap" not in done.out


def test_a_chat_model_that_is_read_bare_is_named(
    extract: Callable[..., Any], steer: Callable[..., Any], tiny: Path, tmp_path: Path
) -> None:
    settings = tiny / "tokenizer_config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"chat_template": "{{ messages }}"}))
    done = extract("gale", "--from", tmp_path / "docs.jsonl", "--where", "topic=sea", "--layer", 1)
    assert done.code == 0 and "is a chat model, and is read and sampled without its chat template" in done.err


@pytest.mark.slow
def test_a_contest_that_is_killed_ten_times_ends_as_one_that_is_not(
    extract: Callable[..., Any], steer: Callable[..., Any], tiny: Path, tmp_path: Path, home: Path, program: list[str]
) -> None:
    command = [
        "extract", "storm", "--positive", str(tmp_path / "positive.txt"), "--background",
        str(tmp_path / "background.txt"), "--budget", "100k", "--model", str(tiny), "--device", "cpu", "--json",
    ]  # fmt: skip
    began = time.monotonic()
    straight = subprocess.run([*program, *command], capture_output=True, check=True)
    whole = time.monotonic() - began
    path = next(home.rglob("storm.safetensors"))
    path.unlink()
    for number in range(10):
        process = subprocess.Popen([*program, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            process.communicate(timeout=whole * (0.15 + 0.06 * number))
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
        if path.exists():  # finished before the kill: a whole vector
            load_file(path)
            path.unlink()
        for damaged in home.rglob("*.safetensors"):
            if "unfinished" not in damaged.parts:
                load_file(damaged)
    resumed = subprocess.run([*program, *command], capture_output=True, check=True)
    first, second = json.loads(straight.stdout), json.loads(resumed.stdout)
    assert first["evidence"] == second["evidence"] and first["unit_curve"] == second["unit_curve"]
    assert not list(home.rglob("unfinished/*"))
