"""Reading and shifting a model's residual stream, through hooks that never outlive their ``with`` block."""

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
    """Yield a dict that each forward fills with the residual stream right after the blocks of ``layers``.

    What is read is what the next block reads: shifts are in it, whichever ``with`` block was entered first.
    Only forwards of the thread that entered the block are read, as only those are shifted by ``shift_layers``.
    Nothing is detached: read under ``torch.no_grad()`` unless gradients are wanted.

    Raises:
        InputError: A layer the model does not have.
        ModelError: (at the forward) a block whose output is not one residual stream.
    """
    read: dict[int, Tensor] = {}
    for layer in layers:
        model.check_layer(layer)

    def reader(layer: int) -> Any:
        def hook(_block: nn.Module, _inputs: Any, output: Any) -> None:
            read[layer] = _stream(model, output)

        return hook

    with ExitStack() as hooks:
        for layer in dict.fromkeys(layers):
            hooks.callback(model.blocks[layer].register_forward_hook(only_this_thread(reader(layer))).remove)
        yield read


class _Enough(Exception):
    """Ends a forward from inside it: what was wanted is read."""


def read_layers(
    model: ResidualModel, batch: Mapping[str, Tensor], layers: Sequence[int]
) -> dict[int, Float[Tensor, "batch pos d_model"]]:
    """Return the residual stream after the blocks of ``layers``, by one forward that ends behind the deepest of them.

    Nothing is detached: read under ``torch.no_grad()`` unless gradients are wanted.

    Raises:
        InputError: A layer the model does not have, or none.
        ModelError: A block whose output is not one residual stream.
    """
    if not layers:
        raise InputError("no layer is asked for: give one at least")

    def enough(*_: Any) -> None:
        raise _Enough

    with capture(model, layers) as found:  # whose hooks were entered before, and so run before
        hook = model.blocks[max(layers)].register_forward_hook(only_this_thread(enough))
        try:
            model.hf(**batch, use_cache=False, **model.last_only)
        except _Enough:
            pass
        finally:
            hook.remove()
    return found


@contextmanager
def shift_layers(
    model: ResidualModel, deltas: Mapping[int, Tensor], *, interventions: Mapping[int, Intervention] | None = None
) -> Iterator[None]:
    """Add ``deltas[layer]`` to the output of each such block, for every forward inside the ``with`` block.

    Forwards of other threads are left alone, so that several can sample one model at once.

    Args:
        model: The model; it is as it was before once the block is left, whichever way.
        deltas: Per layer one shift for all (``"d_model"``), one a sample (``"batch d_model"``), or one a position
            (``"batch pos d_model"``). With a KV cache a forward holds only the new positions: only they are shifted.
            Copied on entry, except where they require gradients: then they are used as they stand at each forward.
        interventions: What else than adding a shift does, by layer.

    Raises:
        InputError: A layer the model does not have; a shift of another shape than above, or not finite.
    """
    with shift_layers_unchecked(
        model, {layer: _placed(model, layer, delta) for layer, delta in deltas.items()}, interventions
    ):
        yield


@contextmanager
def shift_layers_unchecked(
    model: ResidualModel, placed: Mapping[int, Tensor], interventions: Mapping[int, Intervention] | None = None
) -> Iterator[None]:
    """Do what ``shift_layers`` does with shifts known to be good: on their block's device, neither checked nor copied.

    Nothing here waits for a GPU, so that a forward inside it can be recorded.
    """

    def adder(layer: int) -> Any:
        move = (interventions or {}).get(layer, add)

        def hook(_block: nn.Module, _inputs: Any, output: Any) -> Any:
            hidden = _stream(model, output)
            moved = move(hidden, _broadcast(placed[layer], hidden, layer))
            if isinstance(output, list):
                return [moved, *output[1:]]
            return (moved, *output[1:]) if isinstance(output, tuple) else moved

        return hook

    with ExitStack() as hooks:
        for layer in placed:  # prepended, so that capture() sees the shift
            hooks.callback(
                model.blocks[layer].register_forward_hook(only_this_thread(adder(layer)), prepend=True).remove
            )
        yield


def only_this_thread(hook: Callable[..., Any]) -> Callable[..., Any]:
    """Return a hook that acts on forwards of this thread alone: the modules are shared by all of them."""
    owner = threading.get_ident()

    def guarded(*given: Any) -> Any:
        return hook(*given) if threading.get_ident() == owner else None

    return guarded


def _placed(model: ResidualModel, layer: int, delta: Tensor) -> Tensor:
    """Return the shift, checked, on its block's device."""
    model.check_layer(layer)
    if not 1 <= delta.ndim <= 3 or delta.shape[-1] != model.d_model:
        raise InputError(f"shift at layer {layer} is {tuple(delta.shape)}: expected ([batch, [pos,]] {model.d_model})")
    if not bool(delta.isfinite().all()):
        raise InputError(f"shift at layer {layer} holds NaN or infinity: give finite numbers")
    device = block_device(model, layer)
    return delta.to(device) if delta.requires_grad else delta.detach().clone().to(device)


def block_device(model: ResidualModel, layer: int) -> torch.device:
    """Return where a block's output lies."""
    return device_of(model.blocks[layer]) or model.device


def _broadcast(delta: Tensor, hidden: Tensor, layer: int) -> Tensor:
    """Return the shift in the dtype and on the device of ``hidden``, broadcastable to it."""
    if delta.ndim > 1 and (len(delta) != len(hidden) or (delta.ndim == 3 and delta.shape[1] != hidden.shape[1])):
        given, met = tuple(delta.shape), tuple(hidden.shape)
        raise InputError(f"shift at layer {layer} is {given}, the batch {met}: give a row a sample, or one for all")
    spread = delta[None, None] if delta.ndim == 1 else delta[:, None] if delta.ndim == 2 else delta
    return spread.to(hidden)


def _stream(model: ResidualModel, output: Any) -> Tensor:
    """Return the residual stream in what a block returned: the tensor itself, or the first item of several."""
    hidden = output[0] if isinstance(output, tuple | list) else output
    if not isinstance(hidden, Tensor) or hidden.ndim != 3 or hidden.shape[-1] != model.d_model:
        shape = tuple(hidden.shape) if isinstance(hidden, Tensor) else type(hidden).__name__
        wanted = f"expected (batch, pos, {model.d_model}), one residual stream: give a model that has one"
        raise ModelError(f"a block of {model.name!r} returned {shape}: {wanted}")
    return hidden
