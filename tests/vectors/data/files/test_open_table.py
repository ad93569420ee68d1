"""A file is what it holds; a format that is given overrides it."""

import io
import json
import os
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vectors.common.errors import InputError, SteerWarning
from vectors.data.reading import Reading
from vectors.data.text_files import read_contrast, read_texts

ROWS = [{"text": "waves", "label": 1}, {"text": "dunes", "label": 0}]
LINES = "".join(f"{json.dumps(row)}\n" for row in ROWS)


@pytest.mark.parametrize("name", ["a.txt", "a.md", "a", "a.jsonl", "a.json", "a.csv", "a.data", "a.JSONL"])
def test_json_lines_are_recognised_under_every_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(LINES)
    assert read_texts(tmp_path / name) == ("waves", "dunes")
    assert read_contrast(tmp_path / name, "label=1").positive == ("waves",)


@pytest.mark.parametrize("name", ["a.txt", "a.md", "a", "a.text", "notes.log", "v1.5"])
def test_everything_else_is_one_text_a_line(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("one, two\n\nthree; four\n")
    assert read_texts(tmp_path / name) == ("one, two", "three; four")


@pytest.mark.parametrize(
    "content",
    [
        "[Scene: a storm]\n[Enter Lear]",
        "[1] Smith (2020)\n[2] Jones",
        "{curly}\nx",
        "[1]\n[2]\nnotes",
        "[]\nx",
        "{\nreturn x\n}",
        "[x] done\n[ ] open",
        '["quoted"] at the start\nof a text',
    ],
)
def test_brackets_alone_are_no_json(tmp_path: Path, content: str) -> None:
    path = tmp_path / "a.txt"
    path.write_text(content)
    assert read_texts(path) == tuple(content.splitlines())


@given(st.lists(st.text(st.sampled_from('[]{}", :1ab\\'), min_size=1).filter(str.strip), min_size=1, max_size=4))
def test_any_line_is_read_as_a_text_when_the_format_says_so(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str]
) -> None:
    path = tmp_path_factory.mktemp("texts") / "a.json"
    path.write_text("\n".join(lines))
    assert read_texts(path, format="txt") == tuple(line.strip() for line in lines)


def test_a_format_overrides_the_ending(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("text,label\nwaves,1\n")
    assert read_texts(path, format="csv") == ("waves",)
    with pytest.raises(InputError, match=r"line 1 is not JSON .*--format"):
        read_texts(path)
    with pytest.raises(InputError, match="the format is 'xml': choose from"):
        read_texts(path, format="xml")


def test_pipes_are_read_as_files(tmp_path: Path) -> None:
    long = [f"text number {index} of many" for index in range(5000)]
    for content, expected in (
        ("one\ntwo\n", ("one", "two")),
        (LINES, ("waves", "dunes")),
        (json.dumps(long), tuple(long)),  # one line, longer than what is looked at
        (json.dumps([{"text": text} for text in long], indent=1), tuple(long)),
        ("\n".join(long), tuple(long)),
    ):
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        writer = threading.Thread(target=pipe.write_text, args=(content,))
        writer.start()
        assert read_texts(pipe) == expected
        writer.join()
        pipe.unlink()


def test_stdin_holds_any_format(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    pandas.DataFrame(ROWS).to_parquet(tmp_path / "a.parquet")
    for content in (LINES.encode(), json.dumps(ROWS).encode(), (tmp_path / "a.parquet").read_bytes()):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
        assert read_contrast("-", "label=1").positive == ("waves",)
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(InputError, match="stdin is closed"):
        read_texts("-")


def test_a_damaged_line_after_json_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text(LINES + "{torn\n")
    with pytest.raises(InputError, match=r"line 3 is not JSON .*pass --format"):
        read_texts(path)


def test_a_folder_of_text_files_has_one_text_a_file(tmp_path: Path) -> None:
    (tmp_path / "pos").mkdir()
    for number in range(3):
        (tmp_path / "pos" / f"{number}.txt").write_text(f"text {number}\nof two lines\n")
    with pytest.warns(SteerWarning, match="is a folder: each of its 3 .txt files is one text"):
        assert read_texts(tmp_path / "pos") == tuple(f"text {number}\nof two lines" for number in range(3))
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "a.txt").write_text("one\ntwo\n")
    with pytest.raises(InputError, match=r"is a folder: give the file in it, '.*a.txt'"):
        read_texts(tmp_path / "one")


def test_the_shards_of_a_dataset_are_read_in_order(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("about")
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "x.jsonl").write_text("no")
    (tmp_path / "data").mkdir()
    for split, shard in (("train", 0), ("train", 1), ("test", 0)):
        (tmp_path / "data" / f"{split}-0000{shard}-of-00002.jsonl").write_text(json.dumps({"text": f"{split} {shard}"}))
    with pytest.warns(SteerWarning) as said:
        assert read_texts(tmp_path) == ("train 0", "train 1")
    assert "has the parts 'test', 'train': 'train' is read" in str(said[0].message)
    assert "its 2 files 'train-00000-of-00002.jsonl' to" in str(said[1].message)
    assert read_texts(tmp_path, how=Reading(split="test")) == ("test 0",)
    for language in ("en", "fr"):
        (tmp_path / language).mkdir()
        (tmp_path / language / "validation.jsonl").write_text(json.dumps({"text": language}))
    with pytest.raises(InputError, match=r"holds several datasets .'en', 'fr'.: give the path of one"):
        read_texts(tmp_path, how=Reading(split="validation"))


@pytest.mark.parametrize(
    ("name", "content", "options", "field"),
    [
        ("a.txt", "waves\ndunes\n", {"split": "test"}, None),
        ("a.csv", "text,label\nwaves,1\ndunes,0\n", {"split": "test"}, None),
        ("a.json", json.dumps(ROWS), {"split": "test"}, None),
        ("a.jsonl", LINES, {"split": "test"}, None),
        ("a.txt", "waves\ndunes\n", {"header": False}, None),
        ("a.jsonl", LINES, {"header": False}, None),
        ("a.txt", "waves\ndunes\n", {}, "body"),
        ("a.json", '["waves", "dunes"]', {}, ""),
    ],
)
def test_options_without_effect_are_said(
    tmp_path: Path, name: str, content: str, options: dict[str, object], field: str | None
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.warns(SteerWarning, match="has no effect on it"):
        texts = read_texts(tmp_path / name, field=field, how=Reading(**options))  # type: ignore[arg-type]
    assert texts == ("waves", "dunes")
