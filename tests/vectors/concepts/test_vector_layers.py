"""Some layers of a vector add what they added in the whole, at every dose."""

import pytest
import torch

from vectors.concepts.vector import ConceptVector
from vectors.concepts.vector_layers import at_layers

ROWS = torch.randn(4, 8, generator=torch.Generator().manual_seed(0)) * torch.tensor([[1.0], [9.0], [3.0], [5.0]])


def whole(unit: float | None = None) -> ConceptVector:
    length = float(ROWS[1].norm())
    return ConceptVector(
        name="v", model="m", model_hash="ab", layer=1, direction=ROWS[1] / length, mean=torch.ones(8), gap=length,
        other_shifts={layer: ROWS[layer] / length for layer in (0, 2, 3)}, method="gguf", positions="all", unit=unit,
        unit_curve=({"shift": 1.0},),
    )  # fmt: skip


@pytest.mark.parametrize("unit", [None, 2.5])
@pytest.mark.parametrize("layers", [(1,), (0,), (0, 2), (2, 3), (1, 3)])
def test_each_row_is_what_it_was(layers: tuple[int, ...], unit: float | None) -> None:
    vector = whole(unit)
    some = at_layers(vector, layers)
    assert some.layers == layers
    for layer in layers:
        assert torch.allclose(
            some.scale * some.shifts[layer, "all"], vector.scale * vector.shifts[layer, "all"], rtol=1e-6
        )
    assert (some.layer == 1) == bool(some.mean.any())  # the mean is known at the vector's own layer only
    assert not some.unit_curve and at_layers(some, layers) is some


def test_all_layers_are_the_vector_itself() -> None:
    vector = whole()
    assert at_layers(vector, range(4)) is vector and vector.unit_curve
