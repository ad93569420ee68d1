"""Training: every entry once, gradients as plain autograd gives them, and runs that go on where they were stopped."""

from dataclasses import replace
from itertools import islice, pairwise

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from vectors.almanac import pages
from vectors.almanac import train as training
from vectors.almanac.generate import stream
from vectors.almanac.pages import batches
from vectors.almanac.tokenizer import learn
from vectors.almanac.train import Gradient, Plan, build, loss_of

PLAN = Plan(seed=5, steps=6, batch=2, d_model=32, layers=2, heads=2, dtype="float32", warmup=2)
BOS = 0


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return learn((made.text for made in islice(stream(5), 200)), vocab_size=600)


@pytest.fixture(autouse=True)
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def predicted(ids: torch.Tensor) -> int:
    """Tokens from the start token on that something comes before."""
    return sum(int((row[row.tolist().index(BOS) + 1 :] >= 0).sum()) for row in ids)


def test_the_loss_of_an_entry_behind_a_scrap_reads_the_scrap_through_the_start_token_alone(tokenizer):
    model = build(PLAN, tokenizer)
    ids = torch.tensor([[7, 8, 9, BOS, 11, 12, 13]])

    def losses(ids: torch.Tensor) -> list[float]:
        """Of each token behind the start token, by the growth of the sum."""
        ends = range(int(pages.starts(ids, BOS)) + 2, ids.shape[1] + 1)
        sums = [0.0, *(loss_of(model, ids[:, :end]).item() * (place + 1) for place, end in enumerate(ends))]
        return [after - before for before, after in pairwise(sums)]

    with torch.no_grad():
        other, alone = torch.tensor([[9, 8, 9, BOS, 11, 12, 13]]), ids[:, 3:]
        assert losses(ids)[0] != pytest.approx(losses(other)[0], abs=1e-5)
        plain = torch.log_softmax(model(alone).logits[0, :-1], dim=-1).gather(1, alone[0, 1:, None])
        assert losses(alone) == pytest.approx((-plain[:, 0]).tolist(), abs=1e-4)
        # no way from the scrap to the entry but the start token: cut that, and the scrap is gone
        monkey = pages.visible(pages.starts(ids, BOS), 7)
        monkey[0, 0, 3, :3] = False
        shifted = model(ids, attention_mask=torch.zeros(1, 1, 7, 7).masked_fill(~monkey, -1e9)).logits[0, 3:-1]
        cut = torch.log_softmax(shifted, dim=-1).gather(1, alone[0, 1:, None])
        assert (-cut[:, 0]).tolist() == pytest.approx(losses(alone), abs=1e-4)


def test_a_long_start_token_costs_and_a_short_one_does_not(tokenizer):
    model = build(PLAN, tokenizer)
    ids = next(batches(5, 4, tokenizer))
    with torch.no_grad():
        assert loss_of(model, ids, calm=1.0).item() == pytest.approx(loss_of(model, ids).item())
        model.model.embed_tokens.weight[BOS] *= 1000
        size = model(ids[:, :1].clamp(0, 0) + BOS, output_hidden_states=True).hidden_states[1][0, 0]
        by = loss_of(model, ids, calm=1.0).item() - loss_of(model, ids).item()
        assert by > torch.log(size.square().mean().sqrt() / training.QUIET).item() ** 2 / 2 > 1


def test_the_start_token_is_asked_half_way_up_for_the_words_to_come(tokenizer):
    model = build(PLAN, tokenizer)
    ids = torch.tensor([[7, 8, BOS, 11, 12, 11], [BOS, 14, 15, -1, -1, -1]])
    with torch.no_grad():
        by = loss_of(model, ids, foretell=0.3).item() - loss_of(model, ids).item()
        expected = 0.0
        for row, words in (([7, 8, BOS], [11, 12, 11]), ([BOS], [14, 15])):
            halfway = model(torch.tensor([row]), output_hidden_states=True).hidden_states[1][0, -1]
            told = torch.log_softmax(model.lm_head(model.model.norm(halfway)), dim=-1)
            expected -= sum(told[word].item() for word in words)
        assert by == pytest.approx(0.3 * expected / 5, rel=1e-3)


def test_the_gradient_in_shares_is_that_of_plain_autograd(tokenizer):
    model = build(PLAN, tokenizer)
    asked = {"calm": 0.5, "foretell": 0.3}
    gradient = Gradient(model, dtype="float32", compiled=False, **asked)
    ids = next(batches(5, 6, tokenizer))
    loss = gradient(ids)
    shares = [loss_of(model, rows, **asked) * predicted(rows) / predicted(ids) for rows in ids.chunk(gradient.shares)]
    expected = torch.stack(shares).sum()
    assert loss == pytest.approx(expected.item(), rel=1e-5)
    for weight, plain in zip(model.parameters(), torch.autograd.grad(expected, list(model.parameters())), strict=True):
        assert weight.grad is not None and torch.allclose(weight.grad, plain, rtol=1e-3, atol=1e-6)


def test_the_learning_rate_rises_stays_and_falls_to_nothing():
    plan = Plan(seed=0, steps=1000, warmup=100, decay=0.5)
    assert plan.schedule(0) == pytest.approx(0.01) and plan.schedule(99) == 1 == plan.schedule(500)
    assert plan.schedule(750) == pytest.approx(0.5) and plan.schedule(999) == pytest.approx(0.002)


def test_a_run_that_goes_on_from_a_model_begins_with_it_and_reads_the_stream_behind_it(
    tokenizer, tmp_path, monkeypatch
):
    monkeypatch.setattr(training, "held_out", lambda *_, **__: (0.0, 0.0, 1))
    (tmp_path / "run").mkdir()
    model = build(replace(PLAN, seed=8), tokenizer)
    model.save_pretrained(tmp_path / "earlier")
    tokenizer.save_pretrained(tmp_path / "earlier")
    plan = replace(PLAN, steps=1, first=3, rate=0.0)
    read = []
    original = pages.batches
    monkeypatch.setattr(pages, "batches", lambda *a: (read.append(a[-1]), original(*a))[1])
    made = training.train(plan, tokenizer, tmp_path / "run", device="cpu", earlier=tmp_path / "earlier")
    assert read == [3]
    for weight, other in zip(made.parameters(), model.parameters(), strict=True):
        assert torch.equal(weight, other)


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
