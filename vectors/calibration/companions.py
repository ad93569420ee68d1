"""Calibrate a concept while other concepts are active: a dose that is enough alone is too small in combination."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from vectors.common.errors import SteerError
from vectors.common.rng import Stream, rng
from vectors.concepts.by_position import compose_by_position, part_shift
from vectors.concepts.composition import compose_shifts
from vectors.concepts.library import load, names
from vectors.concepts.vector import ConceptVector
from vectors.model.positions import PARTS, Site
from vectors.model.residual_model import ResidualModel

MIN_COMPANIONS = 3
"""Fewest companions, so that no single concept decides how much is enough in combination."""

ALONE = 1 / 3
"""Share of a pilot's samples without a companion."""

_MAX_COSINE = 0.5  # a concept whose direction is nearer than this, or nearer to the opposite, is no companion


@dataclass(frozen=True, eq=False, kw_only=True)
class LibraryCompanions:
    """The shifts of a pilot's samples: one concept at the length that is tried, with other concepts at dose 1.

    Attributes:
        vector: the concept that is calibrated.
        others: its companions.
        seed: of the draws.
    """

    vector: ConceptVector
    others: Sequence[ConceptVector]
    seed: int

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all concepts, that of the calibrated one first."""
        return (self.vector.name, *(other.name for other in self.others))

    def drawn(self, n: int) -> list[ConceptVector | None]:
        """Return the companion of each of `n` samples: none for a third of them, otherwise one."""
        random = rng(self.seed, 0, Stream.COMPANIONS)
        drawn: list[ConceptVector | None] = []
        for _ in range(n):
            alone, index = random.random() < ALONE, int(random.integers(len(self.others)))
            drawn.append(None if alone else self.others[index])
        return drawn

    def alone(self, n: int) -> list[bool]:
        """Return for each of `n` samples whether it has no companion."""
        return [companion is None for companion in self.drawn(n)]

    def __call__(self, shift: float, n: int) -> dict[Site, Float[Tensor, "n d_model"]]:
        """Return the shifts of `n` samples by site; sample `i` has the same companion for any `shift` and `n`."""
        drawn = self.drawn(n)
        own = replace(self.vector, unit=1.0)
        composed = {}
        for companion in dict.fromkeys(drawn):
            doses = {} if companion is None else {companion.name: 1.0}
            if shift > 0:  # at zero the concept is not held at zero: the companion is alone
                doses[own.name] = shift
            active = [vector for vector in (own, companion) if vector is not None and vector.name in doses]
            composed[companion] = compose_by_position(active, doses, method="exact") if active else {}
        sites = dict.fromkeys(site for shifts in composed.values() for site in shifts)
        rows = {site: torch.zeros(n, self.vector.d_model) for site in sites}
        for index, companion in enumerate(drawn):
            for site, row in composed[companion].items():
                rows[site][index] = torch.from_numpy(row).float()
        return rows


def find_companions(model: ResidualModel, vector: ConceptVector, *, seed: int) -> LibraryCompanions | None:
    """Return companions of a concept from the model's library, or `None` if there are too few.

    A companion has a unit, and where it acts beside the concept its direction is not close to that of the concept or to
    the opposite.
    """
    others = [other for name in names(model) if (other := _usable(model, vector, name)) is not None]
    return LibraryCompanions(vector=vector, others=others, seed=seed) if len(others) >= MIN_COMPANIONS else None


@dataclass(frozen=True, eq=False, kw_only=True)
class LearnedCompanions:
    """As `LibraryCompanions`, for concepts that were learned together and are composed as in learning.

    Attributes:
        shifts: of all concepts, at the lengths that were learned.
        layer: 0-based block of all shifts.
        column: index of the concept that is calibrated.
        draw: draws the concepts of one sample.
        seed: of the draws.
    """

    shifts: Float[Tensor, "concepts d_model"]
    layer: int
    column: int
    draw: Callable[[np.random.Generator], Bool[np.ndarray, " concepts"]]
    seed: int

    def __call__(self, shift: float, n: int) -> dict[int, Float[Tensor, "n d_model"]]:
        """Return the shifts of `n` samples by layer; sample `i` has the same companions for any `shift` and `n`."""
        random = rng(self.seed, self.column, Stream.COMPANIONS)
        active = torch.from_numpy(np.stack([self.draw(random) for _ in range(n)])).long()
        active[:, self.column] = int(shift > 0)
        shifts = self.shifts.double().clone()
        shifts[self.column] *= shift / shifts[self.column].norm()
        return {self.layer: compose_shifts(shifts, active).float()}


def learned_companions(
    shifts: Float64[Tensor, "concepts d_model"],
    has: Bool[np.ndarray, "texts concepts"],
    column: int,
    *,
    layer: int,
    seed: int,
) -> LearnedCompanions:
    """Return companions as in learning: the concepts of a random text with the concept, each with probability 1/2.

    Args:
        shifts: of all concepts, at the lengths that were learned.
        has: which text has which concept.
        column: index of the concept that is calibrated.
        layer: 0-based block of all shifts.
        seed: of the draws.
    """
    with_concept = np.flatnonzero(has[:, column])

    def draw(random: np.random.Generator) -> Bool[np.ndarray, " concepts"]:
        text = with_concept[random.integers(len(with_concept))]
        active: np.ndarray = has[text] & (random.random(has.shape[1]) < 0.5)
        return active

    return LearnedCompanions(shifts=shifts, layer=layer, column=column, draw=draw, seed=seed)


def _usable(model: ResidualModel, vector: ConceptVector, name: str) -> ConceptVector | None:
    try:
        other = load(name, model)
    except SteerError:  # a damaged file is no companion
        return None
    if name == vector.name or other.unit is None:
        return None
    for layer, part in product(vector.layers, PARTS):
        one, two = part_shift(vector, layer, part), part_shift(other, layer, part)
        if one is not None and two is not None:
            cosine = float(one @ two / np.sqrt((one @ one) * (two @ two)))
            if abs(cosine) >= _MAX_COSINE:
                return None
    return other
