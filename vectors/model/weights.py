"""The device and the hash of a model's weights, including offloaded (accelerate) and quantised ones."""

import hashlib
from collections.abc import Iterator
from typing import Any, Final

import torch
from torch import Tensor, nn

_N_HASHED: Final = 1024  # weights of each tensor that enter the hash


def device_of(module: nn.Module) -> torch.device | None:
    """Return the device that a module computes on, or None if it has no weights.

    This is the device of its weights or, if accelerate loads them for each forward, the device that it loads them to.
    """
    weight = next(module.parameters(), None)
    if weight is None or not weight.is_meta:
        return None if weight is None else weight.device
    devices = (getattr(hook, "execution_device", None) for part in module.modules() for hook in _accelerate_hooks(part))
    return torch.device(next((device for device in devices if device is not None), weight.device))


def is_quantised(hf: Any) -> bool:
    """Return whether a model has quantised weights, of transformers, torchao, bitsandbytes or torch."""
    subclassed = any(type(weight) is not nn.Parameter for weight in hf.parameters())
    return subclassed or bool(getattr(hf, "is_quantized", False)) or any(value.is_quantized for _, value in _state(hf))


def fingerprint(hf: Any, *shape: int) -> str:
    """Return a SHA-256 over a model's type, the numbers `shape`, and the shapes and a sample of signs of its weights.

    Casting a checkpoint to another dtype keeps the signs, and any training step flips some. Integers, as in quantised
    weights, enter by value.
    """
    digest = hashlib.sha256(" ".join(map(str, (hf.config.model_type, *shape))).encode())
    integers = {name: value for name, value in _state(hf) if not value.is_floating_point()}
    offloaded, tied = _offloaded(hf), getattr(hf, "all_tied_weights_keys", {})
    for name, weight in sorted((integers | dict(hf.named_parameters())).items()):
        if weight.is_meta and name in tied:  # accelerate stores a tied weight under both names
            continue
        digest.update(f"{name} {tuple(weight.shape)}".encode())
        flat = _flat(offloaded[name][name.rpartition(".")[2]] if name in offloaded else weight)
        sample = flat[:: max(1, flat.numel() // _N_HASHED)][:_N_HASHED]
        signs = torch.signbit(sample.float()) if sample.is_floating_point() else sample
        digest.update(signs.cpu().numpy().tobytes())
    return digest.hexdigest()


def memory_of(hf: nn.Module) -> tuple[int, int]:
    """Return the number of a model's weights and the bytes that they take; tied ones count once."""
    weights = dict(_state(hf))
    once = {(value.data_ptr() if not value.is_meta else name): value for name, value in weights.items()}
    return (
        sum(value.numel() for value in once.values()),
        sum(value.numel() * value.element_size() for value in once.values()),
    )


def not_finite_weight(hf: nn.Module) -> str | None:
    """Return the name of a weight that holds NaN or infinity, or None."""
    for name, weight in hf.named_parameters():
        if weight.is_floating_point() and not weight.is_meta and not bool(weight.detach().isfinite().all()):
            return name
    return None


def _accelerate_hooks(module: nn.Module) -> list[Any]:
    """Return the hooks that accelerate has put on a module."""
    hook = getattr(module, "_hf_hook", None)
    return list(getattr(hook, "hooks", [hook]))


def _offloaded(hf: nn.Module) -> dict[str, Any]:
    """Return, for each weight that accelerate has offloaded, the mapping that holds it."""
    mappings: dict[str, Any] = {}
    for path, module in hf.named_modules():
        for mapping in (getattr(hook, "weights_map", None) for hook in _accelerate_hooks(module)):
            if mapping is not None:
                names = (name for name, weight in module.named_parameters(recurse=False) if weight.is_meta)
                mappings |= {f"{path}.{name}": mapping for name in names}
    return mappings


def _state(hf: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of a model's state dict."""
    for name, value in hf.state_dict().items():
        yield from _tensors(name, value)


def _tensors(name: str, value: Any) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors in an item of a state dict: quantised modules of torch store a tuple of weight and bias."""
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, tuple):
        for index, part in enumerate(value):
            yield from _tensors(f"{name}.{index}", part)


def _flat(weight: Tensor) -> Tensor:
    """Return a tensor's values as one row; packed tensors that cannot be reshaped are dequantised."""
    weight = weight.detach()
    if weight.is_quantized:
        weight = weight.int_repr()
    try:
        return weight.reshape(-1)
    except NotImplementedError:
        return weight.dequantize().reshape(-1)
