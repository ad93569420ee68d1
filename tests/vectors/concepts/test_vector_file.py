"""Vector files are read back unchanged; damaged files, and files of another format, are refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import safetensors
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st

from vectors.common.errors import OutputError, VectorError
from vectors.common.validation import MAX_SEED
from vectors.concepts.vector import ConceptVector
from vectors.concepts.vector_file import load_file, save
from vectors.model.positions import POSITIONS


def concept(name: str = "cat", **changes: Any) -> ConceptVector:
    fields: dict[str, Any] = {
        "name": name,
        "model": "tiny",
        "model_hash": "0123456789abcdef",
        "layer": 1,
        "direction": torch.tensor([0.5, 0.5, 0.5, 0.5]),
        "mean": torch.tensor([1.0, 2.0, 3.0, 4.0]),
        "gap": 2.5,
        "method": "mean",
        "positions": "all",
        "created": "2024-01-02T03:04:05+00:00",
    }
    return ConceptVector(**(fields | changes))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return save(concept(), tmp_path / "cat.safetensors")


plain = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
positive = st.floats(1e-30, 1e30)
seeds = st.integers(0, MAX_SEED)
widths = st.integers(1, 20)


@st.composite
def fields(draw: st.DrawFn) -> dict[str, Any]:
    width = draw(widths)
    raw = torch.tensor(draw(st.lists(st.floats(-1, 1, width=32), min_size=width, max_size=width)), dtype=torch.float64)
    raw[0] += 3.0
    mean = torch.tensor(
        draw(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=width, max_size=width))
    )
    curve = st.dictionaries(
        plain, st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.integers(), plain, st.none())
    )
    layer = draw(st.integers(0, 200))
    positions = draw(st.sampled_from([*POSITIONS, "first:12", "decay:2.5"]))
    places = st.tuples(st.integers(0, 200), st.sampled_from([*POSITIONS, "first:3", "decay:8"]))
    drawn = draw(st.sets(st.one_of(places, st.integers(0, 200)), max_size=3)) - {layer, (layer, positions)}
    others = {other for other in drawn if not isinstance(other, tuple) or other != (other[0], positions)}
    other_shifts = {other: draw(st.floats(0.5, 2)) * raw for other in others}
    away = draw(st.sets(places, max_size=2))
    return dict(
        other_shifts=other_shifts,
        away_shifts={site: draw(st.floats(0.5, 2)) * raw for site in away},
        evidence=draw(curve),
        name=draw(st.sampled_from(["cat", "slow burn", "猫", "it's"])),
        model=draw(plain),
        model_hash=draw(plain),
        layer=layer,
        direction=raw / raw.norm(),
        mean=mean,
        gap=draw(positive),
        unit=draw(st.none() | positive),
        unit_curve=tuple(draw(st.lists(curve, max_size=3))),
        method=draw(plain),
        positions=positions,
        contrast_hash=draw(st.just("") | plain),
        n_positive=draw(st.integers(0, 10**6)),
        n_background=draw(st.integers(0, 10**6)),
        auc=draw(st.none() | st.floats(0, 1)),
        unit_judge=draw(st.none() | st.tuples(*[st.integers(0, 99).map(lambda hits: (hits, 99))] * 2)),
        **draw(st.just({}) | st.fixed_dictionaries({"held_out": st.floats(0.01, 0.99), "split_seed": seeds})),
    )


@given(fields())
def test_every_vector_survives_saving_and_loading(
    tmp_path_factory: pytest.TempPathFactory, given_fields: dict[str, Any]
) -> None:
    vector = concept(**given_fields)
    back = load_file(save(vector, tmp_path_factory.mktemp("trip") / "a.safetensors"))
    assert back == vector
    assert torch.equal(back.direction, vector.direction)
    assert back.unit_curve == vector.unit_curve and back.evidence == vector.evidence
    for dose in (1.0, -1.0):
        assert list(back.shifts_of(dose)) == list(vector.shifts_of(dose))
        assert all(torch.equal(back.shifts_of(dose)[site], shift) for site, shift in vector.shifts_of(dose).items())


def test_the_file_has_the_documented_tensors_and_metadata(file: Path) -> None:
    with safetensors.safe_open(file, framework="pt") as opened:
        assert sorted(opened.keys()) == ["direction.1", "mean.1"]
        metadata = opened.metadata()
    assert set(metadata) == set(
        [
            "format",
            "name",
            "model",
            "model_hash",
            "layer",
            "gap",
            "unit",
            "unit_curve",
            "unit_judge",
            "evidence",
            "passport",
            "method",
            "positions",
            "contrast_hash",
            "n_positive",
            "n_background",
            "auc",
            "held_out",
            "split_seed",
            "created",
        ]
    )
    assert all(isinstance(value, str) for value in metadata.values())


def rewritten(file: Path, metadata: dict[str, str | None] | None = None, **rows: torch.Tensor | None) -> None:
    """Change some of a file's metadata and tensors with safetensors itself; None drops one."""
    with safetensors.safe_open(file, framework="pt") as opened:
        old: dict[str, str | None] = opened.metadata()
        tensors: dict[str, torch.Tensor | None] = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118
    texts = {key: value for key, value in (old | (metadata or {})).items() if value is not None}
    tensors |= {key.replace("_", "."): row for key, row in rows.items()}
    remaining = {key: row for key, row in tensors.items() if row is not None}
    file.write_bytes(safetensors.torch.save(remaining, texts))


