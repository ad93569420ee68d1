"""A file holds one shift a layer: of a point with several positions, what lasts or what is at the start token."""

from pathlib import Path

import numpy as np
import pytest
import torch

import steer
from steer.composition.export import export
from vectors.common.errors import OutputError
from vectors.concepts.vector import ConceptVector
from vectors.model.residual_model import ResidualModel


def point(model: ResidualModel, **changes: object) -> steer.SteeringPoint:
    east, north, up = torch.eye(model.d_model)[:3]
    fields = {
        "name": "cat", "model": model.name, "model_hash": model.hash, "layer": 1, "direction": east,
        "mean": 0 * east, "gap": 2.0, "method": "distilled", "positions": "all",
        "other_shifts": {(1, "bos"): north, (1, "decay:4"): up},
    }  # fmt: skip
    return steer.compose({ConceptVector(**(fields | changes)): 1.0})  # type: ignore[arg-type]


def test_positions_choose_what_a_file_holds(llama_model: ResidualModel, tmp_path: Path) -> None:
    both = point(llama_model)
    with pytest.raises(OutputError, match="leaves out the start token's own shift and what fades"):
        export(both, llama_model, tmp_path / "cat.npz")
    lasting = np.load(export(both, llama_model, tmp_path / "all.npz", positions="all"))
    start = np.load(export(both, llama_model, tmp_path / "bos.npz", positions="bos"))
    found = [
        next(array for name, array in file.items() if array.shape == (llama_model.d_model,))
        for file in (lasting, start)
    ]
    assert found[0][:3].tolist() == [2.0, 0.0, 0.0] and found[1][:3].tolist() == [2.0, 2.0, 2.0]
    fading = point(llama_model, positions="decay:2", other_shifts={(0, "bos"): torch.eye(llama_model.d_model)[1]})
    with pytest.raises(OutputError, match="no lasting shift at positions all"):
        export(fading, llama_model, tmp_path / "none.npz", positions="all")
    assert not (tmp_path / "none.npz").exists()
