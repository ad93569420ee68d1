"""How much work a contest does: by default, or as much as a budget of time or tokens allows."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

from vectors.calibration.equal_pressure import MAX_TOKENS
from vectors.common.errors import InputError
from vectors.common.validation import quote
from vectors.decoding.prompt_free_samples import sample_shifted
from vectors.decoding.token_sampling import Settings
from vectors.extraction.shifts.distilled_shift import BATCHES, ROWS, TOKENS
from vectors.extraction.shifts.rewarded_shift import MAX_TOKENS as REWARDED_TOKENS
from vectors.extraction.shifts.rewarded_shift import PASSES, TEXTS
from vectors.model.hooks import shift_layers
from vectors.model.output_head import final_states
from vectors.model.residual_model import ResidualModel

_BUDGET = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)(s|m|h|k|M)", re.ASCII)
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}
_TOKENS = {"k": 1e3, "M": 1e6}
_LEAST, _MOST = 0.12, 8.0  # share of the default work
_SMALL, _SMALL_SHARE = 50_000_000, 0.4  # parameters of a small model, and its share of the default work
_LEAST_ROUNDS = 3  # fewer rounds of rewards teach nothing
_TIMED = 16  # rows and steps that are timed


@dataclass(frozen=True)
class Budget:
    """A limit of time or of tokens.

    Attributes:
        amount: seconds, or tokens that the model reads or writes.
        unit: `seconds` or `tokens`.
    """

    amount: float
    unit: str

    @classmethod
    def parse(cls, text: str) -> "Budget":
        """Return the budget that a text such as `10m`, `90s`, `1h`, `300k` (tokens) or `2M` means.

        Raises:
            InputError: another text.

        >>> Budget.parse("10m"), Budget.parse("300k")
        (Budget(amount=600.0, unit='seconds'), Budget(amount=300000.0, unit='tokens'))
        """
        found = _BUDGET.fullmatch(text.strip()) if isinstance(text, str) else None
        if found is None or not float(found[1]):
            raise InputError(
                f"budget is {quote(text)}: give a time such as 90s, 10m or 1h, or tokens such as 300k or 2M"
            )
        number, unit = float(found[1]), found[2]
        if unit in _SECONDS:
            return cls(number * _SECONDS[unit], "seconds")
        return cls(number * _TOKENS[unit], "tokens")


@dataclass(frozen=True)
class Plan:
    """The work of a contest and of the pilot after it.

    Attributes:
        means: differences of means.
        mean_texts: texts judged of each of them.
        mean_texts_again: further texts of the best third of them.
        learned: learned candidates.
        steps: optimiser steps of each.
        further_steps: those that the best of them is learned further.
        rounds: rounds in which the best after that learns from rewards; none by default, because rewards by words alone
            lead away from the kind (see benchmarks/RESULTS.md).
        round_texts: texts of a round.
        learned_texts: texts judged of each learned candidate.
        best_texts_again: further texts of the two best of all.
        pilot_texts: texts at each dose of the pilot.
    """

    means: int = 6
    mean_texts: int = 12
    mean_texts_again: int = 12
    learned: int = 4
    steps: int = 100
    further_steps: int = 200
    rounds: int = 0
    round_texts: int = TEXTS
    learned_texts: int = 24
    best_texts_again: int = 40
    pilot_texts: int = 40

    def scaled(self, factor: float) -> "Plan":
        """Return a plan with about so many times the work.

        >>> Plan().scaled(0.25).learned, Plan().scaled(2.0).steps
        (2, 141)
        """
        root = factor**0.5  # half of the factor goes into more texts, half into more candidates or steps
        return Plan(
            means=max(2, min(8, round(self.means * root))),
            mean_texts=_even(self.mean_texts * root, 8),
            mean_texts_again=_even(self.mean_texts_again * root, 8),
            learned=max(1, min(6, round(self.learned * root))),
            steps=max(30, round(self.steps * root)),
            further_steps=round(self.further_steps * factor),
            rounds=rounds if (rounds := round(self.rounds * factor)) >= _LEAST_ROUNDS else 0,
            round_texts=_even(self.round_texts * root, 16),
            learned_texts=_even(self.learned_texts * root, 12),
            best_texts_again=_even(self.best_texts_again * factor, 12),
            pilot_texts=_even(self.pilot_texts * factor, 16),
        )

    @property
    def sampled(self) -> int:
        """Texts that it samples, each with a base row beside it; a judged text is often sampled twice."""
        cheap = self.means * (8 + 1.5 * self.mean_texts) + max(1, self.means // 3) * self.mean_texts_again
        learned = (self.learned + 1) * (8 + 1.5 * self.learned_texts) + 2 * self.best_texts_again
        return round(cheap + learned + _PILOT_ROWS * self.pilot_texts)

    @property
    def all_steps(self) -> int:
        """Optimiser steps of all learned candidates."""
        return self.learned * self.steps + self.further_steps

    @property
    def tokens(self) -> int:
        """Tokens that the model reads and writes, those of a step counted three times for its backward pass."""
        steps = self.all_steps * ROWS * TOKENS * 3
        rewarded = self.rounds * self.round_texts * REWARDED_TOKENS * (3 + 3 * PASSES)
        return 2 * MAX_TOKENS * self.sampled + steps + rewarded + BATCHES * ROWS * TOKENS * 8

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {key: getattr(self, key) for key in self.__dataclass_fields__}


_PILOT_ROWS = 8  # doses of the pilot


@dataclass(frozen=True)
class Speed:
    """What a machine does with a model.

    Attributes:
        sampling: seconds to sample a text with its base row, of `MAX_TOKENS` tokens.
        step: seconds of an optimiser step.
        reading: seconds to read a batch of lessons.
    """

    sampling: float
    step: float
    reading: float

    def seconds(self, plan: Plan) -> float:
        """Return the seconds that a plan takes."""
        rewarded = plan.rounds * plan.round_texts
        sampled = plan.sampled + rewarded / 2  # without a base row
        steps = plan.all_steps + rewarded * PASSES / ROWS
        return sampled * self.sampling + steps * self.step + (2 * BATCHES + rewarded * 2 / ROWS) * self.reading


def measure_speed(model: ResidualModel) -> Speed:
    """Return what this machine does with a model, from a few decoding steps and one optimiser step."""
    zero = torch.zeros(model.d_model)

    def sampled(tokens: int) -> None:
        sample_shifted(model, {0: zero}, n=_TIMED, settings=Settings(max_tokens=tokens), seed=0)

    sampled(1)
    steps = max(2, min(9, MAX_TOKENS))
    one, several = _seconds(lambda: sampled(1)), _seconds(lambda: sampled(steps))
    per_text = max(several - one, several / 2) / (steps - 1) * MAX_TOKENS / _TIMED
    rows = [[*model.start_ids(), *([0] * min(TOKENS, model.max_context - 2))]] * ROWS

    def step() -> None:
        shift = zero.to(model.device).clone().requires_grad_(True)
        with torch.enable_grad(), shift_layers(model, {0: shift}):
            total = final_states(model, model.batch(rows)).float().sum()
            torch.autograd.grad(total, [shift])

    step()
    seconds = _seconds(step)
    return Speed(sampling=per_text, step=2 * seconds, reading=2 * seconds)


def default_plan(model: ResidualModel) -> Plan:
    """Return the plan without a budget: for a small model less work, so that it takes about a minute."""
    usual = Plan()
    if model.hf.num_parameters() >= _SMALL:
        return usual
    return replace(usual.scaled(_SMALL_SHARE), pilot_texts=usual.pilot_texts)  # fewer texts would blur the unit


def plan_for(budget: Budget, model: ResidualModel) -> Plan:
    """Return the plan that a budget allows.

    Raises:
        InputError: a budget too small for anything, with the least one.
    """
    speed = measure_speed(model) if budget.unit == "seconds" else None

    def cost(plan: Plan) -> float:
        return plan.tokens if speed is None else speed.seconds(plan)

    least = Plan().scaled(_LEAST)
    if cost(least) > budget.amount:
        needed = _amount(cost(least), budget.unit)
        raise InputError(f"the budget is too small for anything: give {needed} or more, or --no-calibrate")
    factor = _LEAST
    while factor < _MOST and cost(Plan().scaled(factor * 1.1)) <= budget.amount:
        factor *= 1.1
    return Plan().scaled(factor)


def _amount(cost: float, unit: str) -> str:
    if unit == "tokens":
        return f"{-(-cost // 1000):.0f}k"
    return f"{-(-cost // 1):.0f}s" if cost < 120 else f"{-(-cost // 60):.0f}m"


def _seconds(job: Callable[[], None]) -> float:
    began = time.monotonic()
    job()
    return time.monotonic() - began


def _even(number: float, least: int) -> int:
    return max(least, 2 * round(number / 2))
