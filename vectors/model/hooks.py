"""Read and shift a model's residual stream, with hooks that are removed when their ``with`` block ends."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vectors.common.errors import InputError, ModelError
from vectors.model.interventions import Intervention, add
from vectors.model.residual_model import ResidualModel
from vectors.model.weights import device_of


@contextmanager
def capture(model: ResidualModel, layers: Sequence[int]) -> Iterator[dict[int, Float[Tensor, "batch pos d_model"]]]:
    """Yield a dict that every forward fills with the residual stream after the blocks of ``layers``.

    The values include all shifts, also of ``shift_layers`` blocks entered later: they are what the next block reads.
    Only forwards of the current thread are captured. The tensors are not detached: use ``torch.no_grad()`` unless
    gradients are wanted.

    Raises:
        InputError: The model does not have a layer.
        ModelError: (during the forward) A block does not return a single residual stream.
    """
    streams: dict[int, Tensor] = {}
    for layer in layers:
        model.check_layer(layer)

    def make_hook(layer: int) -> Callable[..., None]:
        def hook(_block: nn.Module, _inputs: Any, output: Any) -> None:
            streams[layer] = _stream(model, output)

        return hook

    with ExitStack() as hooks:
        for layer in dict.fromkeys(layers):
            hook = only_this_thread(make_hook(layer))
            hooks.callback(model.blocks[layer].register_forward_hook(hook).remove)
        yield streams


class _StopForward(Exception):
    """Raised inside a forward to end it after the last layer needed."""


def read_layers(
    model: ResidualModel, batch: Mapping[str, Tensor], layers: Sequence[int]
) -> dict[int, Float[Tensor, "batch pos d_model"]]:
    """Return the residual stream after the blocks of ``layers``, from a forward that stops after the deepest of them.

    The tensors are not detached: use ``torch.no_grad()`` unless gradients are wanted.

    Raises:
        InputError: There are no layers, or the model does not have one of them.
        ModelError: A block does not return a single residual stream.
    """
    if not layers:
        raise InputError("there are no layers to read: give at least one")

    def stop(*_: Any) -> None:
        raise _StopForward

    with capture(model, layers) as streams:  # registered first, so its hooks run before `stop`
        hook = model.blocks[max(layers)].register_forward_hook(only_this_thread(stop))
        try:
            model.hf(**batch, use_cache=False, **model.last_only)
        except _StopForward:
            pass
        finally:
            hook.remove()
    return streams


@contextmanager
def shift_layers(
    model: ResidualModel, shifts: Mapping[int, Tensor], *, interventions: Mapping[int, Intervention] | None = None
) -> Iterator[None]:
    """Add ``shifts[layer]`` to the output of each of these blocks, in every forward inside the ``with`` block.

    Forwards of other threads are not shifted, so several threads can sample one model. The model is unchanged
    afterwards, also after an error.

    Args:
        model: The model.
        shifts: For each layer one shift for all samples (``"d_model"``), one per sample (``"batch d_model"``), or one
            per position (``"batch pos d_model"``). With a KV cache, a forward has only the new positions, so only they
            are shifted. Shifts are copied on entry, unless they require gradients: those are read at each forward.
        interventions: For each layer how the shift is applied, by default `add`.

    Raises:
        InputError: The model does not have a layer, or a shift has another shape or is not finite.
    """
    checked = {layer: _checked_shift(model, layer, shift) for layer, shift in shifts.items()}
    with shift_layers_unchecked(model, checked, interventions):
        yield


@contextmanager
def shift_layers_unchecked(
    model: ResidualModel, shifts: Mapping[int, Tensor], interventions: Mapping[int, Intervention] | None = None
) -> Iterator[None]:
    """Do the same as ``shift_layers`` with valid shifts on their block's device, without checks and copies.

    It does not synchronise with the GPU, so a forward inside it can be captured as a CUDA graph.
    """

    def make_hook(layer: int) -> Callable[..., Any]:
        intervention = (interventions or {}).get(layer, add)

        def hook(_block: nn.Module, _inputs: Any, output: Any) -> Any:
            hidden = _stream(model, output)
            shifted = intervention(hidden, _broadcast(shifts[layer], hidden, layer))
            if isinstance(output, list):
                return [shifted, *output[1:]]
            return (shifted, *output[1:]) if isinstance(output, tuple) else shifted

        return hook

    with ExitStack() as hooks:
        for layer in shifts:
            hook = only_this_thread(make_hook(layer))
            # prepended, so that capture() sees the shift
            hooks.callback(model.blocks[layer].register_forward_hook(hook, prepend=True).remove)
        yield


def only_this_thread(hook: Callable[..., Any]) -> Callable[..., Any]:
    """Return a hook that acts only on forwards of the current thread: all threads share the modules."""
    owner = threading.get_ident()

    def guarded(*arguments: Any) -> Any:
        return hook(*arguments) if threading.get_ident() == owner else None

    return guarded


def block_device(model: ResidualModel, layer: int) -> torch.device:
    """Return the device of a block's output."""
    return device_of(model.blocks[layer]) or model.device


def _checked_shift(model: ResidualModel, layer: int, shift: Tensor) -> Tensor:
    """Check a shift and return it, or a copy of it, on its block's device."""
    model.check_layer(layer)
    if not 1 <= shift.ndim <= 3 or shift.shape[-1] != model.d_model:
        raise InputError(f"shift at layer {layer} is {tuple(shift.shape)}: expected ([batch, [pos,]] {model.d_model})")
    if not bool(shift.isfinite().all()):
        raise InputError(f"shift at layer {layer} holds NaN or infinity: give finite numbers")
    if not bool(shift.detach().float().square().sum(-1).isfinite().all()):  # a norm would turn it into zeros
        raise InputError(
            f"shift at layer {layer} has values of up to {float(shift.detach().abs().max()):.3g}, whose squares exceed "
            "float32: make it smaller"
        )
    device = block_device(model, layer)
    return shift.to(device) if shift.requires_grad else shift.detach().clone().to(device)


def _broadcast(shift: Tensor, hidden: Tensor, layer: int) -> Tensor:
    """Return the shift in the dtype and on the device of ``hidden``, with three dimensions that broadcast to it."""
    if shift.ndim > 1 and (len(shift) != len(hidden) or (shift.ndim == 3 and shift.shape[1] != hidden.shape[1])):
        raise InputError(
            f"shift at layer {layer} is {tuple(shift.shape)}, the batch {tuple(hidden.shape)}: "
            "give one row per sample, or one for all"
        )
    wide = shift[None, None] if shift.ndim == 1 else shift[:, None] if shift.ndim == 2 else shift
    return wide.to(hidden)


def _stream(model: ResidualModel, output: Any) -> Tensor:
    """Return the residual stream in a block's output: the tensor itself, or the first item of a tuple or list."""
    hidden = output[0] if isinstance(output, tuple | list) else output
    if not isinstance(hidden, Tensor) or hidden.ndim != 3 or hidden.shape[-1] != model.d_model:
        shape = tuple(hidden.shape) if isinstance(hidden, Tensor) else type(hidden).__name__
        raise ModelError(
            f"a block of {model.name!r} returned {shape}: expected (batch, pos, {model.d_model}), "
            "one residual stream: give a model that has one"
        )
    return hidden
