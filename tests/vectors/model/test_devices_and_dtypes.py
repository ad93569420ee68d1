"""Models in half precision, offloaded by accelerate and quantised are steered without a copy of their weights."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers.families import FAMILIES
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoModelForCausalLM, PreTrainedModel

import steer
from vectors.concepts.vector import ConceptVector
from vectors.model.hooks import block_device, capture, shift_layers
from vectors.model.residual_model import ResidualModel
from vectors.model.steering_check import check_steering

SEQUENCES = [[0, 5, 9, 12, 7, 33], [0, 30, 4]]
LAYERS = (0, 1, 2)
LARGE = (
    1024  # elements from which a copied tensor counts; larger than the sample that the fingerprint takes of each tensor
)
HALVES = ("GPT-2", "GPT-NeoX", "Llama", "Gemma 2", "Mixtral", "Jamba")


class Copies(TorchDispatchMode):
    """Record every operation that copies a whole weight while the mode is active, except inside `silent` blocks."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        super().__init__()
        self._names = {weight.untyped_storage().data_ptr(): name for name, weight in weights.items()}
        self.found: list[str] = []
        self.silent = False

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func in (torch.ops.aten._to_copy.default, torch.ops.aten.clone.default, torch.ops.aten.copy_.default):
            source = args[1] if func is torch.ops.aten.copy_.default else args[0]
            if type(source) in (Tensor, nn.Parameter) and source.numel() > LARGE and not self.silent:
                self.found += filter(None, [self._names.get(source.untyped_storage().data_ptr())])
        return func(*args, **(kwargs or {}))


@contextmanager
def uncopied(hf: PreTrainedModel, *, in_forwards: bool = True) -> Iterator[None]:
    """Fail if the weights of a model are copied, except for what quantised modules unpack in their own forward."""
    before = {name: weight for name, weight in hf.named_parameters() if not weight.is_meta}
    plain = {name: weight for name, weight in before.items() if type(weight) is nn.Parameter}
    where = {name: weight.data_ptr() for name, weight in plain.items()}
    with Copies(plain) as copies, ExitStack() as hooks:
        if not in_forwards:
            hooks.callback(hf.register_forward_pre_hook(lambda *_: setattr(copies, "silent", True)).remove)
            hooks.callback(hf.register_forward_hook(lambda *_: setattr(copies, "silent", False)).remove)
        yield
    assert not copies.found
    assert all(weight is before.get(name, weight) for name, weight in hf.named_parameters())
    assert {name: weight.data_ptr() for name, weight in plain.items()} == where


def forward(model: ResidualModel) -> tuple[Tensor, dict[int, Tensor]]:
    with torch.no_grad(), capture(model, LAYERS) as read:
        logits = model.hf(**model.batch(SEQUENCES), use_cache=False).logits
    return logits, dict(read)


def delta(model: ResidualModel) -> Tensor:
    return 3 * torch.randn(model.d_model, generator=torch.Generator().manual_seed(1))


def check_shift(model: ResidualModel) -> None:
    logits, plain = forward(model)
    for layer in LAYERS:
        check_steering(model, layer)
        with shift_layers(model, {layer: delta(model)}):
            moved, read = forward(model)
        assert all(torch.equal(read[lower], plain[lower]) for lower in range(layer))
        assert torch.equal(read[layer], plain[layer] + delta(model).to(plain[layer]))
        assert not any(torch.equal(read[upper], plain[upper]) for upper in range(layer + 1, 3))
        assert not torch.equal(moved, logits)
        with shift_layers(model, {layer: torch.zeros(model.d_model)}):
            assert torch.equal(forward(model)[0], logits)


def texts(model: ResidualModel, *, batch_size: int = 3) -> steer.SampleSet:
    direction = delta(model) / delta(model).norm()
    concept = ConceptVector(
        name="cat", model=model.name, model_hash=model.hash, layer=1, direction=direction,
        mean=torch.zeros(model.d_model), gap=3.0, method="mean-difference", positions="all",
    )  # fmt: skip
    return steer.sample(model, steer.compose({concept: 1.0}), n=6, seed=3, max_tokens=10, batch_size=batch_size)


