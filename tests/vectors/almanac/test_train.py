"""The training loop: the learning rate, and runs that are resumed from a checkpoint."""

from dataclasses import replace

import pytest
import torch

from vectors.almanac import train as training
from vectors.almanac.train import Plan
from vectors.common.errors import InputError

PLAN = Plan(seed=5, steps=6, batch=2, d_model=32, layers=2, heads=2, dtype="float32", warmup=2)

pytestmark = pytest.mark.usefixtures("threads")


def test_the_learning_rate_rises_stays_and_decays_to_zero():
    plan = Plan(seed=0, steps=1000, warmup=100, decay=0.5)
    assert plan.schedule(0) == pytest.approx(0.01) and plan.schedule(99) == 1 == plan.schedule(500)
    assert plan.schedule(750) == pytest.approx(0.5) and plan.schedule(999) == pytest.approx(0.002)


def test_a_resumed_run_gives_the_weights_of_an_uninterrupted_one(tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "held_out", lambda *_, **__: (0.0, 0.0, 1))
    for name in ("whole", "stopped", "other"):
        (tmp_path / name).mkdir()
    whole = training.train(PLAN, tokenizer, tmp_path / "whole", device="cpu")

    class Stop(Exception):
        pass

    def stop_at(step: int):
        def schedule(self: Plan, at: int) -> float:
            if at == step:
                raise Stop
            return original(self, at)

        return schedule

    original = Plan.schedule
    monkeypatch.setattr(Plan, "schedule", stop_at(4))
    with pytest.raises(Stop):
        training.train(PLAN, tokenizer, tmp_path / "stopped", device="cpu", save_every=-1)
    monkeypatch.setattr(Plan, "schedule", original)
    resumed = training.train(PLAN, tokenizer, tmp_path / "stopped", device="cpu")
    for weight, other in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(weight, other)
    with pytest.raises(InputError, match=r"another plan.*--work"):
        training.train(replace(PLAN, rate=0.1), tokenizer, tmp_path / "stopped", device="cpu")
    assert training.checkpoint_plan(tmp_path / "stopped") == PLAN
    assert training.checkpoint_plan(tmp_path / "other") is None
    fresh = training.train(replace(PLAN, seed=6), tokenizer, tmp_path / "other", device="cpu")
    assert not torch.equal(next(whole.parameters()), next(fresh.parameters()))


@pytest.mark.parametrize(("readings", "dtype"), [([0, 1, 1, 3], "float32"), ([0, 2, 2, 3], "bfloat16")])
def test_the_faster_dtype_is_chosen(monkeypatch, readings, dtype):
    clock = iter(readings)  # start and end, first in float32 and then in bfloat16
    monkeypatch.setattr(training.time, "monotonic", lambda: next(clock))
    assert training.fastest_dtype("cpu") == dtype
