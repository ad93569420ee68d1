"""The readers return what was written, and name the invalid line."""

import gc
import gzip
import io
import json
import sys
import tracemalloc
import warnings
from pathlib import Path

import pandas
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vectors.common.errors import InputError, SteerWarning
from vectors.data.reading import Reading
from vectors.data.text_files import read_contrast, read_labels, read_pairs, read_rows, read_texts

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1).filter(str.strip)


@given(st.lists(texts, min_size=1))
def test_every_format_returns_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, given_texts: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("texts")
    frame = pandas.DataFrame({"id": range(len(given_texts)), "text": given_texts})
    ends = "\r\n"  # with others, pandas does not quote a lone carriage return
    frame.to_csv(folder / "a.csv", index=False, lineterminator=ends)
    frame.to_csv(folder / "indexed.csv.gz", lineterminator=ends)
    if not any("\t" in text for text in given_texts):  # lines with tabs in quotes may be rows of `paste` as well
        frame.to_csv(folder / "a.tsv", index=False, sep="\t", lineterminator=ends)
    frame.to_csv(folder / "semicolons.csv", index=False, sep=";", lineterminator=ends)
    frame.to_parquet(folder / "a.parquet")
    frame.to_feather(folder / "a.feather")
    for orient in ("records", "columns", "index", "split", "table"):
        frame.to_json(folder / f"{orient}.json", orient=orient)
    frame.to_json(folder / "lines.jsonl", orient="records", lines=True)
    frame.to_json(folder / "lines.txt", orient="records", lines=True)
    (folder / "list.json").write_text(json.dumps(given_texts))
    (folder / "indented.json").write_text(json.dumps(given_texts, indent=1, ensure_ascii=False), encoding="utf-8")
    (folder / "strings.jsonl").write_text("".join(f"{json.dumps(text)}\n" for text in given_texts))
    (folder / "utf16.jsonl").write_text("".join(f"{json.dumps({'text': text})}\n" for text in given_texts), "utf-16")
    for path in sorted(folder.iterdir()):
        how = Reading(delimiter=";") if path.name == "semicolons.csv" else Reading()
        assert read_texts(path, how=how) == tuple(given_texts), path.name


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
        ("a.txt", b"good\n\xe9t\xe9", "line 2 is not UTF-8: .* iconv -f WINDOWS-1252"),
        ("a.txt", b"x\n\0", "line 2 holds a NUL"),
        ("a.txt", "two".encode("utf-16-le"), "line 1 holds a NUL: .* iconv -f UTF-16LE"),
        ("a.txt", b"\xff\xfea\x00\x00\xdc", "damaged UTF-16"),
        ("a.jsonl", b'{"text": "x"}\n\n{"text": ', "line 3 is not JSON"),
        ("a.jsonl", b"[" * 100_000, "line 1 is not JSON"),
        ("a.jsonl", b'{"text": "x"}\n7', "line 2 is 7: give a list of texts"),
        ("a.jsonl", b'"x"\n{"text": "y"}', "line 2 is .* unlike the lines before it"),
        ("a.jsonl", b'{"body": "x", "topic": "y"}', "line 1 has no 'text': it has 'body', 'topic'; .* --text-column"),
        ("a.json", b'["x", 3]', "item 2 is 3, unlike the items before it"),
        ("a.json", b"3", "neither a list nor an object"),
        ("a.json", b'{"text": ', "is not JSON"),
        ("a.json", b'{"dev": [{"text": "x"}], "test": [{"text": "y"}]}', "'dev', 'test'.*--split"),
        ("a.jsonl", b'{"text": 3}', "line 1 has 3 as 'text'"),
        ("a.jsonl", b'{"text": "\\ud800"}', "line 1 holds half of a surrogate pair"),
        ("a.csv", b"", "holds no text"),
        ("a.csv", b"topic,body\ny,x\n", "no 'text': it has 'topic', 'body'; .*--text-column.*--no-header"),
        ("a.csv", b"text,text\nx,y\n", "two columns called 'text'"),
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


def test_missing_files_and_folders_without_texts_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no file"):
        read_texts(tmp_path / "none.txt")
    (tmp_path / "folder.txt").mkdir()
    with pytest.raises(InputError, match="is a folder without texts"):
        read_texts(tmp_path / "folder.txt")


