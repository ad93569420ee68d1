"""The unit of a vector: a pilot of prompt-free samples finds the smallest shift that shows the concept."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

from jaxtyping import Float
from torch import Tensor

from vectors.calibration.word_judge import Judge, WordJudge, accuracy
from vectors.common.errors import InputError
from vectors.common.statistics import wilson
from vectors.common.validation import check_integer
from vectors.concepts.vector import ConceptVector, check_fits
from vectors.data.contrast import ContrastSet
from vectors.decoding.prompt_free_samples import ShiftedSamples, fitting_length, sample_shifted
from vectors.decoding.token_sampling import Settings
from vectors.model.residual_model import ResidualModel
from vectors.model.steering_check import check_steering

BUDGET = 1.0
"""p95 pressure, in nats per token, up to which the pilot looks."""

ENOUGH = 0.9
"""Share of the best success within the budget that one unit reaches."""

_STEPS = 6  # shifts tried between none and the largest within the budget
_CLOSER = 3  # halvings, after them, of the interval that the unit lies in
_PROBE = 16  # samples that find how far the budget reaches
_HALVINGS = 3  # of the interval between a shift within the budget and its double
FARTHEST = 2.0  # times the natural gap: at the start token alone a shift saturates, and pressure never ends the search
SMALLEST = 2.0**-24  # how far from the natural gap the budget is looked for, either way

Progress = Callable[[str], None]
"""Told what the pilot is doing."""

Company = Callable[[float, int], Mapping[int, Float[Tensor, "n d_model"]]]
"""From the length of a vector's own shift and a number of samples to what each is shifted by in all, layer by layer."""


def calibrate(
    model: ResidualModel,
    vector: ConceptVector,
    contrast: ContrastSet | None = None,
    *,
    judge: Judge | None = None,
    n: int = 64,
    max_tokens: int = 96,
    seed: int = 0,
    progress: Progress | None = None,
    company: Company | None = None,
    balanced: bool = False,
) -> ConceptVector:
    """Return the vector with its unit and the curve of the pilot that found it.

    The pilot samples without a prompt at shifts from zero to the largest within 1 nat of p95 pressure (at the start
    token alone, where pressure saturates, to twice the natural gap at most), and a word judge fit on `contrast` (give
    held-out texts) tells which samples have the concept. The unit is the smallest shift that reaches 90 % of the best
    success; around it the curve has more rows. Where success never clearly leaves the rate at shift zero, the vector
    keeps its curve and gets no unit: its natural gap serves then, and `calibrated` says so.

    Args:
        model: the model the vector was made for.
        vector: the vector.
        contrast: labelled texts that the direction was not found in.
        judge: tells which samples have the concept, where there are no such texts; nothing is known of its mistakes.
        n: samples at each shift.
        max_tokens: length of a pilot sample.
        seed: of the samples.
        progress: called with a line at each step.
        company: what each sample is shifted by; by default the vector alone. The dose that is enough alone is too
            small in combination: `vectors.calibration.companions.find_companions` finds concepts of the model's
            library. Where company costs the budget already, or hides the concept, the pilot is repeated without.
        balanced: the concepts were learned together, to be composed, and are in balance at their natural gaps: the unit
            is the gap, or the largest shift within the budget. Units found one by one, each with its own error, give
            fewer texts that have all of three.

    Raises:
        InputError: neither texts nor a judge.
        VectorError: a vector of another model.
        UnsteeredError: a layer where shifts change nothing.
    """
    n = check_integer(n, "n", low=1)
    check_fits(vector, model)
    for layer in vector.layers:
        check_steering(model, layer)
    if contrast is not None:
        judge = WordJudge(contrast.positive, contrast.background)
    if judge is None:
        raise InputError("nobody tells which samples have the concept: give contrast texts, or a judge")
    settings = Settings(max_tokens=fitting_length(model, max_tokens), positions=vector.positions)

    def tried(shift: float, count: int) -> ShiftedSamples:
        if progress:
            progress(f"pilot at shift {shift:.3g}")
        deltas = company(shift, count) if company else {at: vector.shift_at(at) * shift for at in vector.layers}
        return sample_shifted(model, deltas, n=count, settings=settings, seed=seed)

    farthest = FARTHEST if vector.positions == "bos" else 1 / SMALLEST
    most = reach(lambda shift: tried(shift, min(_PROBE, n)).p95, vector.gap, farthest)
    curve = [_row(tried(most * step / _STEPS, n), judge, most * step / _STEPS) for step in range(_STEPS + 1)]
    for _ in range(_CLOSER):
        if (around := _bracket(curve)) is None:
            break
        before, after = around
        between = (before["shift"] + after["shift"]) / 2
        curve.insert(curve.index(after), _row(tried(between, n), judge, between))
    unit = _unit(curve)
    if company and unit is None and not balanced:
        return calibrate(model, vector, contrast, judge=judge, n=n, max_tokens=max_tokens, seed=seed, progress=progress)
    if balanced and unit is not None:
        unit = min(vector.gap, most)
    judged = None if contrast is None else accuracy(contrast.positive, contrast.background)
    return replace(vector, unit=unit, unit_curve=tuple(curve), unit_judge=judged)


def reach(pressure: Callable[[float], float], start: float, farthest: float, *, budget: float = BUDGET) -> float:
    """Return the largest shift, to an eighth, whose p95 pressure stays within a budget, up to `farthest` starts."""
    low = start
    if pressure(start) > budget:
        while low > start * SMALLEST:
            low /= 2
            if pressure(low) <= budget:
                break
    else:
        while 2 * low <= start * farthest and pressure(2 * low) <= budget:
            low *= 2
        if 2 * low > start * farthest:
            return low
    step = low
    for _ in range(_HALVINGS):
        step /= 2
        if pressure(low + step) <= budget:
            low += step
    return low


def _row(made: ShiftedSamples, judge: Judge, shift: float) -> dict[str, Any]:
    hits, n = sum(judge.accepts(text) for text in made.texts), len(made.texts)
    low, high = wilson(hits, n)
    return {
        "shift": float(f"{shift:.6g}"),
        "success": round(hits / n, 4),
        "low": round(low, 4),
        "high": round(high, 4),
        "mean": round(float(made.kl.mean()), 5),
        "p95": round(made.p95, 5),
        "n": n,
    }


def _unit(curve: Sequence[dict[str, Any]]) -> float | None:
    """The first shift, between rows interpolated, that reaches the wanted share of the best success."""
    around = _bracket(curve)
    if around is None:
        return None
    before, after = around
    rise = (_wanted(curve) - before["success"]) / (after["success"] - before["success"])
    return float(before["shift"] + rise * (after["shift"] - before["shift"]))


def _bracket(curve: Sequence[dict[str, Any]]) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """The neighbouring rows that the unit lies between; None where success never clearly leaves that at shift zero."""
    wanted = _wanted(curve)
    best = max(_affordable(curve), key=lambda row: row["success"])
    if best["low"] <= curve[0]["high"] or curve[0]["success"] >= wanted:
        return None
    # over all rows: a little over the budget on the way to a row within it, success counts all the same
    return next(rows for rows in pairwise(curve) if rows[1]["success"] >= wanted)


def _wanted(curve: Sequence[dict[str, Any]]) -> float:
    return ENOUGH * float(max(row["success"] for row in _affordable(curve)))


def _affordable(curve: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [curve[0], *(row for row in curve[1:] if row["p95"] <= BUDGET)]
