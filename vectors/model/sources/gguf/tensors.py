"""The weights of a GGUF file under the names and in the layout that transformers has."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from vectors.common.errors import ModelError
from vectors.common.validation import quote
from vectors.model.sources.gguf.header import GgufFile, GgufTensor

LLAMA3_ROPE: Final = "rope_freqs.weight"
"""How Llama 3 stretches its positions: it becomes a setting of the config."""

_IN_CONFIG: Final = frozenset((LLAMA3_ROPE,))
_TRANSPOSED: Final = ("attn_qkv.weight", "attn_output.weight", "ffn_up.weight", "ffn_down.weight")


@dataclass(frozen=True)
class Weight:
    """A weight of a transformers model, and the tensor of the file that holds it.

    Attributes:
        name: its name in the state dict.
        shape: its shape there.
        dtype: the dtype to store it in.
        source: the tensor of the file.
    """

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    source: GgufTensor

    @property
    def n_bytes(self) -> int:
        """Its size in that dtype."""
        return prod(self.shape) * self.dtype.itemsize


def read_tensor(file: GgufFile, tensor: GgufTensor) -> np.ndarray:
    """Return a tensor of a file in float32, dequantised.

    Raises:
        ModelError: it holds NaN or infinity.
    """
    from gguf import GGMLQuantizationType, dequantize

    with file.path.open("rb") as stream:
        stream.seek(tensor.start)
        raw = np.frombuffer(stream.read(tensor.end - tensor.start), np.uint8)
    if len(raw) < tensor.end - tensor.start:
        raise ModelError(f"{quote(file.path)} was cut while it was read: download it again")
    rows = raw.reshape(*tensor.shape[:-1], -1)
    with np.errstate(all="ignore"):
        values = dequantize(rows, GGMLQuantizationType(tensor.kind)).astype(np.float32, copy=False)
    if not np.isfinite(values).all():
        raise ModelError(f"{quote(file.path)} holds NaN or infinity in {quote(tensor.name)}: download it again")
    return values.reshape(tensor.shape)


def weights_of(file: GgufFile, hf: Any) -> list[Weight]:
    """Return the weights of a model (on the device `meta`), each with its tensor of the file.

    Raises:
        ModelError: a weight without a tensor, a tensor without a weight, or one of another shape.
    """
    from gguf import MODEL_ARCH, MODEL_ARCH_NAMES, get_tensor_name_map

    kinds: dict[str, MODEL_ARCH] = {name: kind for kind, name in MODEL_ARCH_NAMES.items()}
    names = get_tensor_name_map(kinds[file.architecture], hf.config.num_hidden_layers)
    tied = {id(hf.get_output_embeddings().weight)} if hf.config.tie_word_embeddings else set()
    taken = set(_IN_CONFIG)
    dtype, weights = stored_dtype(file), []
    for name, weight in hf.named_parameters():  # without duplicates: of tied weights only the first
        base, dot, suffix = name.rpartition(".")
        source = names.get_name(base)
        tensor = file.tensors.get(f"{source}{dot}{suffix}")
        if tensor is None and id(weight) in tied:
            tensor = file.tensors["token_embd.weight"]
        if tensor is None:
            raise ModelError(
                f"{quote(file.path)} lacks the weight {name} of a {type(hf).__name__}: convert the model again"
            )
        shape = tuple(weight.shape)
        layout = tensor.shape[::-1] if _is_transposed(file, tensor.name) else tensor.shape
        if layout != shape:
            raise ModelError(
                f"{quote(file.path)} holds {quote(tensor.name)} in shape {layout}, and its header asks for {shape}: "
                "convert the model again"
            )
        taken.add(tensor.name)
        weights.append(Weight(name, shape, dtype if len(shape) > 1 else torch.float32, tensor))
    if left := sorted({*file.tensors} - taken):
        raise ModelError(
            f"{quote(file.path)} holds {len(left)} tensors that transformers' {type(hf).__name__} has no weight for "
            f"({quote(left[0])}): give the model's folder in Hugging Face format"
        )
    return weights


def stored_dtype(file: GgufFile) -> torch.dtype:
    """Return the dtype to keep matrices in: the file's own, or float16 for quantised ones.

    Rounding to float16 moves the next-token distributions of quantised models by 1e-6 to 4e-6 nats, bfloat16 by 1e-4;
    llama.cpp's own arithmetic moves them by 3e-3 to 6e-3.
    """
    sizes: dict[torch.dtype, int] = {}
    own = {0: torch.float32, 1: torch.float16, 30: torch.bfloat16}
    for tensor in file.tensors.values():
        if len(tensor.shape) > 1:
            dtype = own.get(tensor.kind, torch.float16)
            sizes[dtype] = sizes.get(dtype, 0) + prod(tensor.shape)
    return max(sizes, key=lambda dtype: sizes[dtype])


def tensors_of(file: GgufFile, config: Any, weights: list[Weight]) -> Iterator[tuple[str, Tensor]]:
    """Yield the weights, dequantised and in the layout of transformers."""
    for weight in weights:
        values = _as_in_transformers(file, config, weight.source.name, read_tensor(file, weight.source))
        tensor = torch.from_numpy(np.require(values, requirements=["C", "W"]))
        fits = weight.dtype != torch.float16 or float(tensor.abs().max()) <= torch.finfo(torch.float16).max
        yield weight.name, tensor.to(weight.dtype) if fits else tensor


def _as_in_transformers(file: GgufFile, config: Any, name: str, values: np.ndarray) -> np.ndarray:
    """Undo what llama.cpp's converter does to a tensor."""
    if _is_transposed(file, name):
        return values.T
    if file.architecture == "llama" and (".attn_q." in name or ".attn_k." in name):
        # rotary pairs lie side by side there, and half a head apart here
        heads = config.num_attention_heads if ".attn_q." in name else config.num_key_value_heads
        pairs = values.reshape(heads, len(values) // heads // 2, 2, *values.shape[1:])
        return pairs.swapaxes(1, 2).reshape(values.shape)
    if file.architecture in ("gemma2", "gemma3") and name.endswith("norm.weight"):
        return values - 1
    return values


def _is_transposed(file: GgufFile, name: str) -> bool:
    return file.architecture == "gpt2" and name.endswith(_TRANSPOSED)
