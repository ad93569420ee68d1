"""Escapes are those of llama.cpp's string_process_escapes, and no others."""

import pytest

from vectors.common.errors import InputError
from vectors.data.escapes import process_escapes


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (r"one\ntwo\r\n\tthree", "one\ntwo\r\n\tthree"),
        (r"\'it\' \"is\"", "'it' \"is\""),
        (r"\\n stays", r"\n stays"),
        (r"\\\n", "\\\n"),
        (r"\x41\x7a", "Az"),
        (r"\xc3\xa9", "é"),
        (r"\x4", r"\x4"),
        (r"\xzz \q \u0041 \0", r"\xzz \q \u0041 \0"),
        ("ends in \\", "ends in \\"),
        ("plain — été", "plain — été"),
    ],
)
def test_escapes_stand_for_what_llama_cpp_reads(written: str, meant: str) -> None:
    assert process_escapes(written, "line 1") == meant


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(InputError, match=r"line 3 has .* not UTF-8"):
        process_escapes(r"\xff", "line 3")
