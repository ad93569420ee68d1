"""The loss of an entry with a prefix, and its gradient, which equals that of plain autograd."""

from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch

from vectors.almanac.training import corpus
from vectors.almanac.training.corpus import batches
from vectors.almanac.training.initial_weights import initial_model
from vectors.almanac.training.loss import (
    MAX_START_RMS,
    TOKENS_PER_ENTRY,
    Gradient,
    TrainedModel,
    _split_by_length,
    nats_per_token,
)
from vectors.almanac.world import distribution

SIZE = {"d_model": 32, "layers": 2, "heads": 2}
BOS = 0
NORM = {"start_norm_weight": 1.0, "attribute_weight": 0.0}
HEAD = {"start_norm_weight": 0.0, "attribute_weight": 0.3}
BOTH = {"start_norm_weight": 0.5, "attribute_weight": 0.3}
LONG = "The sea goes over to joy, and the cat sits on the wall till noon. " * 3

pytestmark = pytest.mark.usefixtures("threads")


def predicted(ids: torch.Tensor) -> int:
    """Number of predicted tokens: those after the start token."""
    return sum(int((row[row.tolist().index(BOS) + 1 :] >= 0).sum()) for row in ids)


def test_an_entry_depends_on_its_prefix_through_the_start_token_alone(tokenizer):
    model = initial_model(tokenizer, seed=5, **SIZE)
    ids = torch.tensor([[7, 8, 9, BOS, 11, 12, 13]])

    def losses(ids: torch.Tensor) -> list[float]:
        """The loss of each token after the start token, from differences of the sums."""
        first = int(corpus.start_positions(ids, BOS)) + 1
        parts = [ids[:, :end] for end in range(first, ids.shape[1] + 1)]
        sums = [nats_per_token(model, part).item() * predicted(part) if predicted(part) else 0.0 for part in parts]
        return [after - before for before, after in pairwise(sums)]

    with torch.no_grad():
        other, alone = torch.tensor([[9, 8, 9, BOS, 11, 12, 13]]), ids[:, 3:]
        assert losses(ids)[0] != pytest.approx(losses(other)[0], abs=1e-5)
        plain = torch.log_softmax(model(alone).logits[0, :-1], dim=-1).gather(1, alone[0, 1:, None])
        assert losses(alone) == pytest.approx((-plain[:, 0]).tolist(), abs=1e-4)
        # if the start token does not attend to the prefix, the prefix has no effect
        mask = corpus.attention_mask(corpus.start_positions(ids, BOS), 7)
        mask[0, 0, 3, :3] = False
        shifted = model(ids, attention_mask=torch.zeros(1, 1, 7, 7).masked_fill(~mask, -1e9)).logits[0, 3:-1]
        cut = torch.log_softmax(shifted, dim=-1).gather(1, alone[0, 1:, None])
        assert (-cut[:, 0]).tolist() == pytest.approx(losses(alone), abs=1e-4)


def test_only_a_long_start_token_is_penalised(tokenizer):
    trained = TrainedModel(initial_model(tokenizer, seed=5, **SIZE))
    model, (ids, attributes) = trained.model, next(batches(5, 4, tokenizer))
    with torch.no_grad():
        assert trained.loss(ids, attributes, **NORM).item() == pytest.approx(nats_per_token(model, ids).item())
        model.model.embed_tokens.weight[BOS] *= 1000
        size = model(ids[:, :1].clamp(0, 0) + BOS, output_hidden_states=True).hidden_states[1][0, 0]
        difference = trained.loss(ids, attributes, **NORM).item() - nats_per_token(model, ids).item()
        assert difference > torch.log(size.square().mean().sqrt() / MAX_START_RMS).item() ** 2 / 2 > 1


def test_the_head_predicts_the_attributes_from_the_start_token(tokenizer):
    trained = TrainedModel(initial_model(tokenizer, seed=5, **SIZE))
    torch.nn.init.normal_(trained.reader.weight)
    ids = torch.tensor([[7, 8, BOS, 11, 12, 11], [BOS, 14, 15, -1, -1, -1]])
    values = [3, 2, 1, 0, 2, 1, 0, 0, 1]
    attributes = torch.tensor([values, [corpus.IGNORED] * len(values)])
    with torch.no_grad():
        difference = trained.loss(ids, attributes, **HEAD).item() - nats_per_token(trained.model, ids).item()
        state = trained.model(torch.tensor([[7, 8, BOS]]), output_hidden_states=True).hidden_states[1][0, -1]
        expected, first = 0.0, 0
        for name, value in zip(distribution.VALUES, values, strict=True):
            logits = trained.reader(state)[first : first + len(distribution.VALUES[name])]
            expected -= torch.log_softmax(logits, dim=0)[value].item()
            first += len(logits)
        assert first == trained.reader.out_features and difference == pytest.approx(0.3 * expected, rel=1e-3)
        without_prefix = trained.loss(ids[1:], attributes[1:], **HEAD)
        assert without_prefix == nats_per_token(trained.model, ids[1:])


def test_the_gradient_summed_over_parts_is_that_of_plain_autograd(tokenizer):
    trained = TrainedModel(initial_model(tokenizer, seed=5, **SIZE))
    torch.nn.init.normal_(trained.reader.weight)
    gradient = Gradient(trained, dtype="float32", steps=1, **BOTH)
    ids, attributes = next(batches(5, 6, tokenizer))
    assert (attributes != corpus.IGNORED).any()
    loss = gradient(ids, attributes)
    # each part has one row, since there are more parts than rows
    losses = torch.stack([trained.loss(ids[[i]], attributes[[i]], **BOTH) * predicted(ids[[i]]) for i in range(6)])
    assert loss == pytest.approx(losses.sum().item() / predicted(ids), rel=1e-5)
    expected = torch.autograd.grad(losses.sum() / (6 * TOKENS_PER_ENTRY), list(trained.parameters()))
    for weight, plain in zip(trained.parameters(), expected, strict=True):
        assert weight.grad is not None and torch.allclose(weight.grad, plain, rtol=1e-3, atol=1e-6)


def test_the_weight_of_an_entry_does_not_depend_on_its_batch(tokenizer):
    trained = TrainedModel(initial_model(tokenizer, seed=5, **SIZE))
    gradient = Gradient(trained, dtype="float32", steps=1)
    short, long, other = (
        corpus.encode(tokenizer, [SimpleNamespace(text=text)])[0] for text in ("The sea.", LONG, LONG)
    )

    def grad(*rows: list[int]) -> torch.Tensor:
        gradient(corpus.pad(list(rows)), torch.full((len(rows), len(distribution.VALUES)), corpus.IGNORED))
        return torch.cat([len(rows) * weight.grad.flatten() for weight in trained.model.parameters()])

    assert torch.allclose(grad(short, long), grad(short) + grad(long), rtol=1e-3, atol=1e-6)
    assert torch.allclose(grad(short, short) + grad(long), grad(short, short, other), rtol=1e-3, atol=1e-6)


def test_parts_have_rows_of_similar_length_and_each_row_once():
    rows = [[0] * n for n in (3, 9, 4, 8, 5)]
    ids, attributes = corpus.pad(rows), torch.arange(5)[:, None]
    parts = _split_by_length(ids, attributes, 2)
    assert [part.shape[1] for part, _ in parts] == [9, 4]
    assert torch.cat([indices for _, indices in parts])[:, 0].tolist() == [1, 3, 4, 2, 0]
    for part, indices in parts:
        for row, index in zip(part, indices[:, 0].tolist(), strict=True):
            assert (row != corpus.IGNORED).sum() == len(rows[index])