@pytest.mark.parametrize(
    ("metadata", "problem"),
    [
        ({"layer": None}, "metadata lack layer"),
        ({key: None for key in ("gap", "unit", "auc")}, "metadata lack gap, unit, auc"),
        ({"format": "pt"}, "its format is 'pt'"),
        ({"layer": "-1"}, "its layer"),
        ({"layer": "2"}, "expected direction.2 and mean.2"),
        ({"layer": "9" * 5000}, "its layer"),
        ({"n_positive": "x"}, "its n_positive"),
        ({"held_out": "0.25"}, "one of held_out and split_seed"),
        ({"held_out": "2", "split_seed": "0"}, "held_out of vector .* is 2"),
        ({"held_out": "0.5", "split_seed": "-1"}, "its split_seed"),
        ({"gap": ""}, "its gap is empty"),
        ({"gap": "nan"}, "gap"),
        ({"gap": "two"}, "its gap"),
        ({"gap": "-1"}, "more than 0"),
        ({"unit": "inf"}, "unit"),
        ({"unit_judge": "{"}, "its unit_judge is not JSON"),
        ({"unit_judge": "[" * 100_000}, "its unit_judge is not JSON"),
        ({"unit_judge": "[[1, 2], [3]]"}, "expected two pairs"),
        ({"unit_judge": "[[1, 2], [3, 2]]"}, "unit_judge of vector"),
        ({"unit_judge": "7"}, "expected two pairs"),
        ({"unit_curve": "{"}, "not JSON"),
        ({"unit_curve": "[" * 100_000}, "not JSON"),
        ({"unit_curve": "[1]"}, "list of plain JSON objects"),
        ({"unit_curve": '[{"a": NaN}]'}, "finite"),
        ({"name": "../x"}, "cannot name a concept"),
        ({"model": "two\nlines", "name": ""}, "cannot name a concept"),
    ],
)
def test_bad_metadata_are_refused_naming_the_file(file: Path, metadata: dict[str, str | None], problem: str) -> None:
    rewritten(file, metadata)
    with pytest.raises(VectorError, match=problem) as caught:
        load_file(file)
    assert "cat.safetensors" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ({"direction_1": torch.tensor([1.0, float("nan"), 0.0, 0.0])}, "NaN"),
        ({"mean_1": torch.full((4,), float("inf"))}, "infinity"),
        ({"direction_1": torch.ones(4)}, "length 2"),
        ({"direction_1": torch.full((4,), 0.5, dtype=torch.float64)}, "float64"),
        ({"direction_1": torch.full((1, 4), 0.5)}, "one dimension"),
        ({"mean_1": None}, "it holds the tensors 'direction.1'"),
        ({"direction_2": torch.ones(4)}, "expected direction.1 and mean.1"),
        ({"mean_1": torch.zeros(3)}, "width 4 and a mean of width 3"),
        ({"further_2": torch.zeros(4)}, "a shift of zero"),
        ({"further_1": torch.ones(4)}, "the vector's own site"),
        ({"further_x": torch.ones(4)}, "its layer is 'x'"),
        ({"further_2": torch.ones(5)}, "a shift at layer 2, positions all \\(other_shifts\\) of width 5"),
    ],
)
def test_bad_tensors_are_refused(file: Path, rows: dict[str, torch.Tensor | None], problem: str) -> None:
    rewritten(file, None, **rows)
    with pytest.raises(VectorError, match=problem):
        load_file(file)


@given(st.data())
def test_no_truncated_file_is_read(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = save(concept(), tmp_path_factory.mktemp("cut") / "a.safetensors")
    content = path.read_bytes()
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.raises(VectorError, match=r"truncated|corrupt"):
        load_file(path)


@given(st.data())
def test_a_corrupted_file_is_refused_or_still_a_valid_vector(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = save(concept(), tmp_path_factory.mktemp("bad") / "a.safetensors")
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 5))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        vector = load_file(path)
    except VectorError as error:
        assert len(str(error).splitlines()) == 1
    else:
        assert abs(float(vector.direction.norm()) - 1) < 2e-3


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x80\x04K\x01.",
        b"text, not tensors at all",
        (2**40).to_bytes(8, "little") + b"{}",
        b"\xff" * 64,
        bytes(64),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    with pytest.raises(VectorError, match=r"truncated|corrupt"):
        load_file(path)


def test_a_huge_header_is_refused_before_it_is_parsed(file: Path) -> None:
    header = json.dumps({"__metadata__": {"x": "y" * 2**21}}).encode()
    file.write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(VectorError, match="truncated, or no safetensors"):
        load_file(file)


def test_refused_saving_leaves_no_file(tmp_path: Path, file: Path) -> None:
    before = file.read_bytes()
    with pytest.raises(OutputError, match="exists"):
        save(concept(gap=9.0), file)
    assert file.read_bytes() == before
    with pytest.raises(OutputError, match=r"does not end with .safetensors"):
        save(concept(), tmp_path / "cat.bin")
    with pytest.raises(OutputError, match="bytes of metadata"):
        save(concept(unit_curve=({"x": "y" * 2**20},)), tmp_path / "big.safetensors")
    assert [each.name for each in tmp_path.iterdir()] == ["cat.safetensors"]
    assert load_file(save(concept(gap=9.0), file, force=True)).gap == 9.0
