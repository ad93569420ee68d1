"""What files of other libraries hold, shifts by layer: checked, and made a concept of."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Float32
from torch import Tensor

from vectors.common.errors import SteerError, VectorError
from vectors.common.validation import quote
from vectors.concepts.vector import MAX_LAYER, ConceptVector
from vectors.concepts.vector_fields import check_row
from vectors.model.residual_model import ResidualModel

MAX_ROWS = 1024  # no model has as many layers


@dataclass(frozen=True)
class Shifts:
    """What one file adds to a residual stream.

    Attributes:
        rows: by 0-based block, what is added to its output, "d_model" each.
        positions: where it is added.
        method: what the file says it was found by, or the format's name.
    """

    rows: Mapping[int, Tensor] = field(repr=False)
    method: str
    positions: str = "all"


def concept_of(shifts: Shifts, model: ResidualModel, name: str) -> ConceptVector:
    """Return a concept whose dose 1 adds exactly what the file holds, at every layer that the file has.

    Its own layer is that of the longest row, and its gap that row's length. What a vector found here knows of its
    texts is unknown of this one: it has no AUC, no hash of texts, and a mean of zeros.

    Raises:
        VectorError: rows that no such model can be shifted by.
        InputError: a name that cannot name a file.
    """
    rows = checked(shifts.rows, model)
    lengths = {layer: float(row.double().norm()) for layer, row in rows.items()}
    own = max(lengths, key=lambda layer: lengths[layer])
    relative = {layer: (row.double() / lengths[own]).float() for layer, row in rows.items()}
    return ConceptVector(
        name=name,
        model=model.name,
        model_hash=model.hash,
        layer=own,
        direction=relative[own],
        other_layers={layer: row for layer, row in relative.items() if layer != own and bool(row.any())},
        mean=torch.zeros(model.d_model),
        gap=lengths[own],
        method=shifts.method,
        positions=shifts.positions,
    )


def checked(
    rows: Mapping[int, Tensor], model: ResidualModel, *, kind: type[SteerError] = VectorError
) -> dict[int, Float32[Tensor, " d_model"]]:
    """Return shifts by layer, in order, as float32 on the CPU; rows of zeros add nothing and are left out.

    Raises:
        kind: no row but zeros, rows of another width than the model's, of layers that it does not have, or not finite.
    """
    found = {}
    for layer, row in sorted(rows.items()):
        if not 0 <= layer < min(model.n_layers, MAX_LAYER):
            raise kind(
                f"it shifts layer {layer}, but model {quote(model.name)} has layers 0 to {model.n_layers - 1}: it was "
                "made for another model"
            )
        try:
            plain = check_row(row, f"the shift at layer {layer}")
        except VectorError as error:
            raise kind(str(error)) from error
        if len(plain) != model.d_model:
            raise kind(
                f"its shift at layer {layer} has width {len(plain)}, but model {quote(model.name)} is {model.d_model} "
                "wide: it was made for another model"
            )
        if bool(plain.any()):
            found[layer] = plain
    if not found:
        raise kind("it shifts nothing: all that it holds is zero")
    return found
