"""Delimiters, headers and quotes of csv and tsv files."""

import re
import time
from pathlib import Path

import pytest

from vectors.common.errors import InputError, SteerWarning
from vectors.data.reading import Reading
from vectors.data.text_files import read_contrast, read_rows, read_texts


def write(folder: Path, content: str | bytes, name: str = "a.csv") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('text;label\n"a; b, c";1\nd, e;0\n', ("a; b, c", "d, e")),
        ("text|label\none, two|1\nthree|0\n", ("one, two", "three")),
        ("id\ttext\n1\tone, two\n", ("one, two",)),
    ],
)
def test_a_delimiter_that_alone_fits_is_used_and_said(tmp_path: Path, content: str, expected: tuple[str, ...]) -> None:
    with pytest.warns(SteerWarning, match="between its cells"):
        assert read_texts(write(tmp_path, content)) == expected


def test_a_comma_is_a_comma_and_one_column_is_one_column(tmp_path: Path) -> None:
    assert read_texts(write(tmp_path, "text,label\na;b,1\nc;d,0\n")) == ("a;b", "c;d")
    assert read_texts(write(tmp_path, "text\na;b\nc\n")) == ("a;b", "c")
    with pytest.raises(InputError, match=r"line 2 does not have as many cells .*quote texts that hold commas"):
        read_texts(write(tmp_path, "text\nhello, world\n"))


@pytest.mark.parametrize(("delimiter", "said"), [("\t", "tab"), (";", "';'"), ("|", "'|'")])
def test_uneven_rows_of_another_delimiter_are_no_column_of_texts(tmp_path: Path, delimiter: str, said: str) -> None:
    rows = (
        ("kind", "first", "second"),
        ("a", "It rains.", "It pours."),
        ("a", "It rains.", "It pours.", "a dictionary"),
    )
    path = write(tmp_path, "".join(delimiter.join(row) + "\n" for row in rows))
    with pytest.raises(InputError, match=rf"unequal numbers of .*--delimiter {re.escape(said)} \(delimiter=\)"):
        read_texts(path)
    with pytest.raises(InputError, match="line 3 does not have as many cells"):
        read_texts(path, field="first", how=Reading(delimiter=said.strip("'")))


def test_the_line_of_excel_states_the_delimiter(tmp_path: Path) -> None:
    assert read_texts(write(tmp_path, "sep=;\r\ntext;label\r\na, b;1\r\n")) == ("a, b",)


def test_options_name_the_delimiter_and_leave_out_the_header(tmp_path: Path) -> None:
    path = write(tmp_path, "waves;1\ndunes;0\n", "a.txt")
    how = Reading(delimiter=";", header=False)
    assert read_contrast(path, "2=1", field="1", how=how).positive == ("waves",)
    with pytest.warns(SteerWarning, match="its only texts, under '1', are read"):
        assert read_texts(path, how=how) == ("waves", "dunes")
    assert read_rows(path, field="1", how=how)[0] == [{"2": "1"}, {"2": "0"}]


def test_windows_files_and_quoted_lines(tmp_path: Path) -> None:
    rows = 'text,label\r\n"one\r\ntwo",1\r\n"say ""hi""",0\r\n'
    expected = ("one\r\ntwo", 'say "hi"')
    assert read_texts(write(tmp_path, "\ufeff" + rows)) == expected
    assert read_texts(write(tmp_path, rows.encode("utf-16"))) == expected
    assert read_texts(write(tmp_path, rows.replace("\r\n", "\r"))) == ("one\rtwo", 'say "hi"')


def test_quotes_in_tabs_of_paste_are_characters(tmp_path: Path) -> None:
    path = write(tmp_path, '"hello" he said\t1\n"go\t0\n5" wide\t1\nout"\t0\n', "a.tsv")
    with pytest.warns(SteerWarning, match="quotation marks are read as part of the texts"):
        texts = read_texts(path, field="1", how=Reading(header=False))
    assert texts == ('"hello" he said', '"go', '5" wide', 'out"')
    quoted = write(tmp_path, 'text\tlabel\n"one\ntwo"\t1\n"a ""b"""\t0\n', "b.tsv")
    assert read_texts(quoted) == ("one\ntwo", 'a "b"')


def test_long_cells_are_read(tmp_path: Path) -> None:
    book = "word " * 40_000
    assert read_texts(write(tmp_path, f'text,label\n"{book}",1\n')) == (book,)


def test_a_value_of_many_lines_is_counted(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="line 4 does not have as many cells"):
        read_texts(write(tmp_path, 'text,label\n"one\ntwo",1\nthree\n'))


def test_a_header_of_many_columns_takes_a_moment(tmp_path: Path) -> None:
    columns = ["text", *(f"c{number}" for number in range(100_000))]
    (tmp_path / "a.csv").write_text(f"{','.join(columns)}\nwaves{',' * 100_000}\n")
    start = time.process_time()
    assert read_texts(tmp_path / "a.csv") == ("waves",)
    assert time.process_time() - start < 10  # pairwise comparison takes minutes
