"""The names of the embedded model's concepts are known without loading anything slow."""

import subprocess
import sys

from vectors.almanac.concepts import CONCEPTS


def test_every_value_and_detail_is_a_concept() -> None:
    assert len(CONCEPTS) == 39
    assert CONCEPTS["cat"] == ("voice", "cat") and CONCEPTS["rainbow"] == ("rainbow", True)


def test_the_names_load_neither_torch_nor_the_extraction() -> None:
    code = "import sys, vectors.almanac.concepts; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "torch" not in modules
    assert {name for name in modules if name.startswith("vectors.")} == {
        "vectors.almanac",
        "vectors.almanac.concepts",
        "vectors.almanac.world",
        "vectors.almanac.world.distribution",
        "vectors.common",
        "vectors.common.errors",
    }