def logprobs(model: ResidualModel, tokens: list[int], shift: Tensor | None) -> float:
    """Log-probabilities of the tokens of a text, from one plain forward without cache."""
    ids = torch.tensor([[*model.start_ids(), *tokens]])
    with torch.no_grad(), shift_layers(model, {} if shift is None else {1: shift}):
        scores = torch.log_softmax(model.hf(ids, use_cache=False).logits[0, :-1].double(), dim=-1)
    return float(scores.gather(1, ids[0, 1:, None]).sum())


def check_costs(model: ResidualModel, runs: steer.SampleSet, *, off: float) -> None:
    shift = 3 * delta(model) / delta(model).norm()
    for run in runs:
        assert run.pressure["total"] > 0 and run.logprob_steered != run.logprob_base
        for said, told in ((run.logprob_base, None), (run.logprob_steered, shift)):
            assert said == pytest.approx(logprobs(model, run.tokens, told), abs=off * len(run.tokens))


# Half precision


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bfloat16", "float16"])
@pytest.mark.parametrize("name", HALVES)
def test_shifts_are_cast_and_weights_are_not_copied(name: str, dtype: torch.dtype, make_tokenizer: Callable) -> None:
    hf = FAMILIES[name].build().to(dtype)
    met: list[Tensor] = []

    def move(hidden: Tensor, shift: Tensor) -> Tensor:
        met.append(shift)
        return hidden + shift

    with uncopied(hf):
        model = ResidualModel(hf, make_tokenizer(), name=name)
        assert model.hf is hf and model.dtype == dtype and not model.precise
        check_shift(model)
        with shift_layers(model, {1: delta(model)}, interventions={1: move}):
            forward(model)
        runs = texts(model)
    assert (
        met[0].dtype == dtype and met[0].device == block_device(model, 1) == next(model.blocks[1].parameters()).device
    )
    check_costs(model, runs, off=0.1)


def test_copied_weights_are_noticed(make_tokenizer: Callable) -> None:
    hf = FAMILIES["Llama"].build()
    for copy in (hf.lm_head.weight.clone, hf.lm_head.weight.bfloat16, hf.lm_head.weight.T.contiguous):
        with pytest.raises(AssertionError), uncopied(hf):
            copy()


# Weights that accelerate loads for each forward


def on_disk(hf: PreTrainedModel, blocks_path: str) -> dict[str, str]:
    """A device map with one block on disk and the others on the CPU."""
    base = hf.base_model_prefix
    parts = {name: "cpu" for name, _ in hf.named_children() if name != base}
    parts |= {f"{base}.{name}": "cpu" for name, _ in hf.base_model.named_children() if f"{base}.{name}" != blocks_path}
    return parts | {f"{blocks_path}.{layer}": "disk" if layer == 1 else "cpu" for layer in LAYERS}


