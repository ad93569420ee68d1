"""How a file is read is checked before the file is opened."""

import pytest

from vectors.common.errors import InputError
from vectors.data.reading import Reading, check_format


@pytest.mark.parametrize(("given", "meant"), [("tab", "\t"), ("\\t", "\t"), ("\t", "\t"), (";", ";"), ("|", "|")])
def test_a_delimiter_is_one_character(given: str, meant: str) -> None:
    assert Reading(delimiter=given).delimiter == meant


@pytest.mark.parametrize("given", ["", ";;", '"', "\n", "\0"])
def test_other_delimiters_are_refused(given: str) -> None:
    with pytest.raises(InputError, match="give one character"):
        Reading(delimiter=given)


def test_formats_have_other_names_and_a_delimiter_means_csv() -> None:
    plain, cells = Reading(), Reading(delimiter=";")
    assert [check_format(name, plain) for name in ("NDJSON", ".jsonl", "text", "feather", None)] == [
        "jsonl", "jsonl", "txt", "arrow", None,
    ]  # fmt: skip
    assert check_format(None, cells) == "csv"
    with pytest.raises(InputError, match="'xml': choose from txt, json"):
        check_format("xml", plain)
    with pytest.raises(InputError, match="json files have none"):
        check_format("json", cells)
