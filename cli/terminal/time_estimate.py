"""Say before a long job how long it takes, measured on a few steps, and how to make it shorter."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cli.terminal.output import note
from cli.terminal.progress import short_duration

if TYPE_CHECKING:
    from vectors.model.residual_model import ResidualModel

LONG = 120.0
"""Seconds from which a job is announced."""

_SLOWEST_CPU = 5e9  # floating-point operations a second that nearly every machine reaches
_SLOWEST_GPU = 1e12
_PILOT = (800, 96)  # texts of a pilot and their tokens: some ten shifts of 16 texts, ten of 64
_LAYER_CHOICE = (208, 64)  # of each layer: some ten shifts of 16 texts, one of 48
_TRIAL = 8  # decoding steps that are timed


def announce(seconds: float, *, n: int | None = None, shorter: str = "", at_most: bool = False) -> None:
    """Print one line if a job takes more than two minutes, with what makes it shorter.

    Args:
        seconds: the estimate.
        n: the value of `-n`, if the time is proportional to it: the line then names an `-n` of about two minutes.
        shorter: other flags that shorten the job, as a clause.
        at_most: the estimate is an upper bound.
    """
    if seconds < LONG:
        return
    hints = [shorter] if shorter else []
    if n is not None and n > 1:
        fewer = max(1, int(float(f"{n * LONG / seconds:.1g}")))
        hints.insert(0, f"-n {fewer} takes about {short_duration(fewer * seconds / n)}")
    note("; ".join([f"this takes {'up to ' if at_most else ''}about {short_duration(seconds)}", *hints]))


def sampling_seconds(
    model: "ResidualModel", texts: int, max_tokens: int, *, costs: bool = True, batch_size: int | None = None
) -> float:
    """Return the seconds to sample some texts, if all reach `max_tokens`.

    A job that takes less than two minutes on any machine returns 0 without a forward pass; otherwise a few decoding
    steps of a whole batch are timed. With `costs`, each text has an unsteered row beside it.
    """
    rows = 2 if costs else 1
    if _surely_short(model, texts * max_tokens * rows):
        return 0.0
    from vectors.decoding.decode import rows_that_fit

    batch = min(texts, batch_size or rows_that_fit(model, max_tokens, doubled=costs))
    steps = texts * max_tokens / batch
    _time_decoding(model, 1, 1, costs=costs)  # the first forward pass is slower than all others
    one = _time_decoding(model, batch, 1, costs=costs)
    if one > 1.0 or max_tokens <= _TRIAL:
        return steps * one
    several = _time_decoding(model, batch, 1 + _TRIAL, costs=costs)
    return steps * max(several - one, several / 2) / _TRIAL  # other processes may have slowed the first one down


def learning_seconds(
    model: "ResidualModel", texts: Sequence[str], layers: Sequence[int], *, positions: str, steps: int
) -> float:
    """Return the seconds to learn a shift at each layer, from one timed step; 0 if that is surely below two minutes."""
    import numpy as np

    from vectors.activations.text_likelihood import BATCH
    from vectors.extraction.shifts.learned_shift import learn

    length = max((len(row) for row in model.encode(list(texts[:BATCH]), max_tokens=64)), default=1)
    if _surely_short(model, 3 * BATCH * length * steps * len(layers)):
        return 0.0
    began = time.monotonic()
    learn(model, texts[:BATCH], np.ones((len(texts[:BATCH]), 1), dtype=bool), layers[0], positions=positions, steps=1)
    return (time.monotonic() - began) * steps * len(layers)


def extraction_seconds(
    model: "ResidualModel",
    method: str,
    layer: int | str | Sequence[int],
    texts: Sequence[str],
    *,
    positions: str | None,
    calibrate: bool,
    budget: str | None = None,
) -> tuple[float, str]:
    """Return the most seconds that the extraction of one concept takes, and the options that shorten it."""
    from vectors.common.option_names import CONTEST_METHODS

    if method in CONTEST_METHODS:
        return contest_seconds(model, budget) if calibrate else 0.0, "--budget 2m does less"
    from vectors.extraction.extract import layers_for
    from vectors.extraction.methods import METHODS
    from vectors.extraction.shifts.learned_shift import STEPS
    from vectors.model.positions import check_positions

    has_start, seconds, hints = model.bos_id is not None, 0.0, []
    layers = layers_for(model, method, layer, choose=calibrate and bool(texts))
    if method == "learned" and texts:
        positions = str(positions or (METHODS[method].positions if has_start else "all"))
        check_positions(positions, bos=has_start)
        seconds += learning_seconds(model, texts, layers, positions=positions, steps=STEPS)
    if layer == "auto" and len(layers) > 1:
        hints.append(f"--layer {layers[0]} tries one layer instead of {len(layers)}")
    if calibrate and has_start:
        seconds += pilot_seconds(model, layers=len(layers) if layer == "auto" else 1)
        hints.append("--no-calibrate skips the pilot")
    return seconds, ", ".join(hints)


def contest_seconds(model: "ResidualModel", budget: str | None) -> float:
    """Return the seconds of a contest and its pilot: those of the budget, or of the default work."""
    from vectors.extraction.contest.plan import Budget, default_plan, measure_speed, plan_for

    if budget is not None and (limit := Budget.parse(budget)).unit == "seconds":
        return limit.amount
    plan = default_plan(model) if budget is None else plan_for(Budget.parse(budget), model)
    return 0.0 if _surely_short(model, plan.tokens) else measure_speed(model).seconds(plan)


def pilot_seconds(model: "ResidualModel", *, layers: int = 1) -> float:
    """Return the seconds of a pilot that measures a unit, and of choosing among several layers by sampling."""
    texts, tokens = _PILOT
    seconds = sampling_seconds(model, texts, tokens)
    if layers > 1:
        texts, tokens = _LAYER_CHOICE
        seconds += sampling_seconds(model, layers * texts, tokens)
    return seconds


def _surely_short(model: "ResidualModel", tokens: float) -> bool:
    """Return whether any machine reads so many tokens within two minutes, at two operations a weight and token."""
    weights: int = sum(parameter.numel() for parameter in model.hf.parameters())
    slowest = _SLOWEST_GPU if model.device.type == "cuda" else _SLOWEST_CPU
    return bool(2 * weights * tokens / slowest < LONG)


def _time_decoding(model: "ResidualModel", batch: int, steps: int, *, costs: bool) -> float:
    """Return the seconds of some decoding steps of a batch that nothing steers."""
    import torch

    from vectors.decoding.decode import decode
    from vectors.decoding.token_sampling import Settings

    def shifts(indices: Sequence[int]) -> dict[int, torch.Tensor]:
        return {0: torch.zeros(len(indices), model.d_model)}

    prefix = model.start_ids() or model.encode(["a"])[0]
    began = time.monotonic()
    for _ in decode(
        model, shifts if costs else None, prefix=prefix, settings=Settings(max_tokens=steps), seed=0,
        indices=range(batch), batch_size=batch, costs=costs,
    ):  # fmt: skip
        pass
    return time.monotonic() - began
