"""Other concepts of a model's library beside one whose unit is looked for: what it needs alone is too little there."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from vectors.calibration.calibrate import Company
from vectors.common.errors import SteerError
from vectors.common.rng import Stream, rng
from vectors.concepts.composition import compose_shifts
from vectors.concepts.library import load, names
from vectors.concepts.vector import ConceptVector
from vectors.model.residual_model import ResidualModel

FEWEST = 3
"""Concepts that a library has to have, so that no single one decides what is enough beside others."""

ALONE = 1 / 3
"""Share of a pilot's samples without company."""

_NOTHING = 1e-6  # a length that has a direction: of a concept that is not added
_ALIKE = 0.5  # cosine from which a concept is no company but more, or less, of the same


@dataclass(frozen=True)
class Companions:
    """What shifts the samples of a pilot: one concept at the asked length, and in most of them another at dose 1.

    Attributes:
        vector: the concept.
        others: the company.
        seed: of who is beside it in which sample.
    """

    vector: ConceptVector
    others: Sequence[ConceptVector]
    seed: int

    def __call__(self, shift: float, n: int) -> dict[int, Float[Tensor, "n d_model"]]:
        """Return each sample's shifts; sample `i` has the same company at every length, and however many there are."""
        random = rng(self.seed, 0, Stream.COMPANIONS)
        drawn = [(random.random(), int(random.integers(len(self.others)))) for _ in range(n)]
        layer = self.vector.layer
        here = [other for other in self.others if other.layer == layer]
        told = np.zeros((n, 1 + len(here)), dtype=np.int64)
        told[:, 0] = int(shift > 0)
        elsewhere: dict[int, Tensor] = {}
        for sample, (alone, which) in enumerate(drawn):
            other = self.others[which]
            if alone < ALONE:
                continue
            if other.layer == layer:
                told[sample, 1 + here.index(other)] = 1
            else:
                rows = elsewhere.setdefault(other.layer, torch.zeros(n, len(other.direction)))
                rows[sample] = other.direction.float() * other.scale
        lengths = [self.vector.direction * max(shift, _NOTHING), *(other.direction * other.scale for other in here)]
        return elsewhere | {layer: compose_shifts(torch.stack(lengths).double(), torch.from_numpy(told)).float()}


def find_companions(model: ResidualModel, vector: ConceptVector, *, seed: int) -> Companions | None:
    """Return the company that a concept can be tried in, or None where the library has too little.

    Company is what is added at the same positions, has a unit of its own, and does not point the same way or the
    opposite one at the same layer.
    """
    others = [other for name in names(model) if (other := _usable(model, vector, name)) is not None]
    if vector.other_layers or len(others) < FEWEST:
        return None
    return Companions(vector, others, seed)


def _usable(model: ResidualModel, vector: ConceptVector, name: str) -> ConceptVector | None:
    try:
        other = load(name, model)
    except SteerError:  # a damaged file is nobody's company
        return None
    if name == vector.name or other.unit is None or other.other_layers:
        return None
    cosine = float(other.direction.double() @ vector.direction.double()) if other.layer == vector.layer else 0.0
    return other if other.positions == vector.positions and abs(cosine) < _ALIKE else None


def in_company(
    shifts: Float64[Tensor, "concepts d_model"],
    has: Bool[np.ndarray, "texts concepts"],
    column: int,
    *,
    layer: int,
    seed: int,
) -> Company:
    """Return what shifts the samples of a pilot: one concept at the asked length, and others at their own.

    The others are those of a text that has the concept, drawn anew for each sample, each with probability one half:
    the company that the concept was learned in.
    """
    drawn = rng(seed, column, Stream.COMPANIONS)
    owners = np.flatnonzero(has[:, column])

    told: list[np.ndarray] = []

    def placed(shift: float, n: int) -> dict[int, Float[Tensor, "n d_model"]]:
        while len(told) < n:  # sample i has the same company at every length
            text = owners[drawn.integers(len(owners))]
            told.append(has[text] & (drawn.random(has.shape[1]) < 0.5))
        beside = torch.from_numpy(np.stack(told[:n])).long()
        beside[:, column] = int(shift > 0)
        lengths = shifts.clone()
        lengths[column] *= shift / shifts[column].norm()
        return {layer: compose_shifts(lengths, beside).float()}

    return placed
