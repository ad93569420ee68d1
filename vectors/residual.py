"""Reading and shifting a model's residual stream, through hooks that never outlive their ``with`` block."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vectors.checkpoint import brief, out_of_memory
from vectors.errors import InputError, ModelError, SteerError, UnsteeredError
from vectors.model import ResidualModel
from vectors.moves import Move, added
from vectors.positions import on_positions
from vectors.weights import device_of

_PROVEN: WeakKeyDictionary[ResidualModel, set[int]] = WeakKeyDictionary()


@contextmanager
def capture(model: ResidualModel, layers: Sequence[int]) -> Iterator[dict[int, Float[Tensor, "batch pos d_model"]]]:
    """Yield a dict that each forward fills with the residual stream right after the blocks of ``layers``.

    What is read is what the next block reads: shifts are in it, whichever ``with`` block was entered first.
    Only forwards of the thread that entered the block are read, as only those are shifted by ``shifted``.
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
            hooks.callback(model.blocks[layer].register_forward_hook(_own(reader(layer))).remove)
        yield read


class _Enough(Exception):
    """Ends a forward from inside it: what was wanted is read."""


def read(
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
        hook = model.blocks[max(layers)].register_forward_hook(_own(enough))
        try:
            model.hf(**batch, use_cache=False, **model.last_only)
        except _Enough:
            pass
        finally:
            hook.remove()
    return found


@contextmanager
def shifted(
    model: ResidualModel, deltas: Mapping[int, Tensor], *, moves: Mapping[int, Move] | None = None
) -> Iterator[None]:
    """Add ``deltas[layer]`` to the output of each such block, for every forward inside the ``with`` block.

    Forwards of other threads are left alone, so that several can sample one model at once.

    Args:
        model: The model; it is as it was before once the block is left, whichever way.
        deltas: Per layer one shift for all (``"d_model"``), one a sample (``"batch d_model"``), or one a position
            (``"batch pos d_model"``). With a KV cache a forward holds only the new positions: only they are shifted.
            Copied on entry, except where they require gradients: then they are used as they stand at each forward.
        moves: What else than adding a shift does, by layer.

    Raises:
        InputError: A layer the model does not have; a shift of another shape than above, or not finite.
    """
    with adding(model, {layer: _placed(model, layer, delta) for layer, delta in deltas.items()}, moves):
        yield


@contextmanager
def adding(
    model: ResidualModel, placed: Mapping[int, Tensor], moves: Mapping[int, Move] | None = None
) -> Iterator[None]:
    """Do what ``shifted`` does with shifts known to be good: on their block's device, neither checked nor copied.

    Nothing here waits for a GPU, so that a forward inside it can be recorded.
    """

    def adder(layer: int) -> Any:
        move = (moves or {}).get(layer, added)

        def hook(_block: nn.Module, _inputs: Any, output: Any) -> Any:
            hidden = _stream(model, output)
            moved = move(hidden, _broadcast(placed[layer], hidden, layer))
            if isinstance(output, list):
                return [moved, *output[1:]]
            return (moved, *output[1:]) if isinstance(output, tuple) else moved

        return hook

    with ExitStack() as hooks:
        for layer in placed:  # prepended, so that capture() sees the shift
            hooks.callback(model.blocks[layer].register_forward_hook(_own(adder(layer)), prepend=True).remove)
        yield


def prove_steering(
    model: ResidualModel,
    layer: int,
    delta: Float[Tensor, " d_model"] | None = None,
    *,
    positions: str = "all",
    prefix: Sequence[int] | None = None,
    new: int = 2,
) -> None:
    """Prove that a shift at ``layer`` reaches the logits, once per model and layer, and that ``delta`` itself does.

    ``delta`` is tried at ``positions`` of a text of which ``prefix`` (the start token alone, if left out) was given and
    ``new`` tokens at least were drawn; only the logits that tokens are drawn from count.

    Raises:
        InputError: A layer the model does not have.
        ModelError: A model that reads no token ids alone, or a block whose output is not one residual stream.
        UnsteeredError: The block does not run exactly once a forward, a non-zero shift changes nothing (``delta`` may
            be too small for the model's dtype, or at positions that no token drawn reads) or not the next block, or a
            zero shift changes something.
    """
    model.check_layer(layer)
    proven = _PROVEN.setdefault(model, set())
    if layer not in proven:
        _prove(model, layer)
        proven.add(layer)
    if delta is not None and bool(delta.any()):
        given = list(prefix) if prefix is not None else [model.bos_id or 0]
        ids = given + [0, 1][: max(0, new - 1)]  # the last token drawn is read by nothing
        base = _probe(model, {}, ids, len(given) - 1)

        def reaches(places: str) -> bool:
            spread = on_positions(delta[None], len(ids), len(given), places)
            return not torch.equal(_probe(model, {layer: spread}, ids, len(given) - 1), base)

        if reaches(positions):
            return
        where = f"model {model.name!r}, layer {layer}"
        if reaches("all"):
            raise UnsteeredError(
                f"{where}: no token that is drawn here reads a shift at positions {positions}: choose positions all, "
                "or a concept of an earlier layer"
            )
        raise UnsteeredError(
            f"{where}: this shift of length {float(delta.norm()):.3g} is too small to change anything in "
            f"{str(base.dtype).removeprefix('torch.')}: raise the doses or load it in float32"
        )


def _probe(
    model: ResidualModel, deltas: Mapping[int, Tensor], ids: Sequence[int] | None = None, first: int = 0
) -> Tensor:
    """Return the logits of a short text, or of `ids`, from position `first` on, under some shifts."""
    ids = ids or [model.bos_id or 0, 0, 1]
    kept = len(ids) - first
    with torch.no_grad(), shifted(model, deltas):
        output = model.hf(**model.batch([ids]), use_cache=False, **dict.fromkeys(model.last_only, kept))
    found: Tensor = output.logits[:, -kept:]
    return found


def _prove(model: ResidualModel, layer: int) -> None:
    pattern = torch.randn(model.d_model, generator=torch.Generator().manual_seed(0))
    calls: list[None] = []
    later = min(layer + 1, model.n_layers - 1)

    counter = model.blocks[layer].register_forward_hook(_own(lambda *_: calls.append(None)))
    try:
        with capture(model, [layer, later]) as read:
            base = _probe(model, {})
    except SteerError:
        raise
    except Exception as error:  # whatever a model may raise that wants an image, another text, or a cache of its own
        if out_of_memory(error):
            raise
        mend = "give a decoder-only language model"
        raise ModelError(f"model {model.name!r} reads no token ids alone ({brief(error)}): {mend}") from error
    finally:
        counter.remove()
    where = f"model {model.name!r}, layer {layer}"
    if len(calls) != 1:
        raise UnsteeredError(f"{where}: the block ran {len(calls)} times in one forward, not once: steer another layer")
    if not bool(base.isfinite().all()):
        mend = "check its weights" if model.dtype == torch.float32 else "load the model in float32"
        raise UnsteeredError(f"{where}: the unsteered logits are not finite: {mend}")
    other = _probe(model, {}, [model.bos_id or 0, 1, 1])[:, 0].float()
    # half precision rounds otherwise where experts are dealt other tokens, and eight bits where others stand beside:
    # what a later token changes is far more
    most = (0.01 if model.precise else 0.2) * base[:, 0].float().std()
    if bool((other - base[:, 0].float()).abs().max() > most):
        raise UnsteeredError(
            f"model {model.name!r} reads text from both sides (an encoder?): give a decoder-only language model"
        )
    size = float(read[layer].float().norm(dim=-1).median())
    with capture(model, [later]) as shifted_read:
        moved = _probe(model, {layer: pattern / pattern.norm() * max(size, 1.0)})
    if torch.equal(moved, base):
        raise UnsteeredError(f"{where}: a shift of length {size:.3g} left the logits unchanged: steer another layer")
    if later not in read or torch.equal(shifted_read[later], read[later]):
        mend = f"{model.blocks_path!r} names no stack of blocks that read one another, name one"
        raise UnsteeredError(f"{where}: a shift did not reach layer {later}: {mend}")
    # Some GPU kernels do not repeat themselves bit for bit: a difference only counts where the model does.
    if not torch.equal(_probe(model, {layer: torch.zeros(model.d_model)}), base) and torch.equal(
        _probe(model, {}), base
    ):
        raise UnsteeredError(f"{where}: a shift of zero changed the logits: steer another layer")


def _own(hook: Callable[..., Any]) -> Callable[..., Any]:
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