def test_the_only_column_of_texts_is_read_and_named(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('goal,label\n"a happy day, one",1\n"a dull day",0\n')
    with pytest.warns(SteerWarning, match="has no 'text': its only texts, under 'goal', are read"):
        assert read_texts(path) == ("a happy day, one", "a dull day")
    assert read_texts(path, field="goal") == ("a happy day, one", "a dull day")
    with pytest.raises(InputError, match=r"line 2 has no 'gaol': it has 'goal', 'label'.*--text-column"):
        read_texts(path, field="gaol")


def test_columns_are_put_together_and_found_inside_objects(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    rows = [
        {"question": "Sea?", "answer": "Yes", "meta": {"body": "wave"}, "turns": [{"text": "one"}, {"text": "two"}]}
    ]
    path.write_text(json.dumps(rows))
    assert read_texts(path, field="question,answer") == ("Sea?\nYes",)
    assert read_texts(path, field="meta.body") == ("wave",)
    assert read_texts(path, field="turns.1.text") == ("two",)


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
        ("wet=True", ("foam",)),
        ("n=3.0", ("waves",)),
        ('topic="sea"', ("waves", "foam")),
        ("topic=", ("no topic",)),
        ("tags=", ("dunes", "foam", "no topic")),
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
        ("mood=sad", "no row of .* has 'mood': it has 'n', 'tags', 'topic', 'wet'"),
        ("topic=sae", "no row of .* has 'topic=sae': its values are 'desert', 'sea'"),
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
    with pytest.raises(InputError, match=r"no row of .* has 'mass': it has 'score', 'topic'"):
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
    assert contrast.background == ("a calm sea", " wind ")
    assert read_pairs(path, positive="background", background="positive").positive == ("a calm sea", " wind ")
    path.write_text("\n".join(map(json.dumps, [*rows, {"positive": "alone"}])))
    with pytest.raises(InputError, match=r"line 3 has no 'background'"):
        read_pairs(path)
    path.write_text("\n".join(map(json.dumps, [*rows, {"positive": "alone", "background": " "}])))
    with pytest.raises(InputError, match=r"line 3 has no text as 'background': give both"):
        read_pairs(path)
    (tmp_path / "a.txt").write_text("one text")
    with pytest.raises(InputError, match="give pairs as"):
        read_pairs(tmp_path / "a.txt")


def test_labels_are_read_row_by_row(table: Path) -> None:
    assert read_labels(table, "topic") == (["waves", "dunes", "foam", "no topic"], [["sea"], ["desert"], ["sea"], []])
    assert read_labels(table, "tags")[1] == [["wet", "blue"], [], [], []]
    with pytest.raises(InputError, match=r"no row of .* has 'mood'"):
        read_labels(table, "mood")


def test_pairs_may_have_other_names_or_none(tmp_path: Path) -> None:
    path, expected = tmp_path / "a.json", (("wild", "rough"), ("calm", "still"))
    for names in (("positive", "negative"), ("pos", "neg"), ("positive", "background")):
        path.write_text(json.dumps([dict(zip(names, pair, strict=True)) for pair in zip(*expected, strict=True)]))
        contrast = read_pairs(path)
        assert (contrast.positive, contrast.background, contrast.paired) == (*expected, True)
    path.write_text(json.dumps(list(zip(*expected, strict=True))))
    with pytest.warns(SteerWarning, match="the first of each pair"):
        assert read_pairs(path).positive == expected[0]
    assert read_pairs(path, positive="2", background="1").positive == expected[1]
    path.write_text(json.dumps([{"chosen": "wild", "rejected": "calm"}]))
    with pytest.raises(InputError, match=r"no 'positive': it has 'chosen', 'rejected'; .* by --positive-column"):
        read_pairs(path)
    assert read_pairs(path, positive="chosen", background="rejected").background == ("calm",)


def test_lists_of_unequal_length_are_sides_and_no_pairs(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"stormy": ["wild", "rough", "grey"], "plain": ["calm", "still"]}))
    assert read_texts(path, field="stormy") == ("wild", "rough", "grey")
    assert read_texts(path, field="plain") == ("calm", "still")
    with pytest.raises(InputError, match=r"unequal length.*both --positive and --background"):
        read_pairs(path, positive="stormy", background="plain")


