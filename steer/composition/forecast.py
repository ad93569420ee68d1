"""What to expect of a steering point before anything is sampled: how concepts lie, how often all show, how far out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from steer.composition.linear_algebra import unit_rows
from steer.composition.steering_point import SteeringPoint
from steer.statistics.estimate import Estimate
from vectors.common.errors import SteerError
from vectors.common.paths import EMBEDDED_NAME
from vectors.common.validation import check_integer, check_number
from vectors.concepts.vector import ConceptVector
from vectors.concepts.vector_fields import MAX_TEXTS

if TYPE_CHECKING:
    from vectors.activations.covariance import LowRankCovariance

_DRAWS = 4000
_TELLS = 0.2  # by how much oftener a judge accepts texts with the concept than texts without, at least


@dataclass(frozen=True)
class Forecast:
    """What to expect of a point.

    Attributes:
        cosines: of each two concepts at one layer, by their names.
        success: of each concept that is asked for, by its own pilot's curve, with what its judge misses and mistakes
            taken into account; concepts without a curve are not there.
        joint: share of texts that should have all of them, were they independent of each other, at radius 0; `None`
            where a concept has no curve, is asked for beyond its end, or excludes another.
        beyond: of each concept that is asked for beyond what its pilot tried, the largest dose that it did.
        alone: those of several concepts whose pilots had none beside them: less of them shows in company than `joint`
            takes for granted.
        rivals: concepts of the embedded model's world that no text has two of, by the attribute whose values they are.
        outlying: at each steered layer, the share of natural texts that lie no farther from their mean than the
            shift reaches; empty where nothing is known of natural texts.
    """

    cosines: dict[tuple[str, str], float]
    success: dict[str, Estimate]
    joint: Estimate | None
    beyond: dict[str, float]
    alone: tuple[str, ...]
    rivals: dict[str, tuple[str, ...]]
    outlying: dict[int, float]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "cosines": [{"between": list(names), "cosine": value} for names, value in self.cosines.items()],
            "success": {name: figure.to_dict() for name, figure in self.success.items()},
            "joint": None if self.joint is None else self.joint.to_dict(),
            "beyond": self.beyond,
            "alone": list(self.alone),
            "rivals": {attribute: list(names) for attribute, names in self.rivals.items()},
            "outlying": {str(layer): share for layer, share in self.outlying.items()},
        }


def forecast(point: SteeringPoint, covariances: "Mapping[int, LowRankCovariance] | None" = None) -> Forecast:
    """Return what to expect of a steering point before anything is sampled: cosines, success, outlyingness.

    `covariances` tell how natural texts vary at its layers: leave them out for concepts at the start token, which all
    texts share.
    """
    cosines, reached = dict[tuple[str, str], float](), dict[ConceptVector, float]()
    for layer, delta in point.deltas.items():
        here = [vector for vector in point.vectors if layer in vector.layers]
        if not here:
            continue
        rows = unit_rows(here, layer)
        gram = rows @ rows.T
        for (i, one), (j, other) in combinations(enumerate(here), 2):
            pair = one.name, other.name  # of several layers that they share, the one where they are most alike
            cosines[pair] = max(cosines.get(pair, 0.0), float(gram[i, j]), key=abs)
        for vector, shift in zip(here, (rows @ delta.double().numpy()).tolist(), strict=True):
            if vector.layer == layer:
                reached[vector] = shift
    wanted = [vector for vector in point.vectors if point.doses[vector.name] > 0]
    curves = {vector.name: _curve(vector, reached[vector]) for vector in wanted}
    known = {name: found for name, found in curves.items() if found is not None}
    rivals = _rivals(wanted)
    together = wanted and len(known) == len(wanted) and not rivals
    outlying = {}
    for layer, shape in (covariances or {}).items():
        if layer in point.deltas:
            outlying[layer] = shape.percentile(point.deltas[layer])
    return Forecast(
        cosines=cosines,
        success={name: _product("success", [found]) for name, found in known.items()},
        joint=_product("joint success", list(known.values())) if together else None,
        beyond=_beyond(wanted, reached),
        alone=tuple(vector.name for vector in wanted if vector.tried_alone) if len(wanted) > 1 else (),
        rivals=rivals,
        outlying=outlying,
    )


def _rivals(wanted: Sequence[ConceptVector]) -> dict[str, tuple[str, ...]]:
    """Concepts of the embedded model that are values of one attribute, by its name."""
    from vectors.almanac.concepts import CONCEPTS

    groups: dict[str, list[str]] = {}
    for vector in wanted:
        if vector.model == EMBEDDED_NAME and vector.name in CONCEPTS:
            groups.setdefault(CONCEPTS[vector.name][0], []).append(vector.name)
    return {attribute: tuple(names) for attribute, names in groups.items() if len(names) > 1}


def _beyond(wanted: Sequence[ConceptVector], reached: Mapping[ConceptVector, float]) -> dict[str, float]:
    found = {}
    for vector in wanted:
        places = [row[0] for row in map(_row, vector.unit_curve) if row is not None]
        if places and reached[vector] > max(places) * (1 + 1e-4):
            found[vector.name] = max(places) / vector.scale
    return found


@dataclass(frozen=True)
class _Curve:
    """A pilot's curve at a shift: how far along between two of its rows, what they count, and how good its judge is."""

    along: float
    rows: tuple[tuple[int, int], tuple[int, int]]
    judge: tuple[tuple[int, int], tuple[int, int]]

    def rate(self, of: Callable[[int, int], np.ndarray]) -> np.ndarray:
        """Draws of the rate of texts with the concept, given how those of a rate are made from a count.

        Source: Rogan and Gladen, "Estimating prevalence from the results of a screening test" (1978).
        """
        before, after = (of(*row) for row in self.rows)
        right, wrong = (of(*side) for side in self.judge)
        told = before + self.along * (after - before)
        shares: np.ndarray = np.clip((told - wrong) / np.maximum(right - wrong, 1e-9), 0.0, 1.0)
        return shares