@pytest.mark.parametrize("way", ["cpu", "auto", "a block on disk", "cpu_offload", "disk_offload"])
@pytest.mark.parametrize("name", ["GPT-2", "Llama", "Jamba"])  # the first family ties its embeddings to its head
def test_offloaded_models_are_steered_like_others(
    name: str, way: str, tmp_path: Path, make_tokenizer: Callable
) -> None:
    accelerate = pytest.importorskip("accelerate")
    plain = ResidualModel(FAMILIES[name].build(), make_tokenizer(), name=name)
    if way in ("cpu_offload", "disk_offload"):
        hf, cpu = FAMILIES[name].build(), torch.device("cpu")
        if way == "cpu_offload":
            accelerate.cpu_offload(hf, execution_device=cpu)
        else:
            accelerate.disk_offload(hf, tmp_path, execution_device=cpu)
    else:
        plain.hf.save_pretrained(tmp_path)
        places = {"cpu": {"": "cpu"}, "auto": "auto"}.get(way) or on_disk(plain.hf, plain.blocks_path)
        hf = AutoModelForCausalLM.from_pretrained(tmp_path, device_map=places, offload_folder=tmp_path / "off").eval()
    away = [key for key, weight in hf.named_parameters() if weight.is_meta]
    assert bool(away) == (way not in ("cpu", "auto"))  # before a forward their values are not here
    with uncopied(hf):
        model = ResidualModel(hf, make_tokenizer(), name=name)
        assert model.device == block_device(model, 1) == torch.device("cpu")
        assert model.hash == plain.hash
        check_shift(model)
        found = texts(model)
    for mine, other in zip(forward(model)[1].values(), forward(plain)[1].values(), strict=True):
        torch.testing.assert_close(mine, other)
    assert [run.tokens for run in found] == [run.tokens for run in texts(plain)]
    assert [key for key, weight in hf.named_parameters() if weight.is_meta] == away  # and neither are they after it


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a second device")
@pytest.mark.parametrize("name", ["GPT-2", "Llama", "Jamba"])
def test_a_model_on_two_devices_is_steered_like_others(name: str, tmp_path: Path, make_tokenizer: Callable) -> None:
    pytest.importorskip("accelerate")
    plain = ResidualModel(FAMILIES[name].build(), make_tokenizer(), name=name)
    plain.hf.save_pretrained(tmp_path)
    places = {part: 0 if place == "disk" else place for part, place in on_disk(plain.hf, plain.blocks_path).items()}
    hf = AutoModelForCausalLM.from_pretrained(tmp_path, device_map=places).eval()
    model = ResidualModel(hf, make_tokenizer(), name=name)
    assert (block_device(model, 0).type, block_device(model, 1).type) == ("cpu", "cuda")
    check_shift(model)
    check_costs(plain, texts(model), off=1e-3)


# Quantised weights


def eight_bits_of_torch(_folder: Path) -> PreTrainedModel:
    with pytest.warns(Warning):  # torch itself recommends torchao
        return torch.ao.quantization.quantize_dynamic(WIDE.build(), {nn.Linear}, dtype=torch.qint8)


def of_bitsandbytes(folder: Path, **wanted: object) -> PreTrainedModel:
    pytest.importorskip("bitsandbytes")
    from transformers import BitsAndBytesConfig

    WIDE.build().save_pretrained(folder)
    config = BitsAndBytesConfig(**wanted)
    return AutoModelForCausalLM.from_pretrained(folder, quantization_config=config, device_map={"": "cpu"}).eval()


def of_torchao(_folder: Path) -> PreTrainedModel:
    quantization = pytest.importorskip("torchao.quantization")
    hf = WIDE.build()
    quantization.quantize_(hf, quantization.Int8WeightOnlyConfig())
    return hf


WIDE = replace(FAMILIES["Llama"], own={"hidden_size": 64, "intermediate_size": 128, "head_dim": 16})
QUANTISED: dict[str, tuple[Callable[[Path], PreTrainedModel], float]] = {
    # and the tolerance of costs: if activations are quantised as well, costs depend on the other rows of the batch
    "dynamic int8": (eight_bits_of_torch, 0.2),
    "bitsandbytes 8-bit": (lambda folder: of_bitsandbytes(folder, load_in_8bit=True), 0.2),
    "bitsandbytes 4-bit": (lambda folder: of_bitsandbytes(folder, load_in_4bit=True), 1e-4),
    "torchao 8-bit": (of_torchao, 1e-4),
}


@pytest.mark.parametrize("kind", QUANTISED)
def test_quantised_models_are_steered_without_dequantising(kind: str, tmp_path: Path, make_tokenizer: Callable) -> None:
    make, off = QUANTISED[kind]
    hf = make(tmp_path)
    with uncopied(hf, in_forwards=False):
        model = ResidualModel(hf, make_tokenizer(), name=kind)
        assert model.hf is hf and not model.precise
        assert (
            model.hash == ResidualModel(hf, make_tokenizer()).hash != ResidualModel(WIDE.build(), make_tokenizer()).hash
        )
        check_shift(model)
        runs = texts(model)
    check_costs(model, runs, off=off)
