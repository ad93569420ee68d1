"""Shifts by layer, as the files of other libraries hold them: check them and convert them to a concept vector."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Float32
from torch import Tensor

from vectors.common.errors import SteerError, VectorError
from vectors.common.validation import quote
from vectors.concepts.vector import ConceptVector, passport_of
from vectors.concepts.vector_fields import MAX_LAYER, check_row
from vectors.model.residual_model import ResidualModel

MAX_ROWS = 1024  # more than the layers of any model
_SHORTEST, _LONGEST = 1e-12, 1e12  # a shift that is shorter changes no stream; streams have lengths up to 1e5


@dataclass(frozen=True)
class LayerShifts:
    """The shifts of the residual stream that a file holds.

    Attributes:
        rows: the shift added to the output of each block, by 0-based block, "d_model" each.
        method: the extraction method that the file names, or the name of the format.
        positions: the positions at which they are added.
        notes: what a user should know of them.
        model: the model that the file names, if any, in whatever words.
    """

    rows: Mapping[int, Tensor] = field(repr=False)
    method: str
    positions: str = "all"
    notes: tuple[str, ...] = ()
    model: str | None = None


def to_concept(shifts: LayerShifts, model: ResidualModel, name: str) -> ConceptVector:
    """Return a concept vector whose dose 1 adds the shifts of the file, at every layer of the file.

    Its `layer` is that of the longest row and its gap is the length of that row. Since the texts behind the file are
    unknown, it has no AUC, no hash of the contrast set, and a mean of zeros.

    Raises:
        VectorError: shifts that do not fit the model.
        InputError: a name that cannot name a file.
    """
    rows = check_shifts(shifts.rows, model)
    norms = {layer: float(row.double().norm()) for layer, row in rows.items()}
    longest = max(norms, key=lambda layer: norms[layer])
    relative = {layer: (row.double() / norms[longest]).float() for layer, row in rows.items()}
    return ConceptVector(
        name=name,
        model=model.name,
        model_hash=model.hash,
        passport=passport_of(model),
        layer=longest,
        direction=relative[longest],
        other_shifts={
            (layer, shifts.positions): row for layer, row in relative.items() if layer != longest and bool(row.any())
        },
        mean=torch.zeros(model.d_model),
        gap=norms[longest],
        method=shifts.method,
        positions=shifts.positions,
    )


def check_shifts(
    rows: Mapping[int, Tensor], model: ResidualModel, *, error: type[SteerError] = VectorError
) -> dict[int, Float32[Tensor, " d_model"]]:
    """Return shifts in the order of their layers, as float32 on the CPU, without rows of zeros.

    Raises:
        error: only rows of zeros, rows of another width than the model's or of layers that it does not have, values
            that are not finite, or lengths that no residual stream has.
    """
    shifts = {}
    for layer, row in sorted(rows.items()):
        if not 0 <= layer < min(model.n_layers, MAX_LAYER):
            raise error(
                f"it shifts layer {layer}, but model {quote(model.name)} has layers 0 to {model.n_layers - 1}: it was "
                "made for another model"
            )
        try:
            shift = check_row(row, f"the shift at layer {layer}")
        except VectorError as reason:
            raise error(str(reason)) from reason
        if len(shift) != model.d_model:
            raise error(
                f"its shift at layer {layer} has width {len(shift)}, but model {quote(model.name)} is {model.d_model} "
                "wide: it was made for another model"
            )
        length = float(shift.double().norm())
        if length and not _SHORTEST <= length <= _LONGEST:
            raise error(
                f"its shift at layer {layer} has length {length:.3g}, expected between {_SHORTEST:.0e} and "
                f"{_LONGEST:.0e}: the file is damaged, or of another dtype than it says"
            )
        if length:
            shifts[layer] = shift
    if not shifts:
        raise error("it shifts nothing: all its values are zero")
    return shifts
