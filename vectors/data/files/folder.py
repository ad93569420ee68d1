"""The files of a folder: the shards of a dataset, or one text each."""

import os
import re
from pathlib import Path

from vectors.common.errors import InputError
from vectors.common.validation import list_names, quote
from vectors.data.files.splits import SPLIT, choose_split
from vectors.data.files.table import note

_DATA = re.compile(r"\.(parquet|arrow|feather|jsonl|ndjson|json|csv|tsv)(\.(gz|bz2|xz|zst))?$", re.IGNORECASE)
_NOT_DATA = {"dataset_info.json", "dataset_infos.json", "config.json"}
_MOST_FILES = 100_000


def shards(folder: Path, split: str | None) -> list[Path]:
    """Return the data files of a dataset in a folder, as the hub's own tools fetch it, in the order of their names.

    Which split a file belongs to is read from its name or that of its folder. Hidden files are left out.

    Raises:
        InputError: Several datasets, or several splits and none is asked for or called `train`.
    """
    name = quote(folder)
    files = [path for path in _files(folder) if _DATA.search(path.name) and path.name not in _NOT_DATA]
    if not files:
        return []
    by_split: dict[str, list[Path]] = {}
    for file in files:
        by_split.setdefault(_split_of(file, folder), []).append(file)
    if "" in by_split and len(by_split) == 1:
        if split is not None:
            raise InputError(f"{name} has no splits that its file names tell: leave --split (split=) out")
        chosen = by_split[""]
    else:
        chosen = by_split[choose_split(name, sorted(by_split), split)]
    configurations = sorted({_configuration(file, folder) for file in chosen})
    if len(configurations) > 1:
        raise InputError(f"{name} holds several datasets ({list_names(configurations)}): give the path of one of them")
    if len({file.name.partition(".")[2] for file in chosen}) > 1:
        raise InputError(
            f"{name} holds files of several formats ({list_names(file.name for file in chosen)}): give the path "
            "of one of them"
        )
    if len(chosen) > 1:
        first, last = quote(chosen[0].name), quote(chosen[-1].name)
        note(f"{name} is a folder: its {len(chosen)} files {first} to {last} are read")
    return chosen


def text_files(folder: Path) -> list[Path]:
    """Return the files of a folder in which each .txt file is one text.

    Raises:
        InputError: No such file, or a single one, which more likely has one text a line.
    """
    name = quote(folder)
    files = [path for path in _files(folder) if path.suffix.lower() == ".txt"]
    if not files:
        raise InputError(
            f"{name} is a folder without texts: give a file, or a folder of .txt, .jsonl or .parquet files"
        )
    if len(files) == 1:
        raise InputError(f"{name} is a folder: give the file in it, {quote(files[0])}")
    note(f"{name} is a folder: each of its {len(files)} .txt files is one text")
    return files


def _files(folder: Path) -> list[Path]:
    """Return all visible files of a folder and its subfolders."""
    found: list[Path] = []
    for path, folders, files in os.walk(folder):
        folders[:] = [each for each in folders if not each.startswith(".")]
        found += (Path(path) / file for file in files if not file.startswith("."))
        if len(found) > _MOST_FILES:
            raise InputError(f"{quote(folder)} holds more than {_MOST_FILES} files: give the path of one dataset in it")
    return sorted(found)


def _split_of(file: Path, folder: Path) -> str:
    for part in reversed(file.relative_to(folder).parts):
        if found := SPLIT.search(part):
            split = found[1].lower()
            return split if split in ("train", "test") else "validation"
    return ""


def _configuration(file: Path, folder: Path) -> str:
    """Return the folder of a file, without what names a split."""
    parts = file.relative_to(folder).parts[:-1]
    return "/".join(part for part in parts if not SPLIT.fullmatch(part) and not SPLIT.search(f"-{part}-"))
