"""Families of models are read, shifted and sampled correctly, each as a tiny random model."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
import torch
from helpers.families import FAMILIES, WINDOW, Family
from helpers.padding import pad_left
from torch import Tensor, nn
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

import steer
from vectors.concepts.vector import ConceptVector
from vectors.decoding.kv_cache.choose_kv_cache import make_kv_cache
from vectors.decoding.kv_cache.growing_kv_cache import GrowingKVCache
from vectors.decoding.kv_cache.slot_kv_cache import SlotKVCache
from vectors.decoding.token_sampling import Settings, sample_tokens, token_noise
from vectors.model.hooks import capture, shift_layers
from vectors.model.residual_model import ResidualModel
from vectors.model.steering_check import check_steering

SEQUENCES = [
    [0, 5, 9, 12, 7, 33, 8, 41, 22, 60, 3, 17, 28, 50, 6, 19],
    [0, 30, 4, 55, 11, 26],
]  # one longer than the window
LAYERS = (0, 1, 2)
ENDS = frozenset(range(1, 9))  # ids that end a text, so that texts end at different lengths


@dataclass(frozen=True)
class Subject:
    """A family's model, and its logits and residual stream on a padded batch without a shift."""

    name: str
    model: ResidualModel
    batch: dict[str, Tensor]
    logits: Tensor
    read: dict[int, Tensor]

    def again(self) -> tuple[Tensor, dict[int, Tensor]]:
        return forward(self.model, self.batch)


def forward(model: ResidualModel, batch: dict[str, Tensor]) -> tuple[Tensor, dict[int, Tensor]]:
    with torch.no_grad(), capture(model, range(model.n_layers)) as read:
        logits = model.hf(**batch, use_cache=False).logits
    return logits, dict(read)


def make_subject(name: str, family: Family, tokenizer: object) -> Subject:
    if family.kind not in CONFIG_MAPPING:
        pytest.skip(f"this transformers knows no {family.kind}")
    model = ResidualModel(family.build(), tokenizer, name=name, blocks_path=family.blocks_path)
    batch = model.batch(SEQUENCES)
    return Subject(name, model, batch, *forward(model, batch))


QUICK = (
    "GPT-2", "GPT-J", "GPT-NeoX", "OPT", "BLOOM", "Falcon", "Phi-3", "Llama", "Mistral", "Qwen2", "Qwen3", "Gemma",
    "Gemma 2", "Gemma 3", "OLMo 2", "Mixtral", "GPT-OSS", "DeepSeek V3", "Falcon-H1", "Qwen3-Next", "LFM2", "LLaVA",
    "CTRL",
)  # fmt: skip
"""Families of the default run: the most used ones, and some of each structure; the others run with the slow tests."""


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in FAMILIES],
)
def subject(request: pytest.FixtureRequest, make_tokenizer: Callable) -> Iterator[Subject]:
    yield make_subject(request.param, FAMILIES[request.param], make_tokenizer())


def delta(layer: int = 0) -> Tensor:
    return 3 * torch.randn(32, generator=torch.Generator().manual_seed(layer))


# Reading


def check_read(subject: Subject) -> None:
    """Compare what is read with what transformers records, what the next block reads and what the final norm reads."""
    model, read = subject.model, {}
    inputs: dict[int, Tensor] = {}
    ends: list[Tensor] = []  # outputs of modules after the blocks, given the last layer read

    def enters(layer: int) -> Callable:
        def hook(_block: nn.Module, args: tuple, named: dict) -> None:
            inputs[layer] = args[0] if args else named["hidden_states"]

        return hook

    def behind(_module: nn.Module, args: tuple, out: object) -> None:
        if args and isinstance(out, Tensor) and 2 in read and isinstance(args[0], Tensor):
            ends.extend([out] if torch.equal(args[0], read[2]) else [])

    stack = list(model.hf.get_submodule(model.blocks_path))
    inside = {id(part) for part in model.hf.get_submodule(model.blocks_path).modules()}
    hooks = [block.register_forward_pre_hook(enters(layer), with_kwargs=True) for layer, block in enumerate(stack)]
    hooks += [part.register_forward_hook(behind) for part in model.hf.modules() if id(part) not in inside]
    try:
        with torch.no_grad(), capture(model, LAYERS) as read:
            out = model.hf(**subject.batch, use_cache=False, output_hidden_states=True)
    finally:
        for hook in hooks:
            hook.remove()
    for layer in (0, 1):
        assert torch.equal(read[layer], out.hidden_states[layer + 1])
        assert torch.equal(read[layer], inputs[layer + 1])
    assert any(torch.equal(end, out.hidden_states[3]) for end in ends)


