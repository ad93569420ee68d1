"""A budget becomes an amount of work that fits it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vectors.common.errors import InputError
from vectors.extraction.contest import plan as module
from vectors.extraction.contest.plan import Budget, Plan, Speed, measure_speed, plan_for
from vectors.model.residual_model import ResidualModel


@pytest.mark.parametrize(
    ("text", "amount", "unit"),
    [("10m", 600, "seconds"), ("90s", 90, "seconds"), (" 1.5h ", 5400, "seconds"), ("300k", 3e5, "tokens"),
     ("2M", 2e6, "tokens")],
)  # fmt: skip
def test_budgets_are_times_or_tokens(text: str, amount: float, unit: str) -> None:
    assert Budget.parse(text) == Budget(amount, unit)


@pytest.mark.parametrize(
    "text", ["", "10", "0m", "-1m", "10 m", "m", "1e3s", "10min", "nan", "9" * 30 + "s", "１m", None]
)
def test_other_budgets_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="give a time such as 90s, 10m or 1h, or tokens such as 300k or 2M"):
        Budget.parse(text)


@given(st.floats(0.12, 8.0), st.floats(1.1, 4.0))
def test_more_budget_is_more_work(factor: float, more: float) -> None:
    small, large = Plan().scaled(factor), Plan().scaled(factor * more)
    assert large.tokens >= small.tokens and large.steps >= small.steps and large.pilot_texts >= small.pilot_texts
    speed = Speed(sampling=0.3, step=1.0, reading=0.5)
    assert speed.seconds(large) >= speed.seconds(small) > 0


def test_the_default_is_the_plan_of_factor_one() -> None:
    assert Plan().scaled(1.0) == Plan()


def test_a_plan_fits_its_budget(llama_model: ResidualModel, monkeypatch: pytest.MonkeyPatch) -> None:
    for tokens in (100_000, 400_000):
        assert 0.5 * tokens < plan_for(Budget(tokens, "tokens"), llama_model).tokens <= tokens
    speed = Speed(sampling=0.5, step=2.0, reading=1.0)
    monkeypatch.setattr(module, "measure_speed", lambda _: speed)
    assert speed.seconds(plan_for(Budget(600, "seconds"), llama_model)) <= 600
    with pytest.raises(InputError, match=r"too small for anything: give \d+[sm] or more, or --no-calibrate"):
        plan_for(Budget(5, "seconds"), llama_model)
    with pytest.raises(InputError, match=r"give \d+k or more"):
        plan_for(Budget(5e3, "tokens"), llama_model)


def test_the_speed_is_measured(llama_model: ResidualModel) -> None:
    speed = measure_speed(llama_model)
    assert min(speed.sampling, speed.step, speed.reading) > 0
