"""Training: every entry once, gradients as plain autograd gives them, and runs that go on where they were stopped."""

from dataclasses import replace
from itertools import islice

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from vectors.almanac import train as training
from vectors.almanac.generate import entry, stream
from vectors.almanac.tokenizer import learn
from vectors.almanac.train import Gradient, Plan, batches, build, loss_of

PLAN = Plan(seed=5, steps=6, batch=2, d_model=32, layers=2, heads=2, dtype="float32", warmup=2)


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return learn((made.text for made in islice(stream(5), 200)), vocab_size=600)


@pytest.fixture(autouse=True)
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_the_stream_of_batches_holds_every_entry_once_and_can_be_entered_anywhere(tokenizer):
    whole = list(islice(batches(PLAN, tokenizer, 0), 2 * training._CHUNK))
    texts = [tokenizer.decode([i for i in row if i >= 0], skip_special_tokens=True) for ids in whole for row in ids]
    assert sorted(texts) == sorted(entry(5, i).text for i in range(2 * training._CHUNK * PLAN.batch))
    for start in (1, training._CHUNK - 1, training._CHUNK + 3):
        assert torch.equal(next(batches(PLAN, tokenizer, start)), whole[start])


def test_rows_begin_and_end_with_the_special_tokens(tokenizer):
    for row in next(batches(PLAN, tokenizer, 0)):
        ids = [int(i) for i in row if i >= 0]
        assert ids[0] == tokenizer.bos_token_id and ids[-1] == tokenizer.eos_token_id


def test_the_gradient_in_shares_is_that_of_plain_autograd(tokenizer):
    model = build(PLAN, tokenizer)
    gradient = Gradient(model, dtype="float32", compiled=False)
    ids = next(batches(PLAN, tokenizer, 0))
    loss = gradient(ids)
    expected = loss_of(model, ids)
    assert loss == pytest.approx(expected.item(), rel=1e-5)
    for weight, plain in zip(model.parameters(), torch.autograd.grad(expected, list(model.parameters())), strict=True):
        assert weight.grad is not None and torch.allclose(weight.grad, plain, rtol=1e-3, atol=1e-6)


def test_the_learning_rate_rises_stays_and_falls_to_nothing():
    plan = Plan(seed=0, steps=1000, warmup=100, decay=0.5)
    assert plan.schedule(0) == pytest.approx(0.01) and plan.schedule(99) == 1 == plan.schedule(500)
    assert plan.schedule(750) == pytest.approx(0.5) and plan.schedule(999) == pytest.approx(0.002)


def test_a_run_that_was_stopped_ends_as_one_that_was_not(tokenizer, tmp_path, monkeypatch):
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
    fresh = training.train(replace(PLAN, seed=6), tokenizer, tmp_path / "other", device="cpu")
    assert not torch.equal(next(whole.parameters()), next(fresh.parameters()))
