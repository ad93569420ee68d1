"""Calibrate a concept while other concepts are active: a dose that is enough alone is too small in combination."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from vectors.common.errors import SteerError
from vectors.common.rng import Stream, rng
from vectors.concepts.composition import compose_shifts
from vectors.concepts.library import load, names
from vectors.concepts.vector import ConceptVector
from vectors.model.residual_model import ResidualModel

MIN_COMPANIONS = 3
"""Fewest companions, so that no single concept decides how much is enough in combination."""

ALONE = 1 / 3
"""Share of a pilot's samples without a companion."""

_MAX_COSINE = 0.5  # a concept whose direction is nearer than this, or nearer to the opposite, is no companion


@dataclass(frozen=True, eq=False, kw_only=True)
class Companions:
    """The shifts of a pilot's samples: one concept at the length that is tried, with other concepts at dose 1.

    Attributes:
        names: of all concepts; empty if they have none.
        shifts: of all concepts at dose 1.
        layers: 0-based block of each concept.
        column: index of the concept that is calibrated.
        direction: of that concept, a unit vector.
        draw: draws the companions of one sample.
        seed: of the draws.
    """

    names: tuple[str, ...] = ()
    shifts: Float[Tensor, "concepts d_model"]
    layers: Sequence[int]
    column: int
    direction: Float[Tensor, " d_model"]
    draw: Callable[[np.random.Generator], Bool[np.ndarray, " concepts"]]
    seed: int

    def __call__(self, shift: float, n: int) -> dict[int, Float[Tensor, "n d_model"]]:
        """Return the shifts of `n` samples by layer; sample `i` has the same companions for any `shift` and `n`."""
        random = rng(self.seed, self.column, Stream.COMPANIONS)
        active = torch.from_numpy(np.stack([self.draw(random) for _ in range(n)])).long()
        active[:, self.column] = int(shift > 0)
        deltas = {}
        for layer in sorted(set(self.layers)):
            here = [index for index, block in enumerate(self.layers) if block == layer]
            if layer == self.layers[self.column]:
                shifts = self.shifts.double().clone()
                shifts[self.column] = (self.direction * shift).double()
                deltas[layer] = compose_shifts(shifts[here], active[:, here]).float()
            elif active[:, here].any():  # at most one companion, so there is nothing to compose
                deltas[layer] = active[:, here].float() @ self.shifts[here].float()
        return deltas


def find_companions(model: ResidualModel, vector: ConceptVector, *, seed: int) -> Companions | None:
    """Return companions of a concept from the model's library, or `None` if there are too few.

    A companion is added at the same positions, has a unit, and at the same layer its direction is not close to that of
    the concept or to the opposite.
    """
    others = [other for name in names(model) if (other := _usable(model, vector, name)) is not None]
    if vector.other_shifts or len(others) < MIN_COMPANIONS:
        return None
    return library_companions(vector, others, seed=seed)


def library_companions(vector: ConceptVector, others: Sequence[ConceptVector], *, seed: int) -> Companions:
    """Return companions that are drawn from other vectors: none in a third of the samples, otherwise one."""

    def draw(random: np.random.Generator) -> Bool[np.ndarray, " concepts"]:
        active = np.zeros(1 + len(others), dtype=bool)
        alone, index = random.random() < ALONE, int(random.integers(len(others)))
        active[1 + index] = not alone
        return active

    concepts = [vector, *others]
    return Companions(
        names=tuple(concept.name for concept in concepts),
        shifts=torch.stack([concept.direction * concept.scale for concept in concepts]),
        layers=[concept.layer for concept in concepts],
        column=0,
        direction=vector.direction,
        draw=draw,
        seed=seed,
    )


def learned_companions(
    shifts: Float64[Tensor, "concepts d_model"],
    has: Bool[np.ndarray, "texts concepts"],
    column: int,
    *,
    layer: int,
    seed: int,
) -> Companions:
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

    return Companions(
        shifts=shifts,
        layers=[layer] * len(shifts),
        column=column,
        direction=shifts[column] / shifts[column].norm(),
        draw=draw,
        seed=seed,
    )


def _usable(model: ResidualModel, vector: ConceptVector, name: str) -> ConceptVector | None:
    try:
        other = load(name, model)
    except SteerError:  # a damaged file is no companion
        return None
    if name == vector.name or other.unit is None or other.other_shifts:
        return None
    cosine = float(other.direction.double() @ vector.direction.double()) if other.layer == vector.layer else 0.0
    return other if other.positions == vector.positions and abs(cosine) < _MAX_COSINE else None
