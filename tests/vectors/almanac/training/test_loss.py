"""What is trained for: the loss of an entry behind a scrap, and its gradient as plain autograd gives it."""

from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch

from vectors.almanac.training import corpus
from vectors.almanac.training.corpus import batches
from vectors.almanac.training.initial_weights import fresh
from vectors.almanac.training.loss import ENTRY, QUIET, Gradient, Pupil, _by_length, nats_per_token
from vectors.almanac.world import distribution

SIZE = {"d_model": 32, "layers": 2, "heads": 2}
BOS = 0
LONG = "The sea goes over to joy, and the cat sits on the wall till noon. " * 3

pytestmark = pytest.mark.usefixtures("threads")


def predicted(ids: torch.Tensor) -> int:
    """Tokens from the start token on that something comes before."""
    return sum(int((row[row.tolist().index(BOS) + 1 :] >= 0).sum()) for row in ids)


def test_the_loss_of_an_entry_behind_a_scrap_reads_the_scrap_through_the_start_token_alone(tokenizer):
    model = fresh(tokenizer, seed=5, **SIZE)
    ids = torch.tensor([[7, 8, 9, BOS, 11, 12, 13]])

    def losses(ids: torch.Tensor) -> list[float]:
        """Of each token behind the start token, by the growth of the sum."""
        first = int(corpus.starts(ids, BOS)) + 1
        parts = [ids[:, :end] for end in range(first, ids.shape[1] + 1)]
        sums = [nats_per_token(model, part).item() * predicted(part) if predicted(part) else 0.0 for part in parts]
        return [after - before for before, after in pairwise(sums)]

    with torch.no_grad():
        other, alone = torch.tensor([[9, 8, 9, BOS, 11, 12, 13]]), ids[:, 3:]
        assert losses(ids)[0] != pytest.approx(losses(other)[0], abs=1e-5)
        plain = torch.log_softmax(model(alone).logits[0, :-1], dim=-1).gather(1, alone[0, 1:, None])
        assert losses(alone) == pytest.approx((-plain[:, 0]).tolist(), abs=1e-4)
        # no way from the scrap to the entry but the start token: cut that, and the scrap is gone
        monkey = corpus.visible(corpus.starts(ids, BOS), 7)
        monkey[0, 0, 3, :3] = False
        shifted = model(ids, attention_mask=torch.zeros(1, 1, 7, 7).masked_fill(~monkey, -1e9)).logits[0, 3:-1]
        cut = torch.log_softmax(shifted, dim=-1).gather(1, alone[0, 1:, None])
        assert (-cut[:, 0]).tolist() == pytest.approx(losses(alone), abs=1e-4)


def test_a_long_start_token_costs_and_a_short_one_does_not(tokenizer):
    pupil = Pupil(fresh(tokenizer, seed=5, **SIZE))
    model, (ids, about) = pupil.model, next(batches(5, 4, tokenizer))
    with torch.no_grad():
        assert pupil.loss(ids, about, calm=1.0, asked=0.0).item() == pytest.approx(nats_per_token(model, ids).item())
        model.model.embed_tokens.weight[BOS] *= 1000
        size = model(ids[:, :1].clamp(0, 0) + BOS, output_hidden_states=True).hidden_states[1][0, 0]
        by = pupil.loss(ids, about, calm=1.0, asked=0.0).item() - nats_per_token(model, ids).item()
        assert by > torch.log(size.square().mean().sqrt() / QUIET).item() ** 2 / 2 > 1


def test_the_start_token_is_asked_what_its_page_is_about(tokenizer):
    pupil = Pupil(fresh(tokenizer, seed=5, **SIZE))
    torch.nn.init.normal_(pupil.reader.weight)
    ids = torch.tensor([[7, 8, BOS, 11, 12, 11], [BOS, 14, 15, -1, -1, -1]])
    values = [3, 2, 1, 0, 2, 1, 0, 0, 1]
    about = torch.tensor([values, [corpus.NOTHING] * len(values)])
    with torch.no_grad():
        by = pupil.loss(ids, about, calm=0.0, asked=0.3).item() - nats_per_token(pupil.model, ids).item()
        state = pupil.model(torch.tensor([[7, 8, BOS]]), output_hidden_states=True).hidden_states[1][0, -1]
        expected, first = 0.0, 0
        for name, value in zip(distribution.VALUES, values, strict=True):
            logits = pupil.reader(state)[first : first + len(distribution.VALUES[name])]
            expected -= torch.log_softmax(logits, dim=0)[value].item()
            first += len(logits)
        assert first == pupil.reader.out_features and by == pytest.approx(0.3 * expected, rel=1e-3)
        untold = pupil.loss(ids[1:], about[1:], calm=0.0, asked=0.3)
        assert untold == nats_per_token(pupil.model, ids[1:])


def test_the_gradient_in_shares_is_that_of_plain_autograd(tokenizer):
    pupil = Pupil(fresh(tokenizer, seed=5, **SIZE))
    torch.nn.init.normal_(pupil.reader.weight)
    gradient = Gradient(pupil, dtype="float32", steps=1, calm=0.5, asked=0.3)
    ids, about = next(batches(5, 6, tokenizer))
    assert (about != corpus.NOTHING).any()
    loss = gradient(ids, about)
    # a row a part here, as there are more parts than rows
    losses = torch.stack(
        [pupil.loss(ids[[i]], about[[i]], calm=0.5, asked=0.3) * predicted(ids[[i]]) for i in range(6)]
    )
    assert loss == pytest.approx(losses.sum().item() / predicted(ids), rel=1e-5)
    expected = torch.autograd.grad(losses.sum() / (6 * ENTRY), list(pupil.parameters()))
    for weight, plain in zip(pupil.parameters(), expected, strict=True):
        assert weight.grad is not None and torch.allclose(weight.grad, plain, rtol=1e-3, atol=1e-6)


def test_an_entry_weighs_the_same_in_any_company(tokenizer):
    pupil = Pupil(fresh(tokenizer, seed=5, **SIZE))
    gradient = Gradient(pupil, dtype="float32", steps=1)
    short, long, other = (
        corpus.encode(tokenizer, [SimpleNamespace(text=text)])[0] for text in ("The sea.", LONG, LONG)
    )

    def of(*rows: list[int]) -> torch.Tensor:
        gradient(corpus.padded(list(rows)), torch.full((len(rows), len(distribution.VALUES)), corpus.NOTHING))
        return torch.cat([len(rows) * weight.grad.flatten() for weight in pupil.model.parameters()])

    assert torch.allclose(of(short, long), of(short) + of(long), rtol=1e-3, atol=1e-6)
    assert torch.allclose(of(short, short) + of(long), of(short, short, other), rtol=1e-3, atol=1e-6)


def test_parts_are_of_like_length_and_hold_every_row_once():
    rows = [[0] * n for n in (3, 9, 4, 8, 5)]
    ids, about = corpus.padded(rows), torch.arange(5)[:, None]
    parts = _by_length(ids, about, 2)
    assert [part.shape[1] for part, _ in parts] == [9, 4]
    assert torch.cat([told for _, told in parts])[:, 0].tolist() == [1, 3, 4, 2, 0]
    for part, told in parts:
        for row, place in zip(part, told[:, 0].tolist(), strict=True):
            assert (row != corpus.NOTHING).sum() == len(rows[place])
