"""The wheel and the source distribution hold all files of the packages and nothing else."""

import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from vectors.almanac.world.distribution import DETAILS, VALUES

ROOT = Path(__file__).parent.parent
PACKAGES = ("vectors", "steer", "cli")
SOURCES = (
    *PACKAGES, "tests", "benchmarks", "docs", "examples", "README.md", "CHANGELOG.md", "CITATION.cff",
    "CONTRIBUTING.md", "LICENSE", "constraints.txt",
)  # fmt: skip
LEFTOVERS = (
    "almanac-run/checkpoint.safetensors",
    "run.jsonl",
    "scratch/texts.txt",
    ".pytest_cache/README.md",
    ".mypy_cache/3.11/cache.json",
    "build/lib/steer/old.py",
    "dist/old.whl",
    "steer/__pycache__/old.cpython-311.pyc",
    "vectors/almanac/__pycache__/world.cpython-311.pyc",
    "vectors/almanac/.ruff_cache/0.1/cache",
)
ALMANAC_LIMIT = 16 * 10**6


@dataclass(frozen=True)
class Built:
    """A wheel: the size of each file by path, and the text of each metadata file by name."""

    sizes: dict[str, int]
    metadata: dict[str, str]


def _build(folder: Path, target: str, out: Path) -> Path:
    command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(out)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = out.iterdir()
    return built


def _read_wheel(path: Path) -> Built:
    with zipfile.ZipFile(path) as archive:
        sizes = {entry.filename: entry.file_size for entry in archive.infolist() if not entry.is_dir()}
        metadata_files = [name for name in sizes if ".dist-info/" in name]
        return Built(sizes, {PurePosixPath(name).name: archive.read(name).decode() for name in metadata_files})


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources, with leftover files of development added."""
    copy = tmp_path_factory.mktemp("packaging") / "checkout"
    shutil.copytree(ROOT, copy, ignore=lambda folder, names: _unwanted(Path(folder), names))
    for name in LEFTOVERS:
        leftover = copy / name
        leftover.parent.mkdir(parents=True, exist_ok=True)
        leftover.write_text("left over")
    return copy


def _unwanted(folder: Path, names: list[str]) -> set[str]:
    wanted = {*SOURCES, "pyproject.toml", ".gitignore"} if folder == ROOT else set(names)
    return {name for name in names if name not in wanted or name.startswith("__pycache__")}


@pytest.fixture(scope="module")
def wheel(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The wheel made from the checkout."""
    return _read_wheel(_build(checkout, "wheel", tmp_path_factory.mktemp("wheel")))


@pytest.fixture(scope="module")
def unpacked_sdist(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder inside the source distribution made from the checkout."""
    archive = _build(checkout, "sdist", tmp_path_factory.mktemp("sdist"))
    out = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(archive) as tar:
        # Python 3.11.3 and earlier have no filters
        tar.extractall(out, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    (folder,) = out.iterdir()
    return folder


def _package_files() -> dict[str, int]:
    """The size of every file of the packages in the working tree, by its path."""
    files = (path for package in PACKAGES for path in (ROOT / package).rglob("*") if path.is_file())
    names = {path.relative_to(ROOT).as_posix(): path for path in files if path.suffix != ".pyc"}
    return {name: path.stat().st_size for name, path in names.items() if "/." not in name}


def test_wheel_installs_three_packages_and_no_other_name(wheel: Built) -> None:
    tops = {name.split("/")[0] for name in wheel.sizes}
    (info,) = {top for top in tops if top.endswith(".dist-info")}
    assert info.startswith("steer_sampler-")
    assert tops - {info} == set(PACKAGES)


def test_wheel_holds_every_file_of_the_packages_and_no_leftover(wheel: Built) -> None:
    assert {name: size for name, size in wheel.sizes.items() if ".dist-info/" not in name} == _package_files()


def test_packages_are_marked_as_typed(wheel: Built) -> None:
    assert {f"{package}/py.typed" for package in PACKAGES} <= wheel.sizes.keys()


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"])
def test_wheel_holds_the_embedded_model(wheel: Built, name: str) -> None:
    assert wheel.sizes[f"vectors/almanac/model/{name}"] > (500_000 if name == "model.safetensors" else 10)


@pytest.mark.parametrize("attribute", ["form", "topic", "voice", "mood", "hour", "detail"])
def test_wheel_holds_a_vector_for_every_value(wheel: Built, attribute: str) -> None:
    concepts = DETAILS if attribute == "detail" else VALUES[attribute]
    missing = {f"vectors/almanac/library/{concept}.safetensors" for concept in concepts} - wheel.sizes.keys()
    assert not missing


@pytest.mark.parametrize("attribute", ["form", "topic", "voice", "mood", "hour", "detail"])
def test_wheel_holds_the_world(wheel: Built, attribute: str) -> None:
    lexicon = [name for name in wheel.sizes if name.startswith(f"vectors/almanac/world/lexicon/{attribute}/")]
    assert len(lexicon) >= 4
    assert "vectors/almanac/world/rates.toml" in wheel.sizes


def test_almanac_stays_within_its_size(wheel: Built) -> None:
    assert sum(size for name, size in wheel.sizes.items() if name.startswith("vectors/almanac/")) <= ALMANAC_LIMIT


def test_wheel_declares_the_command_and_the_licence(wheel: Built) -> None:
    assert wheel.metadata["entry_points.txt"].splitlines() == ["[console_scripts]", "steer = cli.app:main"]
    assert wheel.metadata["LICENSE"] == (ROOT / "LICENSE").read_text()
    assert "License-Expression: MIT" in wheel.metadata["METADATA"].splitlines()


def test_sdist_holds_the_sources_alone(unpacked_sdist: Path) -> None:
    inside = {path.relative_to(unpacked_sdist).as_posix() for path in unpacked_sdist.rglob("*") if path.is_file()}
    assert {name.split("/")[0] for name in inside} <= {*SOURCES, "pyproject.toml", ".gitignore", "PKG-INFO"}
    assert not inside & set(LEFTOVERS)
    assert not any(re.search(r"(^|/)\.\w+_cache/", name) for name in inside)


def test_sdist_makes_the_same_wheel(unpacked_sdist: Path, wheel: Built, tmp_path: Path) -> None:
    assert _read_wheel(_build(unpacked_sdist, "wheel", tmp_path)).sizes.keys() == wheel.sizes.keys()


def _project() -> dict[str, list[Requirement]]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = {"run": project["dependencies"], **project["optional-dependencies"]}
    return {group: [Requirement(line) for line in lines] for group, lines in groups.items()}


def test_dependencies_have_floors_and_no_caps() -> None:
    operators = {each.operator for group in _project().values() for need in group for each in need.specifier}
    assert operators == {">="}


def test_tested_versions_are_pinned_and_meet_the_floors() -> None:
    lines = (line.partition("#")[0].strip() for line in (ROOT / "constraints.txt").read_text().splitlines())
    pins = dict(line.split("==") for line in lines if line)
    needed = [need for needs in _project().values() for need in needs]
    low = [str(need) for need in needed if not need.specifier.contains(pins[canonicalize_name(need.name)])]
    assert low == []
