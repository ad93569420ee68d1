"""The head apart from the blocks, against the logits of whole models, and the memory and gradients of chunks."""

import copy

import pytest
import torch
from helpers.families import FAMILIES
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from vectors.model import output_head
from vectors.model.hooks import shift_layers
from vectors.model.output_head import final_states, logit_chunks, logits_from, map_logits
from vectors.model.residual_model import ResidualModel

QUICK = ("GPT-2", "Llama", "Gemma 2", "Gemma 3", "OPT", "Cohere", "Granite", "Phi")
TEXTS = ["the cat ran to the sea", "old stone"]


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in FAMILIES]
)
def test_a_family_has_a_head_of_its_own(name: str, make_tokenizer) -> None:
    """Soft caps (Gemma 2), scales (Cohere, Granite), projections (OPT) and biases (Phi) are part of it."""
    if name == "Llama 4":
        pytest.skip("its logits come out of the model that has the blocks: it is its own base model")
    family = FAMILIES[name]
    model = ResidualModel(family.build(), make_tokenizer(), name=name, blocks_path=family.blocks_path)
    batch = model.batch([[0, 5, 6], [0, 7]])
    with torch.inference_mode():
        expected = model.hf(**batch, use_cache=False).logits
        states = final_states(model, batch)
        assert states.shape[:2] == expected.shape[:2] and states.shape[-1] != expected.shape[-1]
        torch.testing.assert_close(logits_from(model, states), expected, rtol=1e-4, atol=1e-4)


def test_the_head_is_found_inside_a_shift(llama_model: ResidualModel) -> None:
    """The check of the head reads another batch, for which the shift would have the wrong shape."""
    model = ResidualModel(llama_model.hf, llama_model.tokenizer)
    rows = model.encode(TEXTS)
    shift = torch.randn(2, max(map(len, rows)), model.d_model)
    with torch.no_grad(), shift_layers(model, {1: shift}):
        states = final_states(model, model.batch(rows))
        expected = model.hf(**model.batch(rows)).logits
    assert states.shape[-1] == model.d_model
    torch.testing.assert_close(logits_from(model, states), expected)


def test_a_head_that_gives_other_logits_is_not_used(llama_model: ResidualModel) -> None:
    class Tempered(type(llama_model.hf)):
        def forward(self, *arguments, **options):
            output = super().forward(*arguments, **options)
            output.logits = output.logits * (0.5 if output.logits.shape[1] < 6 else 1.0)
            return output

    hf = copy.deepcopy(llama_model.hf)
    hf.__class__ = Tempered
    model = ResidualModel(hf, llama_model.tokenizer, blocks_path=llama_model.blocks_path)
    batch = model.batch(model.encode(["the cat"]))
    with torch.no_grad():
        assert torch.equal(logits_from(model, final_states(model, batch)), hf(**batch).logits)


def test_the_model_is_unchanged_and_its_hooks_do_not_run(llama_model: ResidualModel) -> None:
    before = {name: id(module) for name, module in llama_model.hf.named_modules()}
    states, calls = torch.randn(3, llama_model.d_model), []
    logits_from(llama_model, states)
    with llama_model.hf.register_forward_hook(lambda *_: calls.append(1)):
        logits_from(llama_model, states)
    assert not calls and {name: id(module) for name, module in llama_model.hf.named_modules()} == before


@pytest.mark.parametrize("entries", [1, 200, 1 << 24])
def test_values_and_gradients_of_chunks_are_those_of_the_whole(
    llama_model: ResidualModel, monkeypatch: pytest.MonkeyPatch, entries: int
) -> None:
    monkeypatch.setattr(output_head, "MAX_ENTRIES", entries)
    states = torch.randn(7, llama_model.d_model, generator=torch.Generator().manual_seed(0))
    targets = torch.arange(7)

    def nats(logits: Tensor, wanted: Tensor) -> Tensor:
        return cross_entropy(logits, wanted, reduction="none")

    whole, chunked = states.clone().requires_grad_(), states.clone().requires_grad_()
    expected = cross_entropy(llama_model.hf.lm_head(whole), targets, reduction="none")
    values = map_logits(llama_model, nats, chunked, beside=targets)
    torch.testing.assert_close(values, expected)
    weights = torch.arange(7.0)
    (expected_gradient,) = torch.autograd.grad((weights * expected).sum(), whole)
    (gradient,) = torch.autograd.grad((weights * values).sum(), chunked)
    torch.testing.assert_close(gradient, expected_gradient)
    chunks = [logits for _, (logits,) in logit_chunks(llama_model, states)]
    assert all(logits.numel() <= max(entries, logits.shape[1]) for logits in chunks)
    torch.testing.assert_close(torch.cat(chunks), llama_model.hf.lm_head(states))


def test_a_chunk_does_not_keep_the_logits_of_others(
    llama_model: ResidualModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The memory is bounded with a gradient too: no more than one chunk is alive at a time."""
    monkeypatch.setattr(output_head, "MAX_ENTRIES", 100)
    alive: list[int] = []

    class Watched(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.living = 0

        def forward(self, logits: Tensor) -> Tensor:
            self.living += 1
            alive.append(self.living)
            import weakref

            weakref.finalize(logits, self.leave)
            return logits.logsumexp(dim=-1)

        def leave(self) -> None:
            self.living -= 1

    watched = Watched()
    states = torch.randn(20, llama_model.d_model).requires_grad_()
    map_logits(llama_model, lambda logits: watched(logits), states).sum().backward()
    assert len(alive) > 5 and max(alive) <= 2
