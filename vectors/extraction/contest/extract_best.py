"""Extract a concept by a contest over methods, layers and positions, within a budget."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from vectors.activations.pooling import Pool
from vectors.activations.text_activations import encode_by_text
from vectors.calibration.calibrate import calibrate
from vectors.calibration.checkpoint import Checkpoint
from vectors.calibration.companions import find_companions
from vectors.calibration.equal_pressure import MAX_TOKENS
from vectors.calibration.word_judge import WordJudge, accuracy
from vectors.common.errors import InputError
from vectors.common.progress import Progress
from vectors.concepts.vector import ConceptVector
from vectors.data.contrast import ContrastSet
from vectors.extraction.contest.contest import LEARNED_DEPTHS, Choices, Show, hold_contest
from vectors.extraction.contest.learned import WAYS, Teacher
from vectors.extraction.contest.plan import Budget, Plan, default_plan, plan_for
from vectors.extraction.contest.winner import to_vector
from vectors.extraction.extraction_input import ContrastSplit, ExtractionInput
from vectors.extraction.prompts import PromptedTexts
from vectors.extraction.shifts.away_shift import with_away_shifts
from vectors.model.residual_model import ResidualModel


def extract_best(
    model: ResidualModel,
    name: str,
    contrast: ContrastSet,
    *,
    method: str,
    layers: Sequence[int] | None,
    positions: str | None,
    pool: Pool,
    calibrated: bool,
    budget: str | None,
    held_out: float,
    seed: int,
    folder: Path | None,
    progress: Progress,
    written: PromptedTexts | None = None,
    show: Show | None = None,
) -> ConceptVector:
    """Return the vector of the shifts that win the contest, with its unit.

    Args:
        model: the model to steer.
        name: what expressions call the concept.
        contrast: the texts.
        method: `auto` for all methods of the contest, or the name of one.
        layers: 0-based blocks to choose from, or None for a few over the depth.
        positions: where shifts are added, or None for all that the contest knows.
        pool: how the activations of a text become one row.
        calibrated: hold a contest and find the unit, both by sampling; otherwise shifts are distilled at one layer.
        budget: time or tokens, see `vectors.extraction.contest.plan.Budget`; by default the work is fixed.
        held_out: share of the texts that no shift is found in.
        seed: of all random draws.
        folder: where finished parts are kept, so that an interrupted extraction goes on.
        progress: called as the work goes on.
        written: the positive texts, if the model wrote them behind prompts.
        show: called with a heading and some of the texts that are sampled.

    Raises:
        InputError: a budget too small for anything, or one without a pilot.
        ModelError: a model without a start token.
    """
    if budget is not None and not calibrated:
        raise InputError("a budget is for samples, and there is no pilot: leave budget or calibrate=False out")
    fit, held = contrast.split(held_out=held_out, seed=seed)
    split = ContrastSplit(whole=contrast, held_out=held, share=held_out, seed=seed)
    choices = Choices(layers=tuple(layers) if layers else None, positions=positions, methods=_methods(method))
    data = ExtractionInput(
        model=model, fit=fit, tokens=encode_by_text(model, [*contrast.positive, *contrast.background]),
        layers=choices.all_layers(model.n_layers), positions=positions or "all", pool=pool, seed=seed,
        progress=progress,
    )  # fmt: skip
    identity = {
        "texts": contrast.hash, "model": model.hash, "method": method, "layers": layers and list(layers),
        "positions": positions, "budget": budget, "held_out": held_out, "seed": seed, "format": 4,
    }  # fmt: skip
    checkpoint = Checkpoint(folder if calibrated else None, identity)
    # kept, since a machine is never measured twice as equally fast, and another plan would be another contest
    plan = Plan(**checkpoint.value("plan", lambda: _plan(model, budget, progress).to_dict()))
    if not calibrated:
        layer = choices.layers[0] if choices.layers else int(model.n_layers * LEARNED_DEPTHS[0])
        teacher = Teacher(data, written=written)
        differences = {at: moments.difference for at, moments in data.moments().items()}
        chosen = next(iter(choices.methods or ())) if method != "auto" else teacher.methods[0]
        candidate = teacher.learn(chosen, [layer], choices.learned_positions, differences, steps=plan.steps)
        return to_vector(name, data, split, candidate, [])
    judge = WordJudge(held.positive, held.background)
    candidate, entries = hold_contest(data, judge, plan, choices, checkpoint, written, show)
    vector = to_vector(name, data, split, candidate, entries)
    facts: dict[str, Any] = {"plan": plan.to_dict()}
    if written is not None:
        facts["prompt"] = written.record(judge, held.positive)
    vector = replace(vector, evidence={**vector.evidence, **facts})
    vector = calibrate(
        model, vector, judge=judge, n=plan.pilot_texts, max_tokens=MAX_TOKENS, seed=seed, progress=progress,
        company=find_companions(model, vector, seed=seed), checkpoint=checkpoint,
    )  # fmt: skip
    vector = with_away_shifts(
        model, vector, judge, n=plan.pilot_texts, max_tokens=MAX_TOKENS, steps=plan.steps, seed=seed,
        checkpoint=checkpoint, progress=progress,
    )  # fmt: skip
    return replace(vector, unit_judge=accuracy(held.positive, held.background))


def _plan(model: ResidualModel, budget: str | None, progress: Progress) -> Plan:
    if budget is None:
        return default_plan(model)
    progress("measuring the speed of this machine", 0, 0)
    return plan_for(Budget.parse(budget), model)


def _methods(method: str) -> tuple[str, ...] | None:
    return None if method == "auto" else tuple(way for way in WAYS if way.startswith(method))
