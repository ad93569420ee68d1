"""Contrast sets refuse what cannot be contrasted; the readers name the line that is wrong."""

import csv
import io
import json
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from vectors.contrast import ContrastSet, is_held_out, read_contrast, read_texts
from vectors.errors import InputError

texts = (
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1).map(str.strip).filter(bool)
)
many = st.lists(texts, min_size=2, max_size=20, unique=True)


@pytest.mark.parametrize(
    ("positive", "background", "why"),
    [
        ((), ("a",), "positive is empty"),
        (("a",), (), "background is empty"),
        ((), (), "positive is empty"),
        (("a", " "), ("b",), "text 1 of positive"),
        (("a",), ("b", "\ud800"), "text 1 of background holds half of a surrogate pair"),
        (("a", "b"), ("b", "a"), "same texts"),
    ],
)
def test_one_sided_and_blank_sets_are_refused(positive: tuple[str, ...], background: tuple[str, ...], why: str) -> None:
    with pytest.raises(InputError, match=why):
        ContrastSet(positive=positive, background=background)


@given(many, many, st.floats(0.01, 0.99), st.integers(0, 100))
def test_a_split_parts_each_side_in_two(positive: list[str], background: list[str], share: float, seed: int) -> None:
    assume(set(positive) != set(background))
    whole = ContrastSet(positive=tuple(positive), background=tuple(background))
    try:
        fit, out = whole.split(held_out=share, seed=seed)
    except InputError as error:  # the parts of two sides may happen to hold the same texts
        assert "same texts" in str(error)
        return
    for side in ("positive", "background"):
        kept, held = set(getattr(fit, side)), set(getattr(out, side))
        assert kept and held and not kept & held
        assert kept | held == set(getattr(whole, side))
        alone = {text for text in kept | held if is_held_out(text, share=share, seed=seed)}
        assert held == alone if 0 < len(alone) < len(kept | held) else min(len(held), len(kept)) == 1


def test_about_the_asked_share_is_held_out() -> None:
    for share in (0.1, 0.25, 0.9):
        assert sum(is_held_out(str(at), share=share, seed=3) for at in range(4000)) / 4000 == pytest.approx(
            share, abs=0.03
        )


def test_a_split_follows_the_seed_not_the_order() -> None:
    a, b = tuple(f"a{i}" for i in range(40)), tuple(f"b{i}" for i in range(40))
    first = ContrastSet(positive=a, background=b).split(seed=1)[1]
    assert set(ContrastSet(positive=a[::-1], background=b).split(seed=1)[1].positive) == set(first.positive)
    assert set(ContrastSet(positive=a, background=b).split(seed=2)[1].positive) != set(first.positive)


def test_copies_of_a_text_are_not_split_apart() -> None:
    both = ContrastSet(positive=("a", "b", "a", "b", "a"), background=("c", "d"))
    fit, out = both.split()
    assert len(set(fit.positive)) == len(set(out.positive)) == 1
    with pytest.raises(InputError, match="positive has 1 different text"):
        ContrastSet(positive=("a", "a"), background=("c", "d")).split()


@pytest.mark.parametrize("share", [0.0, 1.0, -1.0, float("nan")])
def test_shares_outside_zero_and_one_are_refused(share: float) -> None:
    with pytest.raises(InputError, match="held_out"):
        ContrastSet(positive=("a", "b"), background=("c", "d")).split(held_out=share)


@given(many, many)
def test_the_hash_is_of_the_texts_and_their_sides(positive: list[str], background: list[str]) -> None:
    assume(set(positive) != set(background))
    one = ContrastSet(positive=tuple(positive), background=tuple(background))
    assert one.hash == ContrastSet(positive=tuple(positive[::-1]), background=tuple(background)).hash
    assert one.hash != ContrastSet(positive=tuple(background), background=tuple(positive)).hash
    assert one.hash != ContrastSet(positive=(*positive, positive[0]), background=tuple(background)).hash


def test_the_hash_tells_where_texts_end() -> None:
    assert (
        ContrastSet(positive=("ab", "c"), background=("d",)).hash
        != ContrastSet(positive=("a", "bc"), background=("d",)).hash
    )


@given(st.lists(texts, min_size=1))
def test_jsonl_and_csv_give_back_what_was_written(
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
    place = tmp_path / "a.txt"
    place.write_bytes("\ufeffone\r\n\r\n  two\u2028still two \n\nthree\x0cstill three\rfour".encode())
    assert read_texts(place) == ("one", "two\u2028still two", "three\x0cstill three", "four")


def test_stdin_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"one\ntwo\n")))
    assert read_texts("-") == ("one", "two")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b'{"text": "one"}\n')))
    assert read_texts("-", format="jsonl") == ("one",)


@pytest.mark.parametrize(
    ("name", "content", "why"),
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
        ("a.jsonl", b'["x"]', "line 1 is no JSON object"),
        ("a.jsonl", b'{"body": "x"}', "line 1 has no 'text': it has 'body'"),
        ("a.jsonl", b'{"text": 3}', "line 1 has 3 as 'text'"),
        ("a.jsonl", b'{"text": "\\ud800"}', "line 1 holds half of a surrogate pair"),
        ("a.csv", b"", "holds no text"),
        ("a.csv", b"id,body\n1,x\n", "no 'text': it has 'id, body'"),
        ("a.csv", b"id,text\n1,one, two\n", "line 2 has not as many cells"),
        ("a.csv", b"id,text\n1\n", "line 2 has not as many cells"),
        ("a.csv", b'id,text\n1,"open\n', "is not CSV"),
    ],
)
def test_bad_files_are_refused_by_line(tmp_path: Path, name: str, content: bytes, why: str) -> None:
    place = tmp_path / name
    place.write_bytes(content)
    with pytest.raises(InputError, match=why) as caught:
        read_texts(place)
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
    place = tmp_path / "a.jsonl"
    place.write_text("\n".join(map(json.dumps, rows)))
    return place


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
    ("where", "why"),
    [
        ("topic", "give key=value"),
        ("=sea", "give key=value"),
        ("topic=", "give key=value"),
        ("mood=sad", "no row of .* has 'mood': it has 'n, tags, topic, wet'"),
        ("topic=sae", "no row of .* has 'topic=sae': its values are 'desert, sea'"),
    ],
)
def test_conditions_that_select_nothing_say_what_there_is(table: Path, where: str, why: str) -> None:
    with pytest.raises(InputError, match=why):
        read_contrast(table, where)


def test_a_condition_that_selects_everything_is_refused(tmp_path: Path) -> None:
    place = tmp_path / "a.csv"
    place.write_text("text,topic\nwaves,sea\nfoam,sea\n")
    with pytest.raises(InputError, match="every row"):
        read_contrast(place, "topic=sea")


def test_lines_have_no_keys_to_select_by(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("waves")
    with pytest.raises(InputError, match=r"give .jsonl or .csv"):
        read_contrast(tmp_path / "a.txt", "topic=sea")
