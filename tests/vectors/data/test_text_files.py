"""The readers return what was written, and name the invalid line."""

import csv
import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vectors.common.errors import InputError
from vectors.data.text_files import read_contrast, read_labels, read_pairs, read_texts

texts = (
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1).map(str.strip).filter(bool)
)


@given(st.lists(texts, min_size=1))
def test_jsonl_and_csv_return_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, given_texts: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("texts")
    lines = folder / "a.jsonl"
    lines.write_text("".join(json.dumps({"text": text}) + "\n" for text in given_texts), encoding="utf-8")
    assert read_texts(lines) == tuple(given_texts)
    table = io.StringIO(newline="")
    writer = csv.writer(table)
    writer.writerows([["id", "text"], *enumerate(given_texts)])
    (folder / "a.csv").write_bytes(table.getvalue().encode())
    assert read_texts(folder / "a.csv") == tuple(given_texts)


def test_lines_end_only_at_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffone\r\n\r\n  two\u2028still two \n\nthree\x0cstill three\rfour".encode())
    assert read_texts(path) == ("one", "two\u2028still two", "three\x0cstill three", "four")


def test_stdin_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"one\ntwo\n")))
    assert read_texts("-") == ("one", "two")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b'{"text": "one"}\n')))
    assert read_texts("-", format="jsonl") == ("one",)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"", "holds no text"),
        ("a.txt", b" \n\n", "holds no text"),
        ("a.txt", b"good\nb\xff", "line 2 is not UTF-8"),
        ("a.txt", "two".encode("utf-16"), "line 1 is not UTF-8"),
        ("a.txt", b"x\n\0", "line 2 holds a NUL"),
        ("a.pdf", b"x", "'pdf': give one of .txt, .jsonl, .csv"),
        ("a", b"x", "of no known format"),
        ("a.jsonl", b'{"text": "x"}\n\n{"text": ', "line 3 is not JSON"),
        ("a.jsonl", b"[" * 100_000, "line 1 is not JSON"),
        ("a.jsonl", b'["x"]', "line 1 is not a JSON object"),
        ("a.jsonl", b'{"body": "x"}', "line 1 has no 'text': it has 'body'"),
        ("a.jsonl", b'{"text": 3}', "line 1 has 3 as 'text'"),
        ("a.jsonl", b'{"text": "\\ud800"}', "line 1 holds half of a surrogate pair"),
        ("a.csv", b"", "holds no text"),
        ("a.csv", b"id,body\n1,x\n", "no 'text': it has 'id, body'"),
        ("a.csv", b"id,text\n1,one, two\n", "line 2 does not have as many cells"),
        ("a.csv", b"id,text\n1\n", "line 2 does not have as many cells"),
        ("a.csv", b'id,text\n1,"open\n', "is not CSV"),
    ],
)
def test_bad_files_are_refused_by_line(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        read_texts(path)
    assert len(str(caught.value).splitlines()) == 1


def test_missing_files_and_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no file"):
        read_texts(tmp_path / "none.txt")
    (tmp_path / "folder.txt").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        read_texts(tmp_path / "folder.txt")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    rows = [
        {"text": "waves", "topic": "sea", "n": 3, "tags": ["wet", "blue"]},
        {"text": "dunes", "topic": "desert", "n": 4, "tags": []},
        {"text": "", "topic": "sea"},
        {"text": "foam", "topic": "sea", "wet": True},
        {"text": "no topic"},
    ]
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


@pytest.mark.parametrize(
    ("where", "positive"),
    [
        ("topic=sea", ("waves", "foam")),
        (" topic = sea ", ("waves", "foam")),
        ("n=3", ("waves",)),
        ("tags=wet", ("waves",)),
        ("wet=true", ("foam",)),
    ],
)
def test_rows_that_match_are_positive_and_the_rest_background(
    table: Path, where: str, positive: tuple[str, ...]
) -> None:
    contrast = read_contrast(table, where)
    assert contrast.positive == positive
    assert sorted(contrast.positive + contrast.background) == ["dunes", "foam", "no topic", "waves"]


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("topic", "give key=value"),
        ("=sea", "give key=value"),
        ("topic=", "give key=value"),
        ("mood=sad", "no row of .* has 'mood': it has 'n, tags, topic, wet'"),
        ("topic=sae", "no row of .* has 'topic=sae': its values are 'desert, sea'"),
    ],
)
def test_conditions_that_match_nothing_list_the_values(table: Path, where: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_contrast(table, where)


def test_a_condition_that_selects_everything_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,topic\nwaves,sea\nfoam,sea\n")
    with pytest.raises(InputError, match="every row"):
        read_contrast(path, "topic=sea")


def test_lines_have_no_keys_to_select_by(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("waves")
    with pytest.raises(InputError, match=r"give .jsonl or .csv"):
        read_contrast(tmp_path / "a.txt", "topic=sea")


def test_weights_are_read_beside_the_texts(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,topic,score\nwaves,sea,2\nfoam,sea,\nfoam,sea,3\ndunes,desert,0.5\n")
    contrast = read_contrast(path, "topic=sea", weight="score")
    assert contrast.weights == {"waves": 2.0, "foam": 2.0, "dunes": 0.5}  # two copies, 1 and 3: each counts 2
    with pytest.raises(InputError, match=r"no row of .* has 'mass': it has 'score, topic'"):
        read_contrast(path, "topic=sea", weight="mass")
    for invalid in ("much", "-1", "nan"):
        path.write_text(f"text,topic,score\nwaves,sea,{invalid}\ndunes,desert,1\n")
        with pytest.raises(InputError, match=invalid):
            read_contrast(path, "topic=sea", weight="score")


def test_pairs_are_read_row_by_row(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    rows = [{"positive": "a wild sea", "background": "a calm sea"}, {"positive": "wild wind", "background": " wind "}]
    path.write_text("\n".join(map(json.dumps, rows)))
    contrast = read_pairs(path)
    assert contrast.paired and contrast.positive == ("a wild sea", "wild wind")
    assert contrast.background == ("a calm sea", "wind")
    assert read_pairs(path, positive="background", background="positive").positive == ("a calm sea", "wind")
    path.write_text("\n".join(map(json.dumps, [*rows, {"positive": "alone"}])))
    with pytest.raises(InputError, match=r"row 3 of .* has no 'background'"):
        read_pairs(path)
    with pytest.raises(InputError, match="give pairs as"):
        read_pairs(tmp_path / "a.txt")


def test_labels_are_read_row_by_row(table: Path) -> None:
    assert read_labels(table, "topic") == (["waves", "dunes", "foam", "no topic"], [["sea"], ["desert"], ["sea"], []])
    assert read_labels(table, "tags")[1] == [["wet", "blue"], [], [], []]
    with pytest.raises(InputError, match=r"no row of .* has 'mood'"):
        read_labels(table, "mood")
