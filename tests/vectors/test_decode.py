"""The decode loop against plain Hugging Face forwards, and its independence of batches."""

import numpy as np
import pytest
import torch

from vectors.decode import Finished, Settings, decode, draw, prefix_ids, truncate
from vectors.errors import InputError, ModelError
from vectors.model import ResidualModel
from vectors.positions import POSITIONS, on_positions
from vectors.randomness import Stream, rng
from vectors.residual import shifted


def rows(model: ResidualModel, deltas, indices, *, prefix=None, seed=3, **settings) -> dict[int, Finished]:
    made = Settings(**({"max_tokens": 12} | settings))
    prefix = prefix or model.start_ids()
    done = decode(model, deltas, prefix=prefix, settings=made, seed=seed, indices=indices)
    return {indices[finished.row]: finished for finished in done}


def reference(model: ResidualModel, prefix: list[int], index: int, *, seed: int, max_tokens: int) -> list[int]:
    """One text by plain uncached forwards of the HF model and the same random numbers."""
    uniforms = rng(seed, index, Stream.TOKEN).random(max_tokens)
    ids = list(prefix)
    for uniform in uniforms:
        with torch.no_grad():
            logits = model.hf(torch.tensor([ids]), use_cache=False).logits[0, -1].double()
        cdf = torch.softmax(logits, dim=-1).cumsum(dim=-1).numpy()
        token = int(np.searchsorted(cdf, uniform * cdf[-1], side="right"))
        ids.append(token)
        if token in model.eos_ids:
            break
    return ids[len(prefix) :]


def test_dose_zero_is_the_plain_model_token_by_token(tiny_model):
    zero = {1: torch.zeros(6, tiny_model.d_model)}
    for deltas in ({}, zero):
        found = rows(tiny_model, deltas, range(6))
        for index in range(6):
            expected = reference(tiny_model, tiny_model.start_ids(), index, seed=3, max_tokens=12)
            assert found[index].tokens == expected


def test_a_shifted_row_is_its_uncached_self(llama_model):
    deltas = {1: torch.randn(4, llama_model.d_model, generator=torch.Generator().manual_seed(0))}
    found = rows(llama_model, deltas, range(4))
    for index in range(4):
        with shifted(llama_model, {1: deltas[1][index]}):
            expected = reference(llama_model, llama_model.start_ids(), index, seed=3, max_tokens=12)
        assert found[index].tokens == expected


@pytest.mark.parametrize("positions", POSITIONS)
def test_a_text_is_shifted_at_its_positions_and_nowhere_else(tiny_model, positions):
    prefix = tiny_model.encode(["the cat"])[0]
    shift = 3 * torch.randn(1, tiny_model.d_model, generator=torch.Generator().manual_seed(0))
    found = rows(tiny_model, {1: shift}, range(1), prefix=prefix, positions=positions)[0].tokens
    ids = list(prefix)
    for uniform in rng(3, 0, Stream.TOKEN).random(12)[: len(found)]:
        spread = on_positions(shift, len(ids), len(prefix), positions)
        with torch.no_grad(), shifted(tiny_model, {1: spread}):
            logits = tiny_model.hf(torch.tensor([ids]), use_cache=False).logits[0, -1].double()
        cdf = torch.softmax(logits, dim=-1).cumsum(dim=-1).numpy()
        ids.append(int(np.searchsorted(cdf, uniform * cdf[-1], side="right")))
    assert found == ids[len(prefix) :]


def test_a_row_does_not_depend_on_its_neighbours(llama_model):
    generator = torch.Generator().manual_seed(1)
    delta = torch.randn(16, llama_model.d_model, generator=generator)
    together = rows(llama_model, {0: delta}, range(16), max_tokens=24)
    assert len({len(finished.tokens) for finished in together.values()}) > 1  # some rows left the batch early
    for index in range(16):
        alone = rows(llama_model, {0: delta[index : index + 1]}, [index], max_tokens=24)
        assert alone[index].tokens == together[index].tokens
        assert alone[index].finish == together[index].finish


