"""Forecast for a steering point before sampling: cosines between concepts, success, and outlyingness."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import TYPE_CHECKING, Any

import numpy as np

from steer.composition.steering_point import SteeringPoint
from steer.statistics.estimate import Estimate
from vectors.common.errors import SteerError
from vectors.common.paths import EMBEDDED_NAME
from vectors.common.validation import check_integer, check_number
from vectors.concepts.by_position import part_shift
from vectors.concepts.vector import ConceptVector
from vectors.concepts.vector_fields import MAX_TEXTS
from vectors.model.positions import PARTS, parts_of

if TYPE_CHECKING:
    from vectors.activations.covariance import LowRankCovariance

_DRAWS = 4000
_MIN_JUDGE_GAIN = 0.2  # smallest difference of a judge's acceptance rates with and without the concept


@dataclass(frozen=True)
class Forecast:
    """What to expect of a point.

    Attributes:
        cosines: cosine of each pair of concepts, by their names.
        success: expected success of each concept with a positive dose, from the curve of its pilot, corrected for the
            error rates of its judge; concepts without a unit or a curve are left out.
        joint: expected share of texts with all of them at radius 0, if they are independent; `None` if a concept has no
            curve, has a dose beyond its curve, or excludes another.
        beyond: largest dose of the pilot, of each concept whose dose is larger.
        falling: dose at which the pilot showed most of a concept, of each whose larger dose shows clearly less of it.
        alone: concepts whose pilot had no other concepts active, if several are combined; `joint` is then too high.
        rivals: concepts of the embedded model that exclude each other, by their attribute.
        outlying: by layer, the share of natural texts that lie no farther from their mean than the shift reaches; empty
            without covariances.
    """

    cosines: dict[tuple[str, str], float]
    success: dict[str, Estimate]
    joint: Estimate | None
    beyond: dict[str, float]
    falling: dict[str, float]
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
            "falling": self.falling,
            "alone": list(self.alone),
            "rivals": {attribute: list(names) for attribute, names in self.rivals.items()},
            "outlying": {str(layer): share for layer, share in self.outlying.items()},
        }


def forecast(point: SteeringPoint, covariances: "Mapping[int, LowRankCovariance] | None" = None) -> Forecast:
    """Return what to expect of a steering point before sampling: cosines, success, outlyingness.

    Args:
        point: the steering point.
        covariances: of natural activations by layer; leave them out for concepts at the start token, which all texts
            share.
    """
    cosines, projections = dict[tuple[str, str], float](), dict[ConceptVector, float]()
    for layer, part in product(point.layers, PARTS):
        shifts = {vector: part_shift(vector, layer, part) for vector in point.vectors}
        units = {vector: row / np.sqrt((row * row).sum()) for vector, row in shifts.items() if row is not None}
        for one, other in combinations(units, 2):
            pair = one.name, other.name  # where the absolute cosine is largest
            cosines[pair] = max(cosines.get(pair, 0.0), float(units[one] @ units[other]), key=abs)
    for vector in point.vectors:
        part = max(parts_of(vector.positions), key=PARTS.index)
        row, delta = part_shift(vector, vector.layer, part), point.part_shift(vector.layer, part)
        shift = point.main_shift(vector.layer) if delta is None else delta  # the concept may have been moved
        if row is not None:
            projections[vector] = vector.scale * float(row @ shift.double().numpy()) / float(row @ row)
    wanted = [vector for vector in point.vectors if point.doses[vector.name] > 0]
    curves = {vector.name: _curve(vector, projections.get(vector, 0.0)) for vector in wanted}
    known = {name: curve for name, curve in curves.items() if curve is not None}
    rivals = _rivals(wanted)
    has_joint = wanted and len(known) == len(wanted) and not rivals
    outlying = {}
    for layer, covariance in (covariances or {}).items():
        if layer in point.layers:
            outlying[layer] = covariance.percentile(point.main_shift(layer))
    return Forecast(
        cosines=cosines,
        success={name: _product("success", [curve]) for name, curve in known.items()},
        joint=_product("joint success", list(known.values())) if has_joint else None,
        beyond=_beyond(wanted, projections),
        falling=_falling(wanted, projections),
        alone=tuple(vector.name for vector in wanted if vector.tried_alone) if len(wanted) > 1 else (),
        rivals=rivals,
        outlying=outlying,
    )


def _rivals(wanted: Sequence[ConceptVector]) -> dict[str, tuple[str, ...]]:
    """Return concepts of the embedded model that are values of the same attribute, by its name."""
    from vectors.almanac.concepts import CONCEPTS

    groups: dict[str, list[str]] = {}
    for vector in wanted:
        if vector.model == EMBEDDED_NAME and vector.name in CONCEPTS:
            groups.setdefault(CONCEPTS[vector.name][0], []).append(vector.name)
    return {attribute: tuple(names) for attribute, names in groups.items() if len(names) > 1}


def _beyond(wanted: Sequence[ConceptVector], projections: Mapping[ConceptVector, float]) -> dict[str, float]:
    largest_doses = {}
    for vector in wanted:
        shifts = [row[0] for row in map(_row, vector.unit_curve) if row is not None]
        if shifts and projections.get(vector, 0.0) > max(shifts) * (1 + 1e-4):
            largest_doses[vector.name] = max(shifts) / vector.scale
    return largest_doses


def _falling(wanted: Sequence[ConceptVector], projections: Mapping[ConceptVector, float]) -> dict[str, float]:
    """Return the best dose of each concept whose success at its dose is significantly below that of a smaller one."""
    best_doses = {}
    for vector in wanted:
        known = [(row[0], raw) for raw in vector.unit_curve if (row := _row(raw)) is not None]
        rows = [(shift, raw) for shift, raw in known if _has_interval(raw)]
        if not vector.calibrated or not rows:
            continue
        best_shift, best = max(rows, key=lambda row: float(row[1]["success"]))
        # the last row that the dose reaches
        asked = projections.get(vector, 0.0) * (1 + 1e-4)
        _, here = max(
            ((shift, raw) for shift, raw in rows if best_shift <= shift <= asked),
            key=lambda row: row[0],
            default=(best_shift, best),
        )
        if here["high"] < best["low"]:
            best_doses[vector.name] = best_shift / vector.scale
    return best_doses


def _has_interval(row: Mapping[str, Any]) -> bool:
    return all(isinstance(row.get(key), int | float) for key in ("low", "high"))


@dataclass(frozen=True)
class _Curve:
    """A pilot's curve at one shift: two neighbouring rows, and the shift's position between them.

    Attributes:
        along: 0 at the first row, 1 at the second.
        rows: (hits, texts) of both rows.
        judge: (accepted, texts) of the judge on held-out texts with and without the concept.
    """

    along: float
    rows: tuple[tuple[int, int], tuple[int, int]]
    judge: tuple[tuple[int, int], tuple[int, int]]

    def rate(self, of: Callable[[int, int], np.ndarray]) -> np.ndarray:
        """Return draws of the rate of texts with the concept; `of` draws rates from hits and texts.

        Source: Rogan and Gladen, "Estimating prevalence from the results of a screening test" (1978).
        """
        before, after = (of(*row) for row in self.rows)
        right, wrong = (of(*side) for side in self.judge)
        accepted = before + self.along * (after - before)
        shares: np.ndarray = np.clip((accepted - wrong) / np.maximum(right - wrong, 1e-9), 0.0, 1.0)
        return shares


def _curve(vector: ConceptVector, shift: float) -> _Curve | None:
    """Return a vector's curve at a shift; None without a unit, beyond the curve's ends, or if its judge is too weak."""
    if not vector.calibrated:  # no shift of the pilot had an effect: its curve shows the errors of the judge
        return None
    rows = [_row(row) for row in vector.unit_curve]
    judge = vector.unit_judge
    if len(rows) < 2 or judge is None or judge[0][0] / judge[0][1] - judge[1][0] / judge[1][1] < _MIN_JUDGE_GAIN:
        return None
    known = [row for row in rows if row is not None]
    shifts = [row_shift for row_shift, _ in known]
    # rounding to float32 may carry a point slightly beyond the last shift of its pilot
    if len(known) < len(rows) or shifts != sorted(shifts) or not shifts[0] <= shift <= shifts[-1] * (1 + 1e-4):
        return None
    after = min(int(np.searchsorted(shifts, shift, side="right")), len(shifts) - 1)
    step = shifts[after] - shifts[after - 1]
    along = min(1.0, (shift - shifts[after - 1]) / step) if step > 0 else 1.0
    return _Curve(along, (known[after - 1][1], known[after][1]), judge)


def _row(row: Mapping[str, Any]) -> tuple[float, tuple[int, int]] | None:
    """Return the shift of a pilot's row with its hits and texts; None for an invalid row."""
    try:
        shift, success = check_number(row["shift"], "shift"), check_number(row["success"], "success")
        n = check_integer(row["n"], "n", low=1, high=MAX_TEXTS)
    except (KeyError, SteerError):
        return None
    return (shift, (round(success * n), n)) if 0 <= success <= 1 else None


def _product(name: str, curves: Sequence[_Curve]) -> Estimate:
    """Return the product of the rates: median and 95 % interval of draws from Jeffreys posteriors of the counts.

    A plain ratio of counts would be too high where the judge accepts nearly all texts.
    """
    random = np.random.default_rng(0)
    drawn = np.ones(_DRAWS)
    for curve in curves:
        drawn *= curve.rate(lambda hits, n: random.beta(hits + 0.5, n - hits + 0.5, size=_DRAWS))
    low, value, high = np.quantile(drawn, [0.025, 0.5, 0.975])
    fewest = min(n for curve in curves for _, n in curve.rows)
    return Estimate(name=name, value=float(value), low=float(low), high=float(high), n=fewest)
