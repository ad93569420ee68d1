"""`.svec` files, as activation-steering and AISteer360 write them; what is no single vector a layer is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from vectors.common.errors import SteerWarning, VectorError
from vectors.formats.reader import read
from vectors.model.residual_model import ResidualModel

ROWS = torch.randn(3, 32, generator=torch.Generator().manual_seed(0))


def write(place: Path, **content: Any) -> Path:
    place.write_text(json.dumps({"model_type": "llama"} | content))
    return place


@pytest.mark.parametrize("nested", [False, True])
def test_each_row_is_after_its_block(llama_model: ResidualModel, tmp_path: Path, nested: bool) -> None:
    rows = {str(layer): [row.tolist()] if nested else row.tolist() for layer, row in enumerate(ROWS)}
    place = write(tmp_path / "calm.svec", directions=rows, explained_variances={"0": 0.4, "1": 0.5, "2": 0.1})
    with pytest.warns(SteerWarning, match="added, projected out or compared: they are added"):
        vector = read(place, llama_model, layers="1-2")
    assert vector.layers == (1, 2)
    for layer in (1, 2):
        assert torch.allclose(vector.shifts[layer, "all"] * vector.scale, ROWS[layer], rtol=1e-5)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ({"directions": {"1": ROWS[:2].tolist()}}, r"shape \(2, 32\)"),
        ({"directions": {"1": ROWS[0].reshape(4, 8).tolist()}, "num_heads": 4, "head_dim": 8}, "attention heads"),
        ({"directions": {"1": [[1.0, 2.0], [1.0]]}}, "several lengths"),
        ({"directions": {"1": ROWS[0].tolist()}, "condition": {"threshold": 0.1}}, "condition"),
        ({"directions": {"1": []}}, "0 arrays"),
        ({"directions": {"1": ["a"] * 32}}, "expected"),
        ({"directions": {"x": ROWS[0].tolist()}}, "say its layer"),
        ({"directions": []}, "no object 'directions'"),
        ({}, "no object 'directions'"),
        ({"directions": {"9": ROWS[0].tolist()}}, "layers 0 to 2"),
        ({"directions": {"1": [float("nan")] * 32}}, "NaN"),
    ],
)
@pytest.mark.filterwarnings("ignore::vectors.common.errors.SteerWarning")
def test_other_files_are_refused_in_one_line(
    llama_model: ResidualModel, tmp_path: Path, content: dict[str, Any], why: str
) -> None:
    with pytest.raises(VectorError, match=why) as caught:
        read(write(tmp_path / "a.svec", **content), llama_model)
    assert "a.svec" in str(caught.value) and len(str(caught.value).splitlines()) == 1
    for text in ("{", "[1]", "[" * 100_000, "version https://git-lfs.github.com/spec/v1\n"):
        (tmp_path / "b.svec").write_text(text)
        with pytest.raises(VectorError, match=r"b\.svec"):
            read(tmp_path / "b.svec", llama_model)