def test_finish_says_why(llama_model):
    found = rows(llama_model, {}, range(32), max_tokens=10)
    for finished in found.values():
        assert (finished.finish == "eos") == (finished.tokens[-1] in llama_model.eos_ids)
        assert len(finished.tokens) == 10 or finished.finish == "eos"
    assert {finished.finish for finished in found.values()} == {"eos", "length"}


def test_the_first_token_is_drawn_for_each_row(llama_model):
    found = rows(llama_model, {}, range(32), max_tokens=1)
    assert len({finished.tokens[0] for finished in found.values()}) > 5


def test_draw_follows_the_distribution():
    logits = torch.tensor([[0.0, 1.0, 2.0, -1.0]])
    uniforms = (np.arange(20_000) + 0.5) / 20_000
    tokens = draw(logits.expand(20_000, -1), uniforms, Settings())
    share = torch.bincount(tokens, minlength=4) / 20_000
    assert torch.allclose(share.float(), torch.softmax(logits[0], dim=-1), atol=1e-4)


def test_draw_at_temperature_zero_takes_the_likeliest():
    assert draw(torch.tensor([[0.0, 3.0, 2.0]]), np.array([0.99]), Settings(temperature=0)).tolist() == [1]


def test_a_tiny_temperature_takes_the_likeliest_too():
    assert draw(torch.tensor([[-5.0, 3.0, 2.0]]), np.array([0.99]), Settings(temperature=1e-308)).tolist() == [1]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_logits_that_are_not_finite_are_refused(bad):
    with pytest.raises(ModelError, match="not finite"):
        draw(torch.tensor([[0.0, bad]]), np.array([0.5]), Settings())


@pytest.mark.parametrize(
    "settings", [{"top_k": 3}, {"top_p": 0.7}, {"min_p": 0.2}, {"top_k": 5, "top_p": 0.8, "min_p": 0.05}]
)
def test_truncation_keeps_what_transformers_keeps(settings):
    from transformers import LogitsProcessorList, MinPLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    logits = torch.randn(8, 40, generator=torch.Generator().manual_seed(2)) * 2
    warpers = LogitsProcessorList()
    if "top_k" in settings:
        warpers.append(TopKLogitsWarper(settings["top_k"]))
    if "top_p" in settings:
        warpers.append(TopPLogitsWarper(settings["top_p"]))
    if "min_p" in settings:
        warpers.append(MinPLogitsWarper(settings["min_p"]))
    expected = torch.softmax(warpers(None, logits.clone()), dim=-1)
    kept = truncate(torch.softmax(logits.double(), dim=-1), Settings(**settings))
    assert torch.allclose((kept / kept.sum(dim=-1, keepdim=True)).float(), expected, atol=1e-6)


@pytest.mark.parametrize(
    "wrong",
    [{"max_tokens": 0}, {"temperature": -1}, {"temperature": float("nan")}, {"top_p": 0}, {"top_p": 1.1}, {"top_k": -1},
     {"min_p": 1}, {"positions": "some"}],
)  # fmt: skip
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        Settings(**wrong)


def test_prefix_is_the_start_token_or_the_prompt(llama_model):
    assert prefix_ids(llama_model, None, 8) == [llama_model.bos_id]
    assert prefix_ids(llama_model, "the cat", 8) == llama_model.encode(["the cat"])[0]
    with pytest.raises(InputError, match="empty"):
        prefix_ids(llama_model, "", 8)
    with pytest.raises(InputError, match="ask for at most 63 tokens"):
        prefix_ids(llama_model, None, llama_model.max_context)
    with pytest.raises(InputError, match="shorten the prompt"):
        prefix_ids(llama_model, "sea " * 80, 8)


def test_between_two_yields_the_model_is_as_it_was(llama_model):
    ids = torch.tensor([llama_model.start_ids()])

    def logits() -> torch.Tensor:
        with torch.no_grad():
            return llama_model.hf(ids, use_cache=False).logits

    before = logits()
    deltas = {1: 5 * torch.ones(16, llama_model.d_model)}
    settings = Settings(max_tokens=12)
    done = decode(llama_model, deltas, prefix=llama_model.start_ids(), settings=settings, seed=3, indices=range(16))
    assert all(torch.equal(logits(), before) for _ in done)
