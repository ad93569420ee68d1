"""A model's weights, also where another library keeps them elsewhere between forwards or packs them: place and name."""

import hashlib
from collections.abc import Iterator
from typing import Any, Final

import torch
from torch import Tensor, nn

_SAMPLED: Final = 1024  # weights of each tensor that enter the hash


def device_of(module: nn.Module) -> torch.device | None:
    """Return where a module computes, or None where it has no weights.

    That is where its weights lie or, of weights that accelerate brings from elsewhere for each forward, where to.
    """
    weight = next(module.parameters(), None)
    if weight is None or not weight.is_meta:
        return None if weight is None else weight.device
    places = (getattr(hook, "execution_device", None) for part in module.modules() for hook in _hooks(part))
    return torch.device(next((place for place in places if place is not None), weight.device))


def is_quantised(hf: Any) -> bool:
    """Whether weights of a model are kept in fewer bits than it computes in, by whichever library."""
    subclassed = any(type(weight) is not nn.Parameter for weight in hf.parameters())
    return subclassed or bool(getattr(hf, "is_quantized", False)) or any(held.is_quantized for _, held in _state(hf))


def fingerprint(hf: Any, *shape: int) -> str:
    """Return a SHA-256 over a model's type, some numbers, the shapes of its weights and a fixed sample of their signs.

    Signs, because casting a checkpoint to another dtype keeps them and any training step flips some; of integers, as
    quantised weights are kept in, the values.
    """
    digest = hashlib.sha256(" ".join(map(str, (hf.config.model_type, *shape))).encode())
    held = {name: held for name, held in _state(hf) if not held.is_floating_point()}
    elsewhere, tied = _elsewhere(hf), getattr(hf, "all_tied_weights_keys", {})
    for name, weight in sorted((held | dict(hf.named_parameters())).items()):
        if weight.is_meta and name in tied:  # one weight of two names, kept elsewhere under both
            continue
        digest.update(f"{name} {tuple(weight.shape)}".encode())
        flat = _flat(elsewhere[name][name.rpartition(".")[2]] if name in elsewhere else weight)
        sample = flat[:: max(1, flat.numel() // _SAMPLED)][:_SAMPLED]
        signs = torch.signbit(sample.float()) if sample.is_floating_point() else sample  # packed bits have no sign
        digest.update(signs.cpu().numpy().tobytes())
    return digest.hexdigest()


def _hooks(module: nn.Module) -> list[Any]:
    """Return what accelerate does before and after a module's forward."""
    hook = getattr(module, "_hf_hook", None)
    return list(getattr(hook, "hooks", [hook]))


def _elsewhere(hf: nn.Module) -> dict[str, Any]:
    """Return, by its name, the mapping that accelerate keeps each weight in that is not in the model itself."""
    found: dict[str, Any] = {}
    for path, module in hf.named_modules():
        for kept in (getattr(hook, "weights_map", None) for hook in _hooks(module)):
            if kept is not None:
                own = (name for name, weight in module.named_parameters(recurse=False) if weight.is_meta)
                found |= {f"{path}.{name}": kept for name in own}
    return found


def _state(hf: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of a model's state dict."""
    for name, held in hf.state_dict().items():
        yield from _tensors(name, held)


def _tensors(name: str, held: Any) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors in an item of a state dict: quantised modules of torch keep weight and bias in one."""
    if isinstance(held, Tensor):
        yield name, held
    elif isinstance(held, tuple):
        for number, part in enumerate(held):
            yield from _tensors(f"{name}.{number}", part)


def _flat(weight: Tensor) -> Tensor:
    """Return a tensor's values in one row, those that it stands for where it does not show what it packs."""
    weight = weight.detach()
    if weight.is_quantized:
        weight = weight.int_repr()
    try:
        return weight.reshape(-1)
    except NotImplementedError:
        return weight.dequantize().reshape(-1)
