"""Calibrate a vector: find its unit, the smallest shift at which prompt-free samples show the concept."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from vectors.calibration.checkpoint import Checkpoint
from vectors.calibration.equal_pressure import find_scale
from vectors.calibration.success_curve import fit_success
from vectors.calibration.word_judge import Judge, WordJudge, accuracy
from vectors.common.errors import InputError
from vectors.common.progress import ProgressOption, count_progress, progress_callback, with_progress_bars
from vectors.common.statistics import wilson
from vectors.common.validation import check_integer
from vectors.concepts.vector import ConceptVector, check_fits
from vectors.data.contrast import ContrastSet
from vectors.decoding.prompt_free_samples import ShiftedSamples, fitting_length, sample_shifted
from vectors.decoding.token_sampling import Settings
from vectors.model.positions import Shifts, Site
from vectors.model.residual_model import ResidualModel
from vectors.model.steering_check import check_steering

BUDGET = 0.5
"""Highest mean pressure at dose 1, in nats per token."""

P95_BUDGET = 1.0
"""The same for the 95th percentile, for concepts that were learned together and keep the balance of their lengths."""

TARGET = 0.98
"""Success at dose 1, as a share of the best success within the budget."""

MAX_GAPS_AT_START = 2.0
"""Longest shift at the start token, in natural gaps: pressure saturates there, so that it cannot end the search."""

MAX_TOKENS = 96
"""Length limit of a pilot's texts."""

MIN_GAPS = 2.0**-24
"""Shortest shift that the search for the budget tries, in natural gaps; the longest is the inverse."""

_ALREADY = 0.9  # share of the best success at which texts without a shift have the concept already
_STEPS = 5  # evenly spaced shifts between zero and the largest within the budget
_BISECTIONS = 2  # of the interval of the curve that contains the unit
_BEYOND = (1.5, 2.0)  # doses at which the curve goes on, so that it shows where success falls again
_GRID = 500  # shifts at which the smooth curve is read
_PROBES = 12  # texts with a shift of their own each, to find the largest within the budget
_CHECKED = 32  # texts that check it
_TOLERANCE = 1.15  # of the budget: the pressure of some dozen texts scatters
_BUDGET_SAMPLES = 16  # samples at each shift while searching for the largest within the p95 budget
_BUDGET_BISECTIONS = 3  # of the interval between a shift within the budget and its double

CompanionShifts = Callable[[float, int], Mapping[int, Tensor] | Mapping[Site, Tensor]]
"""Returns by layer or site the total shift of each of `n` samples, for the length of the vector's own shift and `n`."""


@runtime_checkable
class HasAlone(Protocol):
    """Companions that say which samples have none."""

    def alone(self, n: int) -> Sequence[bool]:
        """Return for each of `n` samples whether no other concept is active."""


