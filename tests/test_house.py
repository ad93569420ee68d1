"""The house as CONTRIBUTING.md draws it: small folders with a purpose, short modules, and tests that mirror them."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("vectors", "steer", "cli")
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
FOLDERS = sorted({path.parent for path in MODULES})
OTHER_TESTS = {
    "cli/concepts/test_advice.py",
    "cli/test_modules_loaded.py",
    "steer/reports/html/test_browser.py",
    "steer/runs/test_crash_safety.py",
    "steer/runs/test_notebook_html.py",
    "steer/statistics/test_interval_coverage.py",
    "vectors/almanac/test_shipped.py",
    "vectors/model/test_devices_and_dtypes.py",
    "vectors/model/test_families.py",
    "vectors/model/test_refused_families.py",
}
"""Tests of several modules at once, named after what they show."""


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("folder", FOLDERS, ids=named)
def test_a_folder_has_at_most_twelve_entries_and_says_what_it_is_for(folder: Path) -> None:
    entries = [each for each in folder.iterdir() if each.name not in ("__pycache__", "py.typed")]
    assert len(entries) <= 12, sorted(each.name for each in entries)
    purpose = ast.get_docstring(ast.parse((folder / "__init__.py").read_text()))
    assert purpose and "\n" not in purpose


@pytest.mark.parametrize("module", MODULES, ids=named)
def test_a_module_is_short_and_says_what_it_is(module: Path) -> None:
    text = module.read_text()
    assert len(text.splitlines()) <= 400
    assert ast.get_docstring(ast.parse(text))


def test_tests_mirror_the_packages() -> None:
    tests = {
        named(path).removeprefix("tests/")
        for package in PACKAGES
        for path in (ROOT / "tests" / package).rglob("test_*.py")
    }
    homeless = {test for test in tests - OTHER_TESTS if not (ROOT / test.replace("test_", "")).exists()}
    assert not homeless


def test_contributing_draws_every_folder_and_names_files_that_are_there() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text()
    drawing = page.split("```text\n")[1].split("```")[0]
    drawn, package = set(), ""
    for line in drawing.splitlines():
        name = line.split("/ ")[0].strip()
        package = name if not line.startswith(" ") else package
        drawn.add(name if name == package else f"{package}/{name}")
    top = {named(folder) for folder in FOLDERS if len(folder.relative_to(ROOT).parts) <= 2}
    assert drawn - {"tests", "benchmarks"} == top
    for path in re.findall(r"`((?:vectors|steer|cli|tests)/[\w/]+\.py)`", page):
        assert (ROOT / path).exists(), path
