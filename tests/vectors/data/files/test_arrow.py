"""Parquet, arrow and datasets folders give their rows, with the names of labels."""

import random
from pathlib import Path

import datasets
import pyarrow
import pyarrow.parquet
import pytest

from vectors.common.errors import InputError, SteerWarning
from vectors.data.reading import Reading
from vectors.data.text_files import read_contrast, read_labels, read_rows, read_texts

TEXTS = ["waves", "dunes", "foam"]


@pytest.fixture
def data() -> datasets.Dataset:
    features = datasets.Features(
        {
            "text": datasets.Value("string"),
            "label": datasets.ClassLabel(names=["land", "sea"]),
            "tags": datasets.List(datasets.ClassLabel(names=["dry", "wet"])),
        }
    )
    rows = {"text": TEXTS, "label": [1, 0, 1], "tags": [[1], [0], [0, 1]]}
    return datasets.Dataset.from_dict(rows, features=features)


def written(data: datasets.Dataset, folder: Path) -> list[Path]:
    """Write a dataset in every way that keeps the names of its labels."""
    data.to_parquet(folder / "a.parquet")
    data.save_to_disk(folder / "saved")
    datasets.DatasetDict(train=data).save_to_disk(folder / "parts")
    return [folder / "a.parquet", folder / "saved", folder / "parts", folder / "saved" / "data-00000-of-00001.arrow"]


def test_labels_match_by_name_and_by_number(data: datasets.Dataset, tmp_path: Path) -> None:
    for path in written(data, tmp_path):
        for where in ("label=sea", "label=1", "tags=wet", "tags=1"):
            assert read_contrast(path, where).positive == ("waves", "foam"), (path, where)
        assert read_labels(path, "label") == (TEXTS, [["sea"], ["land"], ["sea"]])
        assert read_labels(path, "tags")[1] == [["wet"], ["dry"], ["dry", "wet"]]
        assert read_rows(path)[0][0]["label"] == "sea"
        with pytest.raises(InputError, match=r"no row .*: its values are 'land', 'sea'"):
            read_contrast(path, "label=seas")


def test_a_split_is_chosen_or_train_is_read(data: datasets.Dataset, tmp_path: Path) -> None:
    parts = datasets.DatasetDict(train=data, test=data.select([1]))
    parts.save_to_disk(tmp_path / "parts")
    with pytest.warns(SteerWarning, match="'train' is read; --split"):
        assert read_texts(tmp_path / "parts") == tuple(TEXTS)
    assert read_texts(tmp_path / "parts", how=Reading(split="test")) == ("dunes",)
    with pytest.raises(InputError, match="no split 'dev': choose from 'train', 'test'"):
        read_texts(tmp_path / "parts", how=Reading(split="dev"))


def test_many_rows_are_read_batch_by_batch(tmp_path: Path) -> None:
    texts = [f"text {index}" for index in range(2500)]
    table = pyarrow.table({"text": texts, "other": list(range(2500))})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet", row_group_size=700)
    assert read_texts(tmp_path / "a.parquet") == tuple(texts)
    assert read_contrast(tmp_path / "a.parquet", "other=2000").positive == ("text 2000",)
    with pyarrow.ipc.new_file(tmp_path / "a.arrow", table.schema) as writer:
        writer.write_table(table, max_chunksize=600)
    assert read_texts(tmp_path / "a.arrow") == tuple(texts)


def test_damaged_files_are_refused_in_one_line(data: datasets.Dataset, tmp_path: Path) -> None:
    generator = random.Random(0)
    for path in written(data, tmp_path):
        file = path if path.is_file() else next(path.rglob("*.arrow"))
        content = file.read_bytes()
        for _ in range(20):
            torn = bytearray(content[: generator.randrange(8, len(content))])
            torn[generator.randrange(len(torn))] ^= 0xFF
            file.write_bytes(torn)
            try:
                read_texts(path)
            except InputError as error:
                assert len(str(error).splitlines()) == 1
        file.write_bytes(content)
    (tmp_path / "a.parquet").write_bytes(b"text")
    with pytest.raises(InputError, match="cannot be read as parquet"):
        read_texts(tmp_path / "a.parquet")


def test_more_rows_than_a_file_can_hold_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    constant = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * 3_000_000, pyarrow.int8()), ["text"])
    pyarrow.parquet.write_table(pyarrow.table({"text": constant}), tmp_path / "a.parquet", compression="zstd")
    with pytest.raises(InputError, match=r"declares 3000000 rows in .* bytes: it is damaged"):
        read_texts(tmp_path / "a.parquet")


@pytest.mark.parametrize("kind", [pyarrow.binary(), pyarrow.large_binary()])
def test_texts_that_are_declared_as_bytes_are_read(tmp_path: Path, kind: pyarrow.DataType) -> None:
    cells = pyarrow.array([text.encode() for text in ("wäves", "dunes")], kind)
    pyarrow.parquet.write_table(pyarrow.table({"text": cells, "label": [1, 0]}), tmp_path / "a.parquet")
    assert read_contrast(tmp_path / "a.parquet", "label=1").positive == ("wäves",)
    picture = pyarrow.array([b"\x89PNG\xff", b"\xff"], kind)
    pyarrow.parquet.write_table(pyarrow.table({"text": picture}), tmp_path / "b.parquet")
    with pytest.raises(InputError, match="expected text, so name a column of texts by --text-column"):
        read_texts(tmp_path / "b.parquet")