@with_progress_bars
def calibrate(
    model: ResidualModel,
    vector: ConceptVector,
    contrast: ContrastSet | None = None,
    *,
    judge: Judge | None = None,
    n: int = 64,
    max_tokens: int = MAX_TOKENS,
    seed: int = 0,
    progress: ProgressOption = None,
    company: CompanionShifts | None = None,
    balanced: bool = False,
    checkpoint: Checkpoint | None = None,
) -> ConceptVector:
    """Return the vector with its unit and the curve of success by shift that it was read from.

    A pilot samples without a prompt at shifts from zero to the largest one whose mean pressure is at most half a nat
    (at the start token, where pressure saturates, to at most twice the natural gap). A word judge fit on `contrast`
    decides which samples have the concept. The unit is the smallest shift that reaches 98 % of the best success; the
    curve is sampled more densely around it, and goes on to twice the unit. If no success rate is significantly above
    the rate at shift zero, the vector gets the curve but no unit: dose 1 is then the natural gap, and `calibrated` is
    false.

    Args:
        model: the model that the vector belongs to.
        vector: the vector.
        contrast: held-out texts, which the direction was not found in.
        judge: decides which samples have the concept if there are no such texts; its error rates are unknown.
        n: number of samples at each shift.
        max_tokens: length limit of a sample.
        seed: of the samples.
        progress: called as the work goes on, or `True` for progress bars.
        company: the shift of each sample if other concepts are active too (see
            `vectors.calibration.companions.find_companions`); by default the vector alone. A dose that is enough alone
            is too small in combination. If the other concepts use up the budget, or no unit is found with them, the
            pilot is repeated without them.
        balanced: whether the concepts were learned together and their natural gaps are balanced. The unit is then the
            gap, or the largest shift whose p95 pressure is at most 1 nat if that is shorter. Separate units, each with
            its own error, yield fewer texts with all concepts.
        checkpoint: finished parts of an interrupted pilot.

    Raises:
        InputError: neither texts nor a judge.
        VectorError: the vector belongs to another model.
        UnsteeredError: shifts at a layer of the vector have no effect.
    """
    n = check_integer(n, "n", low=1)
    check_fits(vector, model)
    for layer in vector.layers:
        check_steering(model, layer)
    if contrast is not None:
        judge = WordJudge(contrast.positive, contrast.background)
    if judge is None:
        raise InputError("nothing decides which samples have the concept: give contrast texts, or a judge")
    settings = Settings(max_tokens=fitting_length(model, max_tokens), positions=vector.positions)

    def sample(shift: float, count: int) -> ShiftedSamples:
        alone = {site: row * shift for site, row in vector.shifts.items()}
        shifts: Shifts = company(shift, count) if company else alone
        return sample_shifted(model, shifts, n=count, settings=settings, seed=seed)

    report, parts = progress_callback(progress), (checkpoint or Checkpoint(None, {})).about(vector.shifts)

    def p95(shift: float) -> float:
        report(f"pilot of {vector.name!r}: pressure at a shift of {shift:.3g}", 0, 0)
        return sample(shift, min(_BUDGET_SAMPLES, n)).p95

    def longest() -> float:
        if balanced:
            return largest_shift(p95, vector.gap, max_gaps)
        report(f"pilot of {vector.name!r}: pressure by shift", 0, 0)
        return _longest_within(model, vector, settings, most=max_gaps, seed=seed)

    at_start = vector.all_positions == ("bos",)
    max_gaps = MAX_GAPS_AT_START if at_start else 1 / MIN_GAPS
    largest = parts.value("largest", longest)
    total = _STEPS + 1 + _BISECTIONS + len(_BEYOND)
    advance = count_progress(report, f"pilot of {vector.name!r}: success by shift", total)
    advance(0)

    def row(shift: float) -> dict[str, Any]:
        found = parts.value(f"shift {shift:.6g}", lambda: _row(sample(shift, n), judge, shift, alone(n)))
        advance(1)
        return found

    def alone(count: int) -> Sequence[bool]:
        """Which samples have no other concept, whose pressure would count too."""
        return company.alone(count) if isinstance(company, HasAlone) else [True] * count

    curve = [row(largest * step / _STEPS) for step in range(_STEPS + 1)]
    for _ in range(_BISECTIONS):
        if (bracket := _bracket(curve)) is None:
            break
        before, after = bracket
        middle = (before["shift"] + after["shift"]) / 2
        curve.insert(curve.index(after), row(middle))
    unit = _unit(curve)
    if unit is not None and not balanced:
        curve += [row(dose * unit) for dose in _BEYOND if dose * unit > curve[-1]["shift"] * 1.05]
    unit_judge = None if contrast is None else accuracy(contrast.positive, contrast.background)
    if company and unit is None and not balanced:
        vector = calibrate(model, vector, judge=judge, n=n, max_tokens=max_tokens, seed=seed, progress=progress)
        return replace(vector, unit_judge=unit_judge)
    if balanced and unit is not None:
        unit = min(vector.gap, largest)
    return replace(vector, unit=unit, unit_curve=tuple(curve), unit_judge=unit_judge)


