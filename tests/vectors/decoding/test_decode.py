"""The decode loop against plain Hugging Face forwards, and its independence of batches."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.families import FAMILIES
from transformers import MistralConfig
from transformers.models.auto.modeling_auto import AutoModelForCausalLM

from vectors.common.errors import InputError, ModelError
from vectors.decoding import batch
from vectors.decoding import decode as decoding
from vectors.decoding.batch import Batch
from vectors.decoding.decode import Finished, decode, prefix_ids, rows_that_fit
from vectors.decoding.kv_cache import choose_kv_cache
from vectors.decoding.kv_cache.fork import Fork
from vectors.decoding.kv_cache.growing_kv_cache import GrowingKVCache
from vectors.decoding.kv_cache.slot_kv_cache import SlotKVCache
from vectors.decoding.token_costs import compute_costs
from vectors.decoding.token_sampling import Settings, token_noise
from vectors.model.hooks import shift_layers
from vectors.model.positions import POSITIONS, shift_by_position
from vectors.model.residual_model import ResidualModel

EVERYWHERE = (*POSITIONS, "first:2", "decay:1.5")


def rows(model: ResidualModel, deltas, indices, *, prefix=None, seed=3, size=64, **settings) -> dict[int, Finished]:
    sampling = Settings(**({"max_tokens": 12} | settings))
    places = {index: place for place, index in enumerate(indices)}

    def shifts(some):
        return {layer: delta[[places[index] for index in some]] for layer, delta in deltas.items()}

    done = decode(
        model, shifts if deltas else None, prefix=prefix or model.start_ids(), settings=sampling, seed=seed,
        indices=indices, batch_size=size,
    )  # fmt: skip
    return {finished.index: finished for finished in done}


def race_of_groups(masses: np.ndarray, noise: np.ndarray, leaf: int = 64) -> int:
    """The winner of three races by plain loops: of groups of groups, of groups, of tokens."""
    fan_out = next(n for n in range(1, 1000) if n * n * leaf >= len(masses))
    first, last = 0, fan_out * fan_out * leaf
    for numbers in (noise[:fan_out], noise[fan_out : 2 * fan_out], noise[2 * fan_out :]):
        width = (last - first) // len(numbers)
        starts = [first + width * group for group in range(len(numbers))]
        scores = [masses[start : start + width].sum() / number for start, number in zip(starts, numbers, strict=True)]
        first = starts[int(np.argmax(scores))]
        last = first + width
    return first


def reference(model: ResidualModel, prefix: list[int], index: int, *, seed: int, max_tokens: int) -> list[int]:
    """One text by plain uncached forwards of the HF model and the same random numbers."""
    ids = list(prefix)
    for noise in token_noise(seed, index, max_tokens, model.hf.config.vocab_size):
        with torch.no_grad():
            logits = model.hf(torch.tensor([ids]), use_cache=False).logits[0, -1].double()
        ids.append(token := race_of_groups(torch.softmax(logits, dim=-1).numpy(), noise.astype(np.float64)))
        if token in model.eos_ids:
            break
    return ids[len(prefix) :]


def test_dose_zero_is_the_plain_model_token_by_token(tiny_model):
    zero = {1: torch.zeros(6, tiny_model.d_model)}
    for deltas in ({}, zero):
        samples = rows(tiny_model, deltas, range(6))
        for index in range(6):
            expected = reference(tiny_model, tiny_model.start_ids(), index, seed=3, max_tokens=12)
            assert samples[index].tokens == expected


def test_a_shifted_row_equals_uncached_decoding(llama_model):
    deltas = {1: torch.randn(4, llama_model.d_model, generator=torch.Generator().manual_seed(0))}
    samples = rows(llama_model, deltas, range(4))
    for index in range(4):
        with shift_layers(llama_model, {1: deltas[1][index]}):
            expected = reference(llama_model, llama_model.start_ids(), index, seed=3, max_tokens=12)
        assert samples[index].tokens == expected


@pytest.mark.parametrize("positions", EVERYWHERE)
def test_a_text_is_shifted_at_its_positions_and_nowhere_else(tiny_model, positions):
    prefix = tiny_model.encode(["the cat"])[0]
    shift = 3 * torch.randn(1, tiny_model.d_model, generator=torch.Generator().manual_seed(0))
    samples = rows(tiny_model, {1: shift}, range(1), prefix=prefix, positions=positions)[0].tokens
    ids = list(prefix)
    for noise in token_noise(3, 0, len(samples), tiny_model.hf.config.vocab_size):
        spread = shift_by_position(shift, len(ids), len(prefix), positions)
        with torch.no_grad(), shift_layers(tiny_model, {1: spread}):
            logits = tiny_model.hf(torch.tensor([ids]), use_cache=False).logits[0, -1].double()
        ids.append(race_of_groups(torch.softmax(logits, dim=-1).numpy(), noise.astype(np.float64)))
    assert samples == ids[len(prefix) :]


@pytest.mark.parametrize("prompt", ["the cat", None])
def test_shifts_at_several_sites_are_each_added_at_their_positions(tiny_model, prompt):
    prefix = tiny_model.encode([prompt])[0] if prompt else tiny_model.start_ids()
    sites = [(1, "bos"), (1, "all"), (0, "generated"), (1, "decay:2")]
    noise = torch.Generator().manual_seed(0)
    deltas = {site: 2 * torch.randn(6, tiny_model.d_model, generator=noise) for site in sites}
    samples = rows(tiny_model, deltas, range(6), prefix=prefix, size=4)
    for index in range(6):
        ids = list(prefix)
        for numbers in token_noise(3, index, len(samples[index].tokens), tiny_model.hf.config.vocab_size):
            added = {}
            for (layer, where), delta in deltas.items():
                spread = shift_by_position(delta[index : index + 1], len(ids), len(prefix), where)
                added[layer] = added.get(layer, 0) + spread
            with torch.no_grad(), shift_layers(tiny_model, added):
                logits = tiny_model.hf(torch.tensor([ids]), use_cache=False).logits[0, -1].double()
            ids.append(race_of_groups(torch.softmax(logits, dim=-1).numpy(), numbers.astype(np.float64)))
        assert samples[index].tokens == ids[len(prefix) :]
    costs = compute_costs(tiny_model, deltas, prefix=prefix, generated=[samples[index].tokens for index in range(6)])
    for index, cost in enumerate(costs):
        np.testing.assert_allclose(samples[index].cost.kl, cost.kl, atol=1e-4)
        np.testing.assert_allclose(samples[index].cost.logprob_steered, cost.logprob_steered, atol=1e-4)


def test_a_row_does_not_depend_on_its_neighbours(llama_model):
    generator = torch.Generator().manual_seed(1)
    delta = torch.randn(16, llama_model.d_model, generator=generator)
    together = rows(llama_model, {0: delta}, range(16), max_tokens=24)
    assert len({len(finished.tokens) for finished in together.values()}) > 1  # some rows left the batch early
    for index in range(16):
        alone = rows(llama_model, {0: delta[index : index + 1]}, [index], max_tokens=24)
        assert alone[index].tokens == together[index].tokens
        assert alone[index].finish == together[index].finish


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("prompt", [None, "the cat", "the cat ran to the sea and the dog ran too"])
def test_texts_are_the_same_for_every_batch_size(llama_model, dtype, prompt):
    """Not only nearly: rounding of a tiny model in half precision would change most texts of this length."""
    model = ResidualModel(copy.deepcopy(llama_model.hf).to(dtype), llama_model.tokenizer)
    prefix = prefix_ids(model, prompt, 40)
    delta = 2 * torch.randn(24, model.d_model, generator=torch.Generator().manual_seed(2))
    options = {"prefix": prefix, "settings": Settings(max_tokens=40), "seed": 5}
    texts = []
    for size in (1, 4, 16, 24):
        for costs in (True, False):
            done = decode(
                model, lambda some: {1: delta[list(some)]}, indices=range(24), batch_size=size, costs=costs, **options
            )
            texts.append({each.index: each.tokens for each in done})
    assert all(other == texts[0] for other in texts[1:])


@pytest.mark.parametrize("positions", ["all", "bos", "generated"])
@pytest.mark.parametrize("prompt", [None, "the cat ran"])
def test_base_rows_that_share_the_lower_blocks_cost_the_same(tiny_model, monkeypatch, positions, prompt):
    deltas = {layer: 2 * torch.randn(20, tiny_model.d_model) for layer in (0, 1)}
    tiny_model.eos_ids = frozenset(range(1, 6))  # so that rows leave the batch, and others take their places
    options = {"prefix": prefix_ids(tiny_model, prompt, 12), "positions": positions, "size": 18}
    forks = []
    monkeypatch.setattr(batch, "Fork", lambda *arguments: forks.append(arguments) or Fork(*arguments))
    shared = rows(tiny_model, deltas, range(20), **options)
    assert forks and forks[0][0] == 0
    monkeypatch.setattr(batch, "supports_fork", lambda *_: False)
    apart = rows(tiny_model, deltas, range(20), **options)
    for index, finished in apart.items():
        assert shared[index].tokens == finished.tokens
        for name in ("logprob_base", "logprob_steered", "kl"):
            one, other = getattr(shared[index].cost, name), getattr(finished.cost, name)
            np.testing.assert_allclose(one, other, atol=2e-5)


def test_a_model_whose_rows_cannot_fork_is_found_out(llama_model, monkeypatch):
    assert choose_kv_cache.supports_fork(llama_model, 1)
    model = ResidualModel(copy.deepcopy(llama_model.hf), llama_model.tokenizer)
    # a later block that reads something of an earlier one, which has fewer rows
    kept = {}
    model.blocks[0].register_forward_hook(lambda _, __, output: kept.update(rows=len(output), first=output[:1]))
    model.blocks[2].register_forward_hook(lambda _, __, output: output + kept["rows"] * kept["first"])
    assert not choose_kv_cache.supports_fork(model, 1)


def test_finish_says_why_a_text_ended(llama_model):
    samples = rows(llama_model, {}, range(32), max_tokens=10)
    for finished in samples.values():
        assert (finished.finish == "eos") == (finished.tokens[-1] in llama_model.eos_ids)
        assert len(finished.tokens) == 10 or finished.finish == "eos"
    assert {finished.finish for finished in samples.values()} == {"eos", "length"}


def test_the_first_token_is_drawn_for_each_row(llama_model):
    samples = rows(llama_model, {}, range(32), max_tokens=1)
    assert len({finished.tokens[0] for finished in samples.values()}) > 5


@pytest.mark.parametrize("positions", EVERYWHERE)
def test_refilled_rows_write_the_same_texts(tiny_model, positions):
    deltas = {1: 2 * torch.randn(20, tiny_model.d_model, generator=torch.Generator().manual_seed(4))}
    tiny_model.eos_ids = frozenset(range(1, 12))  # so that texts end early, and at different lengths
    for prefix in (None, tiny_model.encode(["the cat ran"])[0]):
        options = {"prefix": prefix, "positions": positions, "max_tokens": 16}
        expected = rows(tiny_model, deltas, range(20), **options)
        assert len({len(each.tokens) for each in expected.values()}) > 1
        samples = rows(tiny_model, deltas, range(20), size=7, **options)
        assert {index: each.tokens for index, each in samples.items()} == {i: e.tokens for i, e in expected.items()}
        for index, each in samples.items():
            np.testing.assert_allclose(each.cost.kl, expected[index].cost.kl, atol=2e-5)


@pytest.mark.parametrize("positions", EVERYWHERE)
def test_costs_equal_those_of_teacher_forcing(tiny_model, positions):
    deltas = {1: 2 * torch.randn(9, tiny_model.d_model, generator=torch.Generator().manual_seed(5))}
    prefix = tiny_model.encode(["the sea"])[0]
    samples = rows(tiny_model, deltas, range(9), prefix=prefix, positions=positions, temperature=0.8, top_k=20, size=4)
    tokens = [samples[index].tokens for index in range(9)]
    expected = compute_costs(tiny_model, deltas, prefix=prefix, generated=tokens, positions=positions)
    for index, cost in enumerate(expected):
        for name in ("kl", "logprob_base", "logprob_steered"):
            np.testing.assert_allclose(getattr(samples[index].cost, name), getattr(cost, name), atol=1e-4)


def test_slots_and_a_growing_cache_write_the_same(tiny_model, monkeypatch):
    deltas = {0: torch.randn(12, tiny_model.d_model, generator=torch.Generator().manual_seed(6))}
    prefix = tiny_model.encode(["the sea was old"])[0]
    assert isinstance(choose_kv_cache.make_kv_cache(tiny_model, 2, 20), SlotKVCache)
    expected = rows(tiny_model, deltas, range(12), prefix=prefix, size=5)
    monkeypatch.setattr(choose_kv_cache, "supports_slots", lambda _: False)
    samples = rows(tiny_model, deltas, range(12), prefix=prefix, size=5)
    assert {index: each.tokens for index, each in samples.items()} == {i: each.tokens for i, each in expected.items()}


def test_a_sliding_window_shorter_than_the_texts_rules_out_slots(make_tokenizer):
    config = MistralConfig(
        vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, sliding_window=6, bos_token_id=0, eos_token_id=1, initializer_range=0.3,
    )  # fmt: skip
    torch.manual_seed(0)
    model = ResidualModel(AutoModelForCausalLM.from_config(config).eval(), make_tokenizer())
    assert isinstance(choose_kv_cache.make_kv_cache(model, 2, 20), GrowingKVCache)
    samples = rows(model, {}, range(6), max_tokens=16, size=3)
    for index in range(6):
        assert samples[index].tokens == reference(model, model.start_ids(), index, seed=3, max_tokens=16)


def test_rotary_scaling_by_the_longest_text_rules_out_slots(make_tokenizer):
    rope = {"rope_type": "longrope", "rope_theta": 10000.0, "short_factor": [1.0] * 4, "long_factor": [8.0] * 4}
    own = {"original_max_position_embeddings": 8, "rope_parameters": rope, "sliding_window": None}
    model = ResidualModel(replace(FAMILIES["Phi-3"], own=own).build(), make_tokenizer())
    model.eos_ids = frozenset(range(1, 9))  # so that rows are at different positions
    assert isinstance(choose_kv_cache.make_kv_cache(model, 2, 8), SlotKVCache) and isinstance(
        choose_kv_cache.make_kv_cache(model, 2, 9), GrowingKVCache
    )
    together = rows(model, {}, range(8), max_tokens=20, size=3)
    for index in range(8):
        assert rows(model, {}, [index], max_tokens=20)[index].tokens == together[index].tokens


def test_logits_that_are_not_finite_end_their_text_only(llama_model):
    deltas = {1: torch.randn(8, llama_model.d_model, generator=torch.Generator().manual_seed(0))}
    expected = rows(llama_model, deltas, range(8))
    deltas[1][3] = float("nan")
    samples = rows(llama_model, deltas, range(8))
    assert samples[3].finish == "not-finite" and samples[3].tokens == [] and len(samples[3].cost.kl) == 0
    assert samples[3].cost.pressure == {"mean": 0.0, "p95": 0.0, "total": 0.0}
    assert all(samples[index].tokens == expected[index].tokens for index in range(8) if index != 3)


@pytest.mark.parametrize("kind", [torch.OutOfMemoryError, RuntimeError])
def test_out_of_memory_halves_the_batch_and_loses_nothing(llama_model, monkeypatch, kind):
    deltas = {1: torch.randn(20, llama_model.d_model, generator=torch.Generator().manual_seed(0))}
    expected = rows(llama_model, deltas, range(20))
    real, sizes = Batch.advance, []

    def short(batch):
        sizes.append(batch.live)
        if len(sizes) > 6 and batch.rows > 2:
            raise kind("DefaultCPUAllocator: can't allocate memory: none left")
        return real(batch)

    monkeypatch.setattr(Batch, "advance", short)
    samples = rows(llama_model, deltas, range(20), size=8)
    assert {index: each.tokens for index, each in samples.items()} == {i: each.tokens for i, each in expected.items()}
    assert sizes[0] == 8 and sizes[-1] <= 2
    monkeypatch.setattr(Batch, "advance", lambda _: (_ for _ in ()).throw(torch.OutOfMemoryError("none at all")))
    with pytest.raises(ModelError, match="out of memory with a single sample"):
        rows(llama_model, deltas, range(20), size=8)
    monkeypatch.setattr(Batch, "advance", lambda _: (_ for _ in ()).throw(RuntimeError("something else")))
    with pytest.raises(RuntimeError, match="something else"):
        rows(llama_model, deltas, range(20), size=8)


def test_prefix_is_the_start_token_or_the_prompt(llama_model):
    assert prefix_ids(llama_model, None, 8) == [llama_model.bos_id]
    assert prefix_ids(llama_model, "the cat", 8) == llama_model.encode(["the cat"])[0]
    with pytest.raises(InputError, match="empty"):
        prefix_ids(llama_model, "", 8)
    with pytest.raises(InputError, match="ask for at most 63 tokens"):
        prefix_ids(llama_model, None, llama_model.max_context)
    with pytest.raises(InputError, match="shorten the prompt"):
        prefix_ids(llama_model, "sea " * 80, 8)


def test_the_model_is_unchanged_between_yields(llama_model):
    ids = torch.tensor([llama_model.start_ids()])

    def logits() -> torch.Tensor:
        with torch.no_grad():
            return llama_model.hf(ids, use_cache=False).logits

    before = logits()
    deltas = {1: 5 * torch.ones(1, llama_model.d_model)}
    done = decode(
        llama_model, lambda some: {1: deltas[1].expand(len(some), -1)}, prefix=llama_model.start_ids(),
        settings=Settings(max_tokens=12), seed=3, indices=range(16),
    )  # fmt: skip
    assert all(torch.equal(logits(), before) for _ in done)


def test_the_batch_size_fits_the_free_memory(tiny_model, tmp_path, monkeypatch):
    meminfo = tmp_path / "meminfo"
    monkeypatch.setattr(decoding, "_MEMINFO", meminfo)
    assert rows_that_fit(tiny_model, 64, doubled=True) == 64  # the free memory is unknown
    meminfo.write_text("MemTotal: 99 kB\nMemAvailable: 9999999999 kB\n")
    assert rows_that_fit(tiny_model, 64, doubled=True) == 64
    meminfo.write_text("MemAvailable: 2000 kB\n")
    few = rows_that_fit(tiny_model, 64, doubled=True)
    assert 1 <= few < 64 and rows_that_fit(tiny_model, 64, doubled=False) in (2 * few, 2 * few + 1)
    assert rows_that_fit(tiny_model, 10**9, doubled=True) == 1


def test_weights_that_are_not_finite_are_called_that(llama_model):
    model = ResidualModel(copy.deepcopy(llama_model.hf), llama_model.tokenizer, name="broken")
    with torch.no_grad():
        model.blocks[1].input_layernorm.weight.fill_(float("nan"))
    with pytest.raises(ModelError, match="its weights hold NaN"):
        rows(model, {}, range(2))