def _curve(vector: ConceptVector, shift: float) -> _Curve | None:
    """Return a vector's curve at a shift; None without one, beyond its ends, or with a judge that hardly tells."""
    rows = [_row(row) for row in vector.unit_curve]
    judge = vector.unit_judge
    if len(rows) < 2 or judge is None or judge[0][0] / judge[0][1] - judge[1][0] / judge[1][1] < _TELLS:
        return None
    known = [row for row in rows if row is not None]
    places = [place for place, _ in known]
    # a point in float32 may end a little beyond the pilot that found its unit
    if len(known) < len(rows) or places != sorted(places) or not places[0] <= shift <= places[-1] * (1 + 1e-4):
        return None
    after = min(int(np.searchsorted(places, shift, side="right")), len(places) - 1)
    step = places[after] - places[after - 1]
    along = min(1.0, (shift - places[after - 1]) / step) if step > 0 else 1.0
    return _Curve(along, (known[after - 1][1], known[after][1]), judge)


def _row(row: Mapping[str, Any]) -> tuple[float, tuple[int, int]] | None:
    """Return the shift of a pilot's row, its hits and its texts; None for what is no such row."""
    try:
        shift, success = check_number(row["shift"], "shift"), check_number(row["success"], "success")
        n = check_integer(row["n"], "n", low=1, high=MAX_TEXTS)
    except (KeyError, SteerError):
        return None
    return (shift, (round(success * n), n)) if 0 <= success <= 1 else None


def _product(name: str, found: Sequence[_Curve]) -> Estimate:
    """The product of rates: the median, and the 95 % interval, of draws of each count's rate (Jeffreys').

    Where a judge's counts say that all texts have the concept, and more, a ratio of counts would promise too much.
    """
    random = np.random.default_rng(0)
    drawn = np.ones(_DRAWS)
    for curve in found:
        drawn *= curve.rate(lambda hits, n: random.beta(hits + 0.5, n - hits + 0.5, size=_DRAWS))
    low, value, high = np.quantile(drawn, [0.025, 0.5, 0.975])
    fewest = min(n for curve in found for _, n in curve.rows)
    return Estimate(name=name, value=float(value), low=float(low), high=float(high), n=fewest)