@pytest.mark.parametrize(
    ("cells", "where", "positive"),
    [
        (["1", "0", "2"], "label=1.0", "a"),
        (["1.0", "0.0", "2.0"], "label=1", "a"),
        ([1, 0, 2], "label=01", "a"),
        ([0.5, 0.25, 1], "label=0.50", "a"),
        ([True, False, None], "label=TRUE", "a"),
        (["v1.10", "v1.1", "x"], "label=v1.10", "a"),
        (["1.10", "1.1", "x"], "label=1.10", "a"),
        (["a=b", "a", "b"], "label=a=b", "a"),
        (["être triste", "joie", ""], "label=e\u0302tre triste", "a"),
        (["Sci-Fi & Fantasy", "Drama", ""], "label=Sci-Fi & Fantasy", "a"),
        (['"quoted"', "plain", ""], 'label="quoted"', "a"),
        (["", "x", "y"], "label=", "a"),
        ([None, "x", "y"], 'label=""', "a"),
        ([["x", "y"], ["y"], []], "label=x", "a"),
        ([{"name": "sea"}, {"name": "land"}, {}], "label.name=sea", "a"),
    ],
)
def test_labels_match_as_people_write_them(tmp_path: Path, cells: list[object], where: str, positive: str) -> None:
    path = tmp_path / "a.jsonl"
    rows = [{"text": text, "label": cell} for text, cell in zip("abc", cells, strict=True)]
    path.write_text("\n".join(map(json.dumps, rows)))
    contrast = read_contrast(path, where)
    assert contrast.positive == (positive,) and contrast.background == ("b", "c")


def test_rows_keep_their_labels(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,topic\nwaves,sea\n,land\n")
    assert read_rows(path) == ([{"topic": "sea"}], ["waves"])


def test_written_out_line_ends_are_noticed_and_turned_back(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text(r"user\nBe happy\n" + "\n" + r"\\no line end" + "\n")
    with pytest.warns(SteerWarning, match=r"1 of 2 texts of .* hold \\n as two characters.*--escapes"):
        read_texts(path)
    assert read_texts(path, how=Reading(escapes=True)) == ("user\nBe happy\n", r"\no line end")


def test_keys_may_appear_late(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    rows = [{"text": f"text {index}"} for index in range(500)] + [{"text": "waves", "topic": "sea", "score": 2}]
    path.write_text("\n".join(map(json.dumps, rows)))
    contrast = read_contrast(path, "topic=sea", weight="score")
    assert contrast.positive == ("waves",) and len(contrast.background) == 500 and contrast.weights["waves"] == 2
    assert read_labels(path, "topic")[1][-1] == ["sea"]


def test_files_are_closed(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one")
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"one"))
    (tmp_path / "bad.jsonl").write_text("{}\n{")
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        assert read_texts(tmp_path / "a.txt") == read_texts(tmp_path / "a.txt.gz")
        with pytest.raises(InputError):
            read_texts(tmp_path / "bad.jsonl")
        gc.collect()


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.csv", "a.parquet"])
def test_memory_grows_with_the_texts_alone(tmp_path: Path, name: str) -> None:
    """What else a file holds is not kept: here nine tenths of it."""
    path, rows = tmp_path / name, [{"text": f"text {index}", "more": f"{index} " * 40} for index in range(20_000)]
    frame = pandas.DataFrame(rows)
    if name == "a.txt":
        path.write_text("".join(f"text {index}\n" + " " * 200 + "\n" for index in range(20_000)))
    elif name == "a.jsonl":
        frame.to_json(path, orient="records", lines=True)
    else:
        frame.to_csv(path) if name == "a.csv" else frame.to_parquet(path)
    del frame, rows
    read_texts(path)  # imports
    tracemalloc.start()
    texts = read_texts(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    size = sum(map(sys.getsizeof, texts)) + 2 * sys.getsizeof(texts)
    assert len(texts) == 20_000 and peak < 1.5 * size + 2_000_000
