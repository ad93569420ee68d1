"""Samples round-trip, interrupted files lose only an incomplete line, and other runs are refused."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steer.runs.sample_set import Sample, SampleFile, SampleSet, check_output
from vectors.common.errors import InputError, OutputError

KEYS = (  # noqa: SIM905 (in the order of the file)
    "index text tokens logprob_base logprob_steered pressure seed radius geometry doses layer model finish "
    "prompt settings"
).split()


def sample(index: int = 0, **changes: Any) -> Sample:
    fields: dict[str, Any] = {
        "index": index,
        "text": f"entry {index}\nsecond line",
        "tokens": [5, 6, 7],
        "logprob_base": -8.5,
        "logprob_steered": -7.25,
        "pressure": {"mean": 0.5, "p95": 0.75, "total": 1.5},
        "seed": 7,
        "radius": 0.5,
        "geometry": "shell",
        "doses": {"sonnet": 1.0, "cat": 0.8},
        "layer": [1, 2],
        "model": "tiny",
        "finish": "eos",
        "settings": {"max_tokens": 8, "temperature": 1.0, "positions": "all"},
    }
    return Sample(**(fields | changes))


@given(
    text=st.text(st.characters()),
    prompt=st.text(),
    total=st.floats(allow_nan=False, allow_infinity=False),
    seed=st.integers(0, 2**64 - 1),
    tokens=st.lists(st.integers(0, 2**40)),
    doses=st.dictionaries(st.text(), st.floats(-9, 9)),
)
def test_any_sample_survives_one_line_of_json(
    text: str, prompt: str, total: float, seed: int, tokens: list[int], doses: dict[str, float]
) -> None:
    before = sample(text=text, prompt=prompt, logprob_base=total, seed=seed, tokens=tokens, doses=doses)
    line = before.to_json()
    assert Sample.from_json(line.encode()) == before
    assert list(json.loads(line)) == KEYS
    assert len(line.splitlines()) == 1  # not even by a reader that splits at U+2028
    assert not any(ord(character) < 32 or 127 <= ord(character) < 160 for character in line)


def test_numbers_of_other_libraries_become_plain() -> None:
    import numpy as np

    mended = sample(tokens=np.array([1, 2]), logprob_base=np.float32(-1.5), layer=(3,))
    assert json.loads(mended.to_json())["tokens"] == [1, 2] and mended.layer == [3]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"index": -1}, "index is"),
        ({"logprob_base": float("nan")}, "logprob_base is"),
        ({"pressure": {"mean": 1.0}}, "expected mean, p95 and total"),
        ({"pressure": None}, "give both, or neither"),
        ({"logprob_base": None}, "give both, or neither"),
        ({"finish": "stopped"}, "finish is"),
        ({"tokens": "12"}, "tokens is"),
        ({"seed": 2**64}, "seed is"),
        ({"text": None}, "text is"),
        ({"settings": {"a": object()}}, "plain JSON"),
    ],
)
def test_bad_fields_are_named(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=r"^[^\n]*$") as caught:
        sample(**changes)
    assert said in str(caught.value)


def test_a_set_is_ordered_and_round_trips(tmp_path: Path) -> None:
    runs = SampleSet([sample(4), sample(0), sample(2)])
    assert [each.index for each in runs] == [0, 2, 4] and runs.texts[1].startswith("entry 2")
    assert isinstance(runs[1:], SampleSet) and runs[-1].index == 4
    place = runs.save(tmp_path / "run.jsonl")
    assert SampleSet.load(place) == runs and not SampleSet.load(place).torn
    with pytest.raises(OutputError, match="exists"):
        runs.save(place)
    with pytest.raises(InputError, match="comes twice"):
        SampleSet([sample(1), sample(1)])


@pytest.mark.parametrize("cut", [1, 2, 5, 9, 40, 100, 200])
def test_every_truncated_last_line_is_dropped_and_sampled_again(tmp_path: Path, cut: int) -> None:
    place = tmp_path / "run.jsonl"
    whole = f"{sample(0).to_json()}\n".encode()
    place.write_bytes(whole + f"{sample(1, text='crème ☕ ' * 3).to_json()}\n".encode()[:cut])
    assert SampleSet.load(place).torn and len(SampleSet.load(place)) == 1
    with SampleFile(place, "resume") as file:
        assert file.done == {0} and place.read_bytes() == whole
        file.append(sample(1))
    assert [each.index for each in SampleSet.load(place)] == [0, 1] and not SampleSet.load(place).torn


def test_a_last_line_without_line_end_is_kept(tmp_path: Path) -> None:
    place = tmp_path / "run.jsonl"
    place.write_text(sample(0).to_json())
    with SampleFile(place, "resume") as file:
        assert file.done == {0}
        file.append(sample(3))
    assert place.read_text() == f"{sample(0).to_json()}\n{sample(3).to_json()}\n"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"my own notes\n", "line 1 is not JSON"),
        (b"my own notes", "line 1 is not JSON"),
        (b"\xff\xfe\n", "line 1 is not JSON"),
        (b"[1]\n", "line 1 is no JSON object"),
        (b'{"index": 3}\n', "lacks text, tokens"),
        (b'{"index":3,"mine":"notes"}', "lacks text, tokens"),
        (b"{", "line 1 is not JSON"),
        ((sample(0).to_json() + "\n").encode() * 2, "line 2 repeats sample 0"),
    ],
)
def test_foreign_files_are_refused_and_unchanged(tmp_path: Path, content: bytes, said: str) -> None:
    place = tmp_path / "run.jsonl"
    place.write_bytes(content)
    with pytest.raises(InputError, match=said):
        SampleSet.load(place)
    with pytest.raises(InputError, match=said), SampleFile(place, "resume"):
        raise AssertionError("entered")
    assert place.read_bytes() == content


@pytest.mark.parametrize(
    ("expect", "said"),
    [
        ({"seed": 8}, "its seed is "),
        ({"seed": 7, "doses": {"sonnet": 1.0}}, "its doses is"),
        ({"settings": {"max_tokens": 9}}, "its max_tokens is "),
        ({"model": "other", "radius": 1.0}, "its radius is"),
    ],
)
def test_resuming_another_run_names_the_first_difference(tmp_path: Path, expect: dict[str, Any], said: str) -> None:
    place = SampleSet([sample(0)]).save(tmp_path / "run.jsonl")
    before = place.read_bytes()
    with pytest.raises(OutputError, match="another run") as caught, SampleFile(place, "resume", expect):
        raise AssertionError("entered")
    assert said in str(caught.value) and place.read_bytes() == before


def test_a_run_resumes_with_another_number_of_samples(tmp_path: Path) -> None:
    place = SampleSet([sample(0)]).save(tmp_path / "run.jsonl")
    expect = {"seed": 7, "layer": (1, 2), "doses": {"cat": 0.8, "sonnet": 1.0}, "settings": {"max_tokens": 8}}
    with SampleFile(place, "resume", expect) as file:
        file.append(sample(9))
        with pytest.raises(InputError, match="already"):
            file.append(sample(0))
        with pytest.raises(InputError, match="another run"):
            file.append(sample(1, seed=3))
    assert len(SampleSet.load(place)) == 2


def test_every_line_is_on_disk_as_soon_as_it_is_appended(tmp_path: Path) -> None:
    with SampleFile(tmp_path / "run.jsonl") as file:
        for index in (2, 0, 1):
            file.append(sample(index))
            assert index in {each.index for each in SampleSet.load(file.path)}


def test_modes_new_and_force_and_an_empty_run(tmp_path: Path) -> None:
    place = tmp_path / "run.jsonl"
    with SampleFile(place):
        assert place.exists()
    assert not place.exists()
    SampleSet([sample(0), sample(1)]).save(place)
    before = place.read_bytes()
    with pytest.raises(OutputError, match=r"--resume.*--force"), SampleFile(place):
        raise AssertionError("entered")
    with pytest.raises(RuntimeError), SampleFile(place, "force"):
        raise RuntimeError("fails before the first sample")
    assert place.read_bytes() == before
    with SampleFile(place, "force") as file:
        file.append(sample(5))
    assert [each.index for each in SampleSet.load(place)] == [5]


def test_two_processes_cannot_write_one_file(tmp_path: Path) -> None:
    place = tmp_path / "run.jsonl"
    script = f"from steer.runs.sample_set import SampleFile\nwith SampleFile({str(place)!r}, 'resume'): pass"
    with SampleFile(place) as file:
        file.append(sample(0))
        other = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
        assert "another process" in other.stderr
        file.append(sample(1))
    assert len(SampleSet.load(place)) == 2


def test_a_file_removed_before_it_was_locked_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "run.jsonl"
    monkeypatch.setattr(SampleFile, "_lock", lambda file: file.path.unlink())
    with pytest.raises(OutputError, match="removed or replaced"), SampleFile(place):
        raise AssertionError("entered")
    assert not place.exists()


def test_a_path_without_permission_or_named_like_an_option_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(OutputError, match=r"write '\./-x' if"):
        check_output("-x")
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere
    with pytest.raises(OutputError, match="you may not write there"):
        check_output(tmp_path / "run.jsonl")


def test_resuming_with_another_vector_of_the_same_name_is_refused(tmp_path: Path) -> None:
    made = {"max_tokens": 8, "vectors": {"cat": "aa"}}
    place = SampleSet([sample(0, settings=made)]).save(tmp_path / "run.jsonl")
    SampleFile(place, "resume", {"settings": made}).__enter__().__exit__(None, None, None)
    with pytest.raises(OutputError, match="its vector cat is 'aa', this run's is 'bb'"):
        SampleFile(place, "resume", {"settings": made | {"vectors": {"cat": "bb"}}}).__enter__()


@pytest.mark.parametrize("mode", ["new", "force", "resume"])
def test_paths_that_cannot_be_written_are_refused_at_once(tmp_path: Path, mode: Any) -> None:
    for place, said in [
        (tmp_path, "folder"),
        (tmp_path / "none" / "run.jsonl", "no folder"),
        (Path(os.devnull), "not a regular file"),
        (Path("a\0b"), "NUL"),
        (tmp_path / ("x" * 300), "cannot write"),
    ]:
        with pytest.raises(OutputError, match=said), SampleFile(place, mode):
            raise AssertionError("entered")
    assert list(tmp_path.iterdir()) == []


def test_reading_samples_needs_no_model() -> None:
    script = (
        "import sys, steer.runs.sample_set; print([m for m in ('torch', 'numpy', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
