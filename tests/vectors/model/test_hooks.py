"""The residual stream is read where transformers reads it, and shifted there by exactly the given shift."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from helpers.padding import pad_left
from torch import Tensor, nn

from vectors.common.errors import InputError, ModelError
from vectors.model.hooks import capture, read_layers, shift_layers
from vectors.model.residual_model import ResidualModel
from vectors.model.steering_check import check_steering

SEQUENCES = [[0, 5, 9, 12, 7], [0, 3, 4]]
LAYERS = (0, 1, 2)


def batch_of(model: ResidualModel, side: str = "right") -> dict[str, Tensor]:
    return model.batch(SEQUENCES) if side == "right" else pad_left(model, SEQUENCES)


def logits(model: ResidualModel, batch: dict[str, Tensor] | None = None) -> Tensor:
    with torch.no_grad():
        return model.hf(**(batch or model.batch(SEQUENCES)), use_cache=False).logits


def noise(*shape: int, seed: int = 1) -> Tensor:
    return 3 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def hooks_of(model: ResidualModel) -> list[int]:
    return [
        len(module._forward_hooks) + len(module._forward_pre_hooks) + len(module._backward_hooks)
        for module in model.hf.modules()
    ]


@pytest.mark.parametrize("side", ["right", "left"])
def test_capture_gives_the_hidden_states_of_transformers(tiny_model: ResidualModel, side: str) -> None:
    batch = batch_of(tiny_model, side)
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
    # transformers normalises the last one: the head on ours, normalised, must give the logits
    torch.testing.assert_close(before_norm[0], out.logits, rtol=1e-5, atol=1e-5)


def test_padding_does_not_change_what_is_read(tiny_model: ResidualModel) -> None:
    alone = []
    for sequence in SEQUENCES:
        with torch.no_grad(), capture(tiny_model, LAYERS) as read:
            tiny_model.hf(**tiny_model.batch([sequence]), use_cache=False)
        alone.append({layer: read[layer][0] for layer in LAYERS})
    for side in ("right", "left"):
        batch = batch_of(tiny_model, side)
        with torch.no_grad(), capture(tiny_model, LAYERS) as read:
            tiny_model.hf(**batch, use_cache=False)
        for row in range(2):
            real = batch["attention_mask"][row].bool()
            for layer in LAYERS:
                torch.testing.assert_close(read[layer][row][real], alone[row][layer], rtol=1e-4, atol=1e-4)


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
def test_a_shift_of_a_row_changes_only_that_row(tiny_model: ResidualModel, side: str) -> None:
    batch = batch_of(tiny_model, side)
    base = logits(tiny_model, batch)
    delta = noise(2, 32)
    delta[0] = 0
    with shift_layers(tiny_model, {1: delta}):
        moved = logits(tiny_model, batch)
    assert torch.equal(moved[0], base[0])
    assert not torch.allclose(moved[1], base[1])
    with shift_layers(tiny_model, {1: delta[1]}):  # one shift for all rows has the same effect
        torch.testing.assert_close(logits(tiny_model, batch)[1], moved[1])


def test_a_shift_of_a_position_changes_only_later_ones(tiny_model: ResidualModel) -> None:
    batch = tiny_model.batch([[0, 5, 9, 12, 7]])
    base = logits(tiny_model, batch)
    delta = torch.zeros(1, 5, 32)
    delta[0, 3] = noise(32)
    with shift_layers(tiny_model, {0: delta}):
        moved = logits(tiny_model, batch)
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


def test_the_model_is_unchanged_afterwards(tiny_model: ResidualModel) -> None:
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


def test_a_shift_is_copied_unless_it_requires_gradients(llama_model: ResidualModel) -> None:
    delta = noise(32)
    with shift_layers(llama_model, {0: delta}):
        before = logits(llama_model)
        delta.zero_()
        assert torch.equal(logits(llama_model), before)
    learned = torch.zeros(32, requires_grad=True)
    with shift_layers(llama_model, {0: learned}):
        for _ in range(2):  # twice, because no graph may remain from the step before
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
    model.blocks[1] = inner  # a block that returns a tuple, as in some architectures
    with capture(model, [1]) as read, shift_layers(model, {1: delta}):
        assert torch.equal(logits(model), expected)
    assert read[1].shape == (2, 5, 32)


@pytest.mark.parametrize(
    ("delta", "message"),
    [
        (torch.zeros(31), r"\(31,\)"),
        (torch.zeros(1, 1, 1, 32), r"\(1, 1, 1, 32\)"),
        (torch.full((32,), float("nan")), "NaN"),
        (torch.full((32,), float("inf")), "NaN or infinity"),
        (torch.full((32,), 1e38), "whose squares exceed float32"),
    ],
)
def test_unusable_shifts_are_refused(llama_model: ResidualModel, delta: Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message), shift_layers(llama_model, {0: delta}):
        pass


@pytest.mark.parametrize("layer", [-1, 3, True, 1.0])
def test_unknown_layers_are_refused(llama_model: ResidualModel, layer: int) -> None:
    with pytest.raises(InputError, match="layers 0 to 2"), shift_layers(llama_model, {layer: torch.zeros(32)}):
        pass
    with pytest.raises(InputError, match="layers 0 to 2"), capture(llama_model, [layer]):
        pass


@pytest.mark.parametrize("shape", [(3, 32), (1, 32), (2, 4, 32), (1, 5, 32)])
def test_a_shift_that_does_not_fit_the_batch_is_refused(llama_model: ResidualModel, shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="one row per sample"), shift_layers(llama_model, {0: torch.ones(shape)}):
        logits(llama_model)


def test_a_block_without_one_residual_stream_is_refused(llama_model: ResidualModel) -> None:
    norm = llama_model.hf.get_output_embeddings()  # returns (batch, pos, vocabulary)
    llama_model.blocks[0] = norm
    with pytest.raises(ModelError, match=r"expected \(batch, pos, 32\)"), capture(llama_model, [0]):
        logits(llama_model)


def test_threads_shift_one_model_independently(llama_model: ResidualModel) -> None:
    """The forwards of two threads are interleaved while the hooks of both are registered."""
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


def test_read_layers_stops_after_the_deepest_layer(tiny_model: ResidualModel) -> None:
    batch = tiny_model.batch(tiny_model.encode(["the cat ran", "a dog"]))
    reached: list[int] = []
    hooks = [
        block.register_forward_hook(lambda *_, layer=layer: reached.append(layer))
        for layer, block in enumerate(tiny_model.blocks)
    ]
    with torch.no_grad():
        streams = read_layers(tiny_model, batch, [1, 0])
        assert reached == [0, 1]
        with capture(tiny_model, [0, 1]) as whole:
            tiny_model.hf(**batch, use_cache=False)
    for hook in hooks:
        hook.remove()
    assert all(torch.equal(streams[layer], whole[layer]) for layer in (0, 1))
    assert not any(block._forward_hooks for block in tiny_model.blocks)
    with pytest.raises(InputError, match="there are no layers to read"):
        read_layers(tiny_model, batch, [])
    with torch.no_grad(), shift_layers(tiny_model, {1: torch.ones(32)}):  # shifts are included
        assert torch.allclose(read_layers(tiny_model, batch, [1])[1], streams[1] + 1, atol=1e-6)
