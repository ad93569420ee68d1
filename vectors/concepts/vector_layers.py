"""Some of the layers of a vector that steers at several."""

from collections.abc import Collection
from dataclasses import replace

import torch

from vectors.concepts.vector import ConceptVector


def at_layers(vector: ConceptVector, layers: Collection[int]) -> ConceptVector:
    """Return a vector with its shifts at some of its layers; each has the length that it had at every dose.

    If the vector's own layer is left out, the site of its longest shift takes its place. The pilot, which added all
    shifts, says nothing about fewer: its curve is dropped.

    Args:
        vector: a concept vector.
        layers: at least one of its layers.

    >>> east, north = torch.eye(2)
    >>> both = ConceptVector(
    ...     name="cat", model="tiny", model_hash="ab12", layer=0, direction=east, mean=0 * east, gap=2.0, method="mean",
    ...     positions="all", other_shifts={1: 3 * north, 2: north},
    ... )
    >>> some = at_layers(both, [1, 2])
    >>> some.layers, some.layer, some.scale, (some.scale * some.shifts[2, "all"]).tolist()
    ((1, 2), 1, 6.0, [0.0, 2.0])
    """
    if set(layers) >= set(vector.layers):
        return vector
    kept = {site: shift.double() for site, shift in vector.shifts.items() if site[0] in layers}
    before = (vector.layer, vector.positions)
    own = before if before in kept else max(kept, key=lambda site: float(kept[site].norm()))
    factor = 1.0 if own == before else float(kept[own].norm())
    rows = {site: (row / factor).float() for site, row in kept.items()}
    return replace(
        vector,
        layer=own[0],
        positions=own[1],
        direction=rows.pop(own),
        other_shifts=rows,
        away_shifts={site: row / factor for site, row in vector.away_shifts.items() if site[0] in layers},
        mean=vector.mean if own[0] == vector.layer else torch.zeros_like(vector.mean),
        gap=vector.gap * factor,
        unit=None if vector.unit is None else vector.unit * factor,
        unit_curve=(),
        unit_judge=None,
    )