def test_capture_gives_the_hidden_states_of_transformers(subject: Subject) -> None:
    assert subject.logits.std() > 0.2
    check_read(subject)


# Shifting


def check_shift(subject: Subject) -> None:
    for layer in LAYERS:
        with shift_layers(subject.model, {layer: delta(layer)}):
            logits, read = subject.again()
        for lower in range(layer):
            assert torch.equal(read[lower], subject.read[lower])
        assert torch.equal(read[layer], subject.read[layer] + delta(layer))
        for upper in range(layer + 1, 3):
            assert not torch.allclose(read[upper], subject.read[upper])
            assert not torch.allclose(read[upper], subject.read[upper] + delta(layer))  # later blocks react to it
        assert not torch.allclose(logits, subject.logits)
        check_steering(subject.model, layer, {"all": delta(layer)})
    after, read = subject.again()
    assert torch.equal(after, subject.logits)


def test_a_shift_is_exactly_delta_and_changes_what_follows(subject: Subject) -> None:
    check_shift(subject)


def test_a_shift_at_a_position_changes_none_before_it(subject: Subject) -> None:
    spread = torch.zeros(2, len(SEQUENCES[0]), 32)
    spread[:, 4] = delta()
    with shift_layers(subject.model, {0: spread}):
        logits, _ = subject.again()
    torch.testing.assert_close(logits[:, :4], subject.logits[:, :4], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(logits[:, 4], subject.logits[:, 4])


def test_a_zero_shift_is_bit_equal(subject: Subject) -> None:
    for zero in (torch.zeros(32), torch.zeros(2, 32), torch.zeros(2, len(SEQUENCES[0]), 32)):
        with shift_layers(subject.model, dict.fromkeys(LAYERS, zero)):
            logits, read = subject.again()
        assert torch.equal(logits, subject.logits)
        assert all(torch.equal(read[layer], subject.read[layer]) for layer in LAYERS)


# Padding


def test_padding_at_either_side_changes_nothing(subject: Subject) -> None:
    model = subject.model
    for batch in (subject.batch, pad_left(model, SEQUENCES)):
        logits, read = forward(model, batch)
        for row, sequence in enumerate(SEQUENCES):
            real = batch["attention_mask"][row].bool()
            alone, alone_read = forward(model, {"input_ids": torch.tensor([sequence])})
            torch.testing.assert_close(logits[row, real], alone[0], rtol=1e-3, atol=1e-3)
            for layer in LAYERS:
                torch.testing.assert_close(read[layer][row, real], alone_read[layer][0], rtol=1e-3, atol=1e-3)


# Sampling


def check_texts(
    model: ResidualModel, prompt: str | None, *, n: int, max_tokens: int, batch_size: int | None = None
) -> None:
    """Compare sampled texts with plain forwards over whole prefixes, a separate hook and the same random numbers.

    A random number may lie on the border of two tokens within float32 precision.
    """
    direction = delta()
    direction /= direction.norm()
    concept = ConceptVector(
        name="cat", model=model.name, model_hash=model.hash, layer=1, direction=direction, mean=torch.zeros(32),
        gap=3.0, method="mean-difference", positions="all",
    )  # fmt: skip
    prefix = model.start_ids() if prompt is None else model.encode([prompt])[0]
    runs = steer.sample(
        model, steer.compose({concept: 1.0}), n=n, seed=3, max_tokens=max_tokens, prompt=prompt, batch_size=batch_size
    )
    assert all(run.pressure["total"] > 0 for run in runs)

    def add(_block: nn.Module, _args: tuple, out: object) -> object:
        return (out[0] + 3 * direction, *out[1:]) if isinstance(out, tuple) else out + 3 * direction

    hook = model.hf.get_submodule(model.blocks_path)[1].register_forward_hook(add)
    try:
        for run in runs:
            ids = list(prefix)
            noise = torch.from_numpy(
                token_noise(3, run.index, max_tokens, model.hf.config.get_text_config().vocab_size)
            )
            for token, numbers in zip(run.tokens, noise, strict=False):
                with torch.no_grad():
                    logits = model.hf(torch.tensor([ids]), use_cache=False).logits[:, -1].double()
                # the token wins also where it is a little more likely: kernels round differently
                logits[0, token] += 2e-3
                assert sample_tokens(logits, numbers[None], Settings()).item() == token
                ids.append(token)
            assert len(run.tokens) == max_tokens or run.tokens[-1] in ENDS
            assert not ENDS.intersection(run.tokens[:-1])
    finally:
        hook.remove()


def test_steered_texts_are_those_of_plain_forwards(subject: Subject) -> None:
    """Within and beyond the attention window of some families; in one batch, and in rows that start later."""
    subject.model.eos_ids = ENDS
    check_texts(subject.model, None, n=6, max_tokens=WINDOW - 3, batch_size=3)
    check_texts(subject.model, "the sea was old", n=4, max_tokens=2 * WINDOW - 4)


def test_families_use_one_of_two_kv_caches(make_tokenizer: Callable) -> None:
    """Both are tested above: slots need attention over the whole text, and position ids or an attention mask."""
    for name, length, way in (
        ("Llama", 40, SlotKVCache), ("Qwen2-MoE", 40, SlotKVCache), ("DeepSeek V3", 40, SlotKVCache),
        ("Gemma 4", WINDOW, SlotKVCache),
        ("GPT-Neo", WINDOW, SlotKVCache), ("GPT-Neo", WINDOW + 1, GrowingKVCache),
        ("Mistral", WINDOW + 1, GrowingKVCache), ("BLOOM", 8, GrowingKVCache), ("Falcon with ALiBi", 8, GrowingKVCache),
        ("Jamba", 8, GrowingKVCache), ("LFM2", 8, GrowingKVCache),
    ):  # fmt: skip
        subject = make_subject(name, FAMILIES[name], make_tokenizer())
        assert isinstance(make_kv_cache(subject.model, 2, length), way), name


# The checks above can fail


@pytest.mark.parametrize("name", ["Llama", "GPT-NeoX", "Gemma 2", "OLMo 2", "Falcon-H1"])
def test_a_hook_in_a_wrong_place_is_noticed(name: str, make_tokenizer: Callable) -> None:
    subject = make_subject(name, FAMILIES[name], make_tokenizer())
    blocks = list(subject.model.blocks)
    inside = [part for part in blocks[1].modules() if isinstance(part, nn.Linear) and part.out_features == 32]
    for wrong in (blocks[0], blocks[2], inside[-1]):  # another block, or a module inside a block
        subject.model.blocks[1] = wrong
        with pytest.raises(AssertionError):
            check_read(subject)
    model = subject.model
    subject.model.blocks[1] = blocks[2]
    with pytest.raises(AssertionError):
        check_texts(model, None, n=8, max_tokens=8)


def test_a_wrong_shift_is_noticed(make_tokenizer: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    subject = make_subject("Llama", FAMILIES["Llama"], make_tokenizer())
    for intervention in (lambda hidden, shift: hidden + 1.001 * shift, lambda hidden, shift: hidden + shift.abs()):
        monkeypatch.setattr("vectors.model.hooks.add", intervention)
        with pytest.raises(AssertionError):
            check_shift(subject)
    monkeypatch.undo()
    check_shift(subject)
