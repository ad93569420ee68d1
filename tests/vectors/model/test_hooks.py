"""The residual stream is read where HF says it is, and shifted there, by exactly what was asked, and nowhere else."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import pytest
import torch
from torch import Tensor, nn

from vectors.common.errors import InputError, ModelError, UnsteeredError
from vectors.model.hooks import capture, read_layers, shift_layers
from vectors.model.residual_model import ResidualModel
from vectors.model.steering_check import check_steering

SEQUENCES = [[0, 5, 9, 12, 7], [0, 3, 4]]
LAYERS = (0, 1, 2)


def logits(model: ResidualModel, sequences: list[list[int]] | None = None, side: str = "right") -> Tensor:
    with torch.no_grad():
        return model.hf(**model.batch(sequences or SEQUENCES, side=side), use_cache=False).logits


def noise(*shape: int, seed: int = 1) -> Tensor:
    return 3 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def hooks_of(model: ResidualModel) -> list[int]:
    return [
        len(module._forward_hooks) + len(module._forward_pre_hooks) + len(module._backward_hooks)
        for module in model.hf.modules()
    ]


@pytest.mark.parametrize("side", ["right", "left"])
def test_reads_what_hf_calls_hidden_states(tiny_model: ResidualModel, side: str) -> None:
    batch = tiny_model.batch(SEQUENCES, side=side)
    before_norm: list[Tensor] = []
    head = tiny_model.hf.get_output_embeddings()
    with torch.no_grad(), capture(tiny_model, LAYERS) as read:
        out = tiny_model.hf(**batch, use_cache=False, output_hidden_states=True)
        final_norm = next(
            module
            for name, module in tiny_model.hf.named_modules()
            if name.split(".")[-1] in ("ln_f", "norm", "final_layer_norm")
        )
        before_norm.append(head(final_norm(read[2])))
    assert len(out.hidden_states) == tiny_model.n_layers + 1
    for layer in (0, 1):
        assert torch.equal(read[layer], out.hidden_states[layer + 1])
    # HF normalises the last one: the head on our reading, normalised, must be its logits.
    torch.testing.assert_close(before_norm[0], out.logits, rtol=1e-5, atol=1e-5)


def test_padding_side_does_not_change_what_is_read(tiny_model: ResidualModel) -> None:
    alone, padded = [], []
    for sequence in SEQUENCES:
        with torch.no_grad(), capture(tiny_model, LAYERS) as read:
            tiny_model.hf(**tiny_model.batch([sequence]), use_cache=False)
        alone.append({layer: read[layer][0] for layer in LAYERS})
    for side in ("right", "left"):
        batch = tiny_model.batch(SEQUENCES, side=side)
        with torch.no_grad(), capture(tiny_model, LAYERS) as read:
            tiny_model.hf(**batch, use_cache=False)
        padded = [
            {layer: read[layer][row][batch["attention_mask"][row].bool()] for layer in LAYERS} for row in range(2)
        ]
        for row in range(2):
            for layer in LAYERS:
                torch.testing.assert_close(padded[row][layer], alone[row][layer], rtol=1e-4, atol=1e-4)


def test_shift_adds_exactly_delta_and_nothing_before(tiny_model: ResidualModel) -> None:
    with torch.no_grad(), capture(tiny_model, LAYERS) as read:
        base = tiny_model.hf(**tiny_model.batch(SEQUENCES), use_cache=False).logits
        plain = dict(read)
        for layer in LAYERS:
            delta = noise(32, seed=layer)
            with shift_layers(tiny_model, {layer: delta}):
                moved = tiny_model.hf(**tiny_model.batch(SEQUENCES), use_cache=False).logits
            for lower in range(layer):
                assert torch.equal(read[lower], plain[lower])
            assert torch.equal(read[layer], plain[layer] + delta)
            for upper in range(layer + 1, 3):
                assert not torch.allclose(read[upper], plain[upper] + delta)
            assert not torch.allclose(moved, base)


def test_capture_sees_the_shift_whichever_was_entered_first(llama_model: ResidualModel) -> None:
    delta = noise(32)
    with capture(llama_model, [1]) as outer, shift_layers(llama_model, {1: delta}), capture(llama_model, [1]) as inner:
        logits(llama_model)
    assert torch.equal(outer[1], inner[1])


def test_zero_shift_is_bit_equal(tiny_model: ResidualModel) -> None:
    base = logits(tiny_model)
    for zero in (torch.zeros(32), torch.zeros(2, 32), torch.zeros(2, 5, 32)):
        with shift_layers(tiny_model, {layer: zero for layer in LAYERS}):
            assert torch.equal(logits(tiny_model), base)


@pytest.mark.parametrize("side", ["right", "left"])
def test_rows_change_only_themselves(tiny_model: ResidualModel, side: str) -> None:
    base = logits(tiny_model, side=side)
    delta = noise(2, 32)
    delta[0] = 0
    with shift_layers(tiny_model, {1: delta}):
        moved = logits(tiny_model, side=side)
    assert torch.equal(moved[0], base[0])
    assert not torch.allclose(moved[1], base[1])
    with shift_layers(tiny_model, {1: delta[1]}):  # a row's own shift is the same as that shift for all
        torch.testing.assert_close(logits(tiny_model, side=side)[1], moved[1])


def test_positions_change_only_what_follows(tiny_model: ResidualModel) -> None:
    base = logits(tiny_model, [[0, 5, 9, 12, 7]])
    delta = torch.zeros(1, 5, 32)
    delta[0, 3] = noise(32)
    with shift_layers(tiny_model, {0: delta}):
        moved = logits(tiny_model, [[0, 5, 9, 12, 7]])
    torch.testing.assert_close(moved[:, :3], base[:, :3])
    assert not torch.allclose(moved[:, 3], base[:, 3])


@pytest.mark.parametrize("layer", LAYERS)
def test_cached_decode_equals_uncached(tiny_model: ResidualModel, layer: int) -> None:
    delta, ids = noise(2, 32), torch.tensor([[0, 5, 9, 12, 7, 8], [0, 3, 4, 6, 6, 2]])
    with torch.no_grad(), shift_layers(tiny_model, {layer: delta}), capture(tiny_model, [layer]) as read:
        whole = tiny_model.hf(input_ids=ids, use_cache=False).logits
        out = tiny_model.hf(input_ids=ids[:, :3], use_cache=True)
        steps = [out.logits]
        for position in range(3, 6):
            out = tiny_model.hf(
                input_ids=ids[:, position : position + 1], past_key_values=out.past_key_values, use_cache=True
            )
            assert read[layer].shape == (2, 1, 32)
            steps.append(out.logits)
    torch.testing.assert_close(torch.cat(steps, dim=1), whole, rtol=1e-4, atol=1e-4)


def test_shift_under_the_cache_reaches_the_new_position_only(tiny_model: ResidualModel) -> None:
    delta, ids = noise(32), torch.tensor([[0, 5, 9, 12]])
    with torch.no_grad():
        past = tiny_model.hf(input_ids=ids[:, :3], use_cache=True).past_key_values
        with shift_layers(tiny_model, {1: delta}):
            cached = tiny_model.hf(input_ids=ids[:, 3:], past_key_values=past, use_cache=True).logits[0, 0]
        last_only = torch.zeros(1, 4, 32)
        last_only[0, 3] = delta
        with shift_layers(tiny_model, {1: last_only}):
            whole = tiny_model.hf(input_ids=ids, use_cache=False).logits[0, 3]
    torch.testing.assert_close(cached, whole, rtol=1e-4, atol=1e-4)


def test_nothing_of_ours_stays(tiny_model: ResidualModel) -> None:
    check_steering(tiny_model, 0)
    base, state, hooks = logits(tiny_model), tiny_model.hf.state_dict(), hooks_of(tiny_model)
    state = {key: value.clone() for key, value in state.items()}
    attributes = [sorted(vars(module)) for module in tiny_model.hf.modules()]
    with (
        pytest.raises(ZeroDivisionError),
        shift_layers(tiny_model, {0: noise(32)}),
        capture(tiny_model, LAYERS),
        shift_layers(tiny_model, {0: noise(32), 2: noise(32)}),
    ):
        logits(tiny_model)
        assert hooks_of(tiny_model) != hooks
        raise ZeroDivisionError
    with pytest.raises(InputError), shift_layers(tiny_model, {0: noise(3, 32)}):
        logits(tiny_model)  # fails inside the forward
    check_steering(tiny_model, 1)
    assert hooks_of(tiny_model) == hooks
    assert attributes == [sorted(vars(module)) for module in tiny_model.hf.modules()]
    assert all(torch.equal(value, state[key]) for key, value in tiny_model.hf.state_dict().items())
    assert torch.equal(logits(tiny_model), base)


def test_nested_shifts_add_up(llama_model: ResidualModel) -> None:
    one, two = noise(32, seed=1), noise(32, seed=2)
    with torch.no_grad(), capture(llama_model, [1]) as read:
        logits(llama_model)
        plain = read[1]
        with shift_layers(llama_model, {1: one}), shift_layers(llama_model, {1: two}):
            logits(llama_model)
        torch.testing.assert_close(read[1], plain + one + two)


def test_shift_is_copied_unless_it_is_learned(llama_model: ResidualModel) -> None:
    delta = noise(32)
    with shift_layers(llama_model, {0: delta}):
        before = logits(llama_model)
        delta.zero_()
        assert torch.equal(logits(llama_model), before)
    learned = torch.zeros(32, requires_grad=True)
    with shift_layers(llama_model, {0: learned}):
        for _ in range(2):  # twice: no graph may be kept from one step to the next
            llama_model.hf(**llama_model.batch(SEQUENCES), use_cache=False).logits.logsumexp(-1).sum().backward()
            assert learned.grad is not None and learned.grad.abs().sum() > 0
            with torch.no_grad():
                learned -= 0.1 * learned.grad
    assert all(weight.grad is None for weight in llama_model.hf.parameters())


def test_half_precision_shift_takes_the_blocks_dtype(make_hf: Callable, make_tokenizer: Callable) -> None:
    model = ResidualModel(make_hf("llama").to(torch.bfloat16), make_tokenizer())
    with capture(model, [1]) as read, shift_layers(model, {1: noise(32).double()}):
        logits(model)
    assert read[1].dtype == torch.bfloat16


def test_tuple_outputs_keep_their_other_items(make_hf: Callable, make_tokenizer: Callable) -> None:
    class Wrapped(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, *args: object, **kwargs: object) -> tuple[Tensor, str]:
            out = self.inner(*args, **kwargs)
            return (out[0] if isinstance(out, tuple) else out), "kept"

    class Unwrapped(Wrapped):
        def forward(self, *args: object, **kwargs: object) -> Tensor:
            hidden, rest = self.inner(*args, **kwargs)
            assert rest == "kept"
            return hidden

    hf = make_hf("llama")
    plain = ResidualModel(hf, make_tokenizer())
    delta = noise(32)
    with shift_layers(plain, {1: delta}):
        expected = logits(plain)
    inner = Wrapped(hf.model.layers[1])
    hf.model.layers[1] = Unwrapped(inner)
    model = ResidualModel(hf, make_tokenizer())
    model.blocks[1] = inner  # the block as architectures have it that return tuples
    with capture(model, [1]) as read, shift_layers(model, {1: delta}):
        assert torch.equal(logits(model), expected)
    assert read[1].shape == (2, 5, 32)


@pytest.mark.parametrize(
    ("delta", "said"),
    [
        (torch.zeros(31), r"\(31,\)"),
        (torch.zeros(1, 1, 1, 32), r"\(1, 1, 1, 32\)"),
        (torch.full((32,), float("nan")), "NaN"),
        (torch.full((32,), float("inf")), "NaN or infinity"),
    ],
)
def test_unusable_shifts_are_refused(llama_model: ResidualModel, delta: Tensor, said: str) -> None:
    with pytest.raises(InputError, match=said), shift_layers(llama_model, {0: delta}):
        pass


@pytest.mark.parametrize("layer", [-1, 3, True, 1.0])
def test_unknown_layers_are_refused(llama_model: ResidualModel, layer: int) -> None:
    with pytest.raises(InputError, match="layers 0 to 2"), shift_layers(llama_model, {layer: torch.zeros(32)}):
        pass
    with pytest.raises(InputError, match="layers 0 to 2"), capture(llama_model, [layer]):
        pass
    with pytest.raises(InputError, match="layers 0 to 2"):
        check_steering(llama_model, layer)


@pytest.mark.parametrize("shape", [(3, 32), (1, 32), (2, 4, 32), (1, 5, 32)])
def test_a_shift_that_does_not_fit_the_batch_is_refused(llama_model: ResidualModel, shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="a row a sample"), shift_layers(llama_model, {0: torch.ones(shape)}):
        logits(llama_model)


def test_prove_steering_passes_and_remembers(tiny_model: ResidualModel) -> None:
    for layer in LAYERS:
        check_steering(tiny_model, layer)
    forwards: list[None] = []
    handle = tiny_model.hf.register_forward_hook(lambda *_: forwards.append(None))
    check_steering(tiny_model, 2)
    handle.remove()
    assert not forwards


def test_prove_steering_finds_a_block_that_is_not_on_the_path(llama_model: ResidualModel) -> None:
    llama_model.blocks[1] = nn.Identity()  # never called
    with pytest.raises(UnsteeredError, match="ran 0 times"):
        check_steering(llama_model, 1)


def test_prove_steering_finds_a_block_that_runs_twice(llama_model: ResidualModel) -> None:
    llama_model.hf.model.layers[2] = llama_model.hf.model.layers[1]
    with pytest.raises(UnsteeredError, match="ran 2 times"):
        check_steering(llama_model, 1)


def test_prove_steering_finds_a_shift_without_effect(llama_model: ResidualModel) -> None:
    llama_model.hf.get_output_embeddings().weight.zero_()
    with pytest.raises(UnsteeredError, match="unchanged"):
        check_steering(llama_model, 1)


def test_prove_steering_finds_logits_that_are_not_finite(llama_model: ResidualModel) -> None:
    llama_model.hf.get_output_embeddings().weight.fill_(float("nan"))
    with pytest.raises(UnsteeredError, match="not finite"):
        check_steering(llama_model, 1)


@pytest.mark.parametrize(
    ("layer", "positions", "prefix", "new", "reaches"),
    [
        (2, "bos", [0, 5, 6], 8, False),  # behind the last block no other position reads it
        (2, "bos", [0], 8, True),  # but the first token is drawn from it
        (1, "bos", [0, 5, 6], 8, True),
        (2, "all", [0, 5, 6], 1, True),
        (0, "generated", [0, 5], 1, False),  # one token is drawn, and nothing behind it
        (0, "generated", [0, 5], 2, True),
        (2, "not-bos", [0], 1, False),
    ],
)
def test_prove_steering_asks_the_tokens_that_are_drawn(tiny_model, layer, positions, prefix, new, reaches) -> None:
    ready = nullcontext() if reaches else pytest.raises(UnsteeredError, match=f"positions {positions}: choose")
    with ready:
        # a constant would be no shift at all behind a LayerNorm
        check_steering(tiny_model, layer, torch.linspace(-1, 2, 32), positions=positions, prefix=prefix, new=new)


def test_a_block_without_one_residual_stream_is_refused(llama_model: ResidualModel) -> None:
    norm = llama_model.hf.get_output_embeddings()  # returns (batch, pos, vocabulary)
    llama_model.blocks[0] = norm
    with pytest.raises(ModelError, match=r"expected \(batch, pos, 32\)"), capture(llama_model, [0]):
        logits(llama_model)


def test_two_threads_shift_one_model_each_for_itself(llama_model: ResidualModel) -> None:
    """Their forwards are interleaved step by step, with the hooks of both in place."""
    turn = threading.Barrier(2)
    plain, rows = logits(llama_model), [noise(llama_model.d_model, seed=seed) for seed in (1, 2)]
    alone = []
    for row in rows:
        with shift_layers(llama_model, {1: row}):
            alone.append(logits(llama_model))

    def work(row: Tensor) -> tuple[Tensor, Tensor]:
        with shift_layers(llama_model, {1: row}), capture(llama_model, [1]) as read:
            turn.wait()
            steered = logits(llama_model)
            own = read[1].clone()
            turn.wait()
        return steered, own

    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(work, rows))
    for (steered, own), wanted, row in zip(found, alone, rows, strict=True):
        assert torch.equal(steered, wanted)
        with capture(llama_model, [1]) as read:
            logits(llama_model)
        torch.testing.assert_close(own, read[1] + row)
    assert torch.equal(logits(llama_model), plain)


def test_a_model_that_reads_from_both_sides_is_refused(make_tokenizer: Callable) -> None:
    from transformers import BertConfig, BertLMHeadModel

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=64, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=64, bos_token_id=0, initializer_range=0.2,
    )  # fmt: skip
    model = ResidualModel(BertLMHeadModel(config).eval(), make_tokenizer(), blocks_path="bert.encoder.layer")
    with pytest.raises(UnsteeredError, match="both sides"):
        check_steering(model, 0)


def test_reading_ends_behind_the_deepest_layer(tiny_model: ResidualModel) -> None:
    batch = tiny_model.batch(tiny_model.encode(["the cat ran", "a dog"]))
    reached: list[int] = []
    hooks = [
        block.register_forward_hook(lambda *_, at=at: reached.append(at)) for at, block in enumerate(tiny_model.blocks)
    ]
    with torch.no_grad():
        found = read_layers(tiny_model, batch, [1, 0])
        assert reached == [0, 1]
        with capture(tiny_model, [0, 1]) as whole:
            tiny_model.hf(**batch, use_cache=False)
    for hook in hooks:
        hook.remove()
    assert all(torch.equal(found[at], whole[at]) for at in (0, 1))
    assert not any(block._forward_hooks for block in tiny_model.blocks)
    with pytest.raises(InputError, match="no layer is asked for"):
        read_layers(tiny_model, batch, [])
    with torch.no_grad(), shift_layers(tiny_model, {1: torch.ones(32)}):  # what is read is what the next block reads
        assert torch.allclose(read_layers(tiny_model, batch, [1])[1], found[1] + 1, atol=1e-6)
