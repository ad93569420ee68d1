"""Products with weights that are stored in the order in which a CPU's matrix kernels read them."""

import threading
from typing import Final
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear

_MULTIPLE: Final = 16  # numbers of rows that are worth a packing of their own
_UNKNOWN: Final = (None, None)
_LOCK: Final = threading.Lock()
_USERS: WeakKeyDictionary[nn.Module, int] = WeakKeyDictionary()  # ``with`` blocks that a model is in
_THREAD: Final = threading.local()  # `.weights`: the packed weights of this thread's ``with`` block


class PackedWeights:
    """Inside the ``with`` block, linear layers of this thread multiply by packed copies of their weights.

    Kernels otherwise rearrange each weight at each product, which for few rows takes a third of the time. A product in
    float32 by MKL moreover sums in one order for all numbers of rows. Weights are packed at their first product and
    kept with this object; they take as much memory as the weights. Gradients, other dtypes and devices, and numbers of
    rows that are no multiple of 16 are computed as ever. The model is unchanged after the block.

    Args:
        hf: the transformers model. One thread at a time may use the object.

    >>> model = torch.nn.Sequential(torch.nn.Linear(8, 4))
    >>> weights, inputs = PackedWeights(model), torch.ones(16, 8)
    >>> with torch.no_grad(), weights:
    ...     packed = model(inputs)
    >>> torch.allclose(packed, model(inputs), atol=1e-5)
    True
    """

    def __init__(self, hf: nn.Module) -> None:
        self._hf = hf
        # accelerate and quantisation put a forward of their own into a layer, or derive from it
        self._layers = [
            layer
            for layer in hf.modules()
            if type(layer) is nn.Linear and isinstance(layer.__dict__.get("forward"), _Forward | None)
        ]
        self._outer: list[PackedWeights | None] = []  # what the ``with`` blocks around this one use
        self._packed: dict[nn.Module, tuple[tuple[int, ...] | None, Tensor | None]] = {}

    def __enter__(self) -> None:
        """Let the linear layers multiply by packed weights."""
        with _LOCK:
            _USERS[self._hf] = _USERS.get(self._hf, 0) + 1
            if _USERS[self._hf] == 1:
                for layer in self._layers:
                    layer.__dict__.setdefault("forward", _Forward(layer))
        self._outer.append(getattr(_THREAD, "weights", None))
        _THREAD.weights = self

    def __exit__(self, *_: object) -> None:
        """Restore the linear layers."""
        _THREAD.weights = self._outer.pop()
        with _LOCK:
            _USERS[self._hf] -= 1
            if not _USERS[self._hf]:
                for layer in self._layers:
                    if isinstance(layer.__dict__.get("forward"), _Forward):
                        del layer.__dict__["forward"]

    def multiply(self, layer: nn.Linear, inputs: Float[Tensor, "*rows in"]) -> Float[Tensor, "*rows out"]:
        """Return the output of a linear layer."""
        weight, bias = layer.weight, layer.bias
        rows = inputs.shape[:-1].numel()
        if rows % _MULTIPLE or inputs.dtype != weight.dtype or torch.is_grad_enabled():
            return linear(inputs, weight, bias)
        state = (rows, weight.data_ptr(), 0 if weight.is_inference() else weight._version)
        known, packed = self._packed.get(layer, _UNKNOWN)
        if known != state:
            self._packed.pop(layer, None)  # frees the old one before the new one is made
            packed = _pack(weight, rows)
            self._packed[layer] = state, packed
        if packed is None:
            return linear(inputs, weight, bias)
        flat = inputs.reshape(rows, -1)
        if weight.dtype == torch.float32:
            product = torch.ops.mkl._mkl_linear(flat, packed, weight, bias, rows)
        else:
            product = torch.ops.mkldnn._linear_pointwise(flat, packed, bias, "none", [], "")
        result: Tensor = product.view(*inputs.shape[:-1], -1)
        return result


class _Forward:
    """The forward of a linear layer while its model is in a ``with`` block of any thread."""

    def __init__(self, layer: nn.Linear) -> None:
        self._layer = layer

    def __call__(self, inputs: Tensor) -> Tensor:
        weights: PackedWeights | None = getattr(_THREAD, "weights", None)
        return nn.Linear.forward(self._layer, inputs) if weights is None else weights.multiply(self._layer, inputs)


def _pack(weight: Tensor, rows: int) -> Tensor | None:
    """Return a weight packed for products with so many rows; None if there is no kernel for it."""
    if type(weight) is not nn.Parameter or weight.device.type != "cpu" or not weight.is_contiguous() or not rows:
        return None
    try:
        if weight.dtype == torch.float32:
            packed: Tensor = torch.ops.mkl._mkl_reorder_linear_weight(weight.detach(), rows)
        elif weight.dtype in (torch.bfloat16, torch.float16):
            packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), rows)
        else:
            return None
    except (RuntimeError, AttributeError):  # torch was built without them, or the CPU lacks the instructions
        return None
    return packed