def largest_shift(
    pressure: Callable[[float], float], start: float, max_gaps: float, *, budget: float = P95_BUDGET
) -> float:
    """Return the largest shift whose p95 pressure is within a budget, to within an eighth.

    Args:
        pressure: p95 pressure by shift, in nats per token.
        start: the first shift that is tried.
        max_gaps: limit of the result, as a multiple of `start`.
        budget: highest pressure, in nats per token.

    >>> largest_shift(lambda shift: shift**2, 0.75, 100.0)
    0.9375
    """
    low = start
    if pressure(start) > budget:
        while low > start * MIN_GAPS:
            low /= 2
            if pressure(low) <= budget:
                break
    else:
        while 2 * low <= start * max_gaps and pressure(2 * low) <= budget:
            low *= 2
        if 2 * low > start * max_gaps:
            return low
    step = low
    for _ in range(_BUDGET_BISECTIONS):
        step /= 2
        if pressure(low + step) <= budget:
            low += step
    return low


def _longest_within(
    model: ResidualModel, vector: ConceptVector, settings: Settings, *, most: float, seed: int
) -> float:
    """Return the shift at which the concept alone has the mean pressure of the budget, at most so many gaps long."""

    def sample(gaps: Sequence[float]) -> ShiftedSamples:
        factors = torch.tensor(gaps)[:, None] * vector.gap
        rows = {site: factors * row[None] for site, row in vector.shifts.items()}
        return sample_shifted(model, rows, n=len(gaps), settings=settings, seed=seed)

    return find_scale(sample, BUDGET, most=most, n=_CHECKED, probes=_PROBES)[0] * vector.gap


def _row(samples: ShiftedSamples, judge: Judge, shift: float, alone: Sequence[bool]) -> dict[str, Any]:
    """A row of the curve: success with its 95 % interval, and the pressure of the concept alone."""
    hits, n = sum(judge.accepts(text) for text in samples.texts), len(samples.texts)
    low, high = wilson(hits, n)
    kl = np.concatenate([cost for cost, own in zip(samples.costs, alone, strict=True) if own or not any(alone)])
    return {
        "shift": float(f"{shift:.6g}"),
        "success": round(hits / n, 4),
        "low": round(low, 4),
        "high": round(high, 4),
        "mean": round(float(kl.mean()), 5),
        "p95": round(float(np.percentile(kl, 95)), 5),
        "n": n,
    }


def _unit(curve: Sequence[dict[str, Any]]) -> float | None:
    """The smallest shift within the budget that comes close to the best success there, by a smooth curve."""
    if _bracket(curve) is None:
        return None
    within = _within_budget(curve)
    high = TARGET * max(row["success"] for row in within)
    last = max((row for row in within if row["success"] >= high), key=lambda row: row["shift"])
    rows = [row for row in curve if row["shift"] <= last["shift"]]  # success may fall again beyond
    largest = _budget_shift(rows)
    shifts = np.linspace(0, largest, _GRID + 1)[1:]
    success = fit_success(rows)(shifts)
    return float(shifts[np.argmax(success >= TARGET * success[-1])])


def _budget_shift(rows: Sequence[dict[str, Any]]) -> float:
    """The largest shift of these rows whose mean pressure, between rows, is within the budget."""
    after = rows[-1]
    if after["mean"] <= BUDGET or after["p95"] <= P95_BUDGET:
        return float(after["shift"])
    before = next((row for row in reversed(rows[:-1]) if row["mean"] <= BUDGET), rows[0])
    share = (BUDGET - before["mean"]) / (after["mean"] - before["mean"])
    return float(before["shift"] + share * (after["shift"] - before["shift"]))


def _bracket(curve: Sequence[dict[str, Any]]) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """The neighbouring rows that contain the unit; `None` if success does not rise significantly above shift zero."""
    target = _target_success(curve)
    best = max(_within_budget(curve), key=lambda row: row["success"])
    if best["low"] <= curve[0]["high"] or curve[0]["success"] >= _ALREADY * best["success"]:
        return None
    # over all rows: pressure may exceed the budget a little at a shift that is shorter than one within it
    return next(rows for rows in pairwise(curve) if rows[1]["success"] >= target)


def _target_success(curve: Sequence[dict[str, Any]]) -> float:
    return TARGET * float(max(row["success"] for row in _within_budget(curve)))


def _within_budget(curve: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    within = [row for row in curve[1:] if row["mean"] <= BUDGET * _TOLERANCE or row["p95"] <= P95_BUDGET]
    return [curve[0], *within]
