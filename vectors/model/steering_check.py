"""Prove that a shift at a layer changes the logits, once a model and layer: a silent no-op is refused."""

from collections.abc import Mapping, Sequence
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float
from torch import Tensor

from vectors.common.errors import ModelError, SteerError, UnsteeredError
from vectors.model.hooks import capture, only_this_thread, shift_layers
from vectors.model.loading import is_out_of_memory, short_message
from vectors.model.positions import shift_by_position
from vectors.model.residual_model import ResidualModel

_PROVEN: WeakKeyDictionary[ResidualModel, set[int]] = WeakKeyDictionary()


def check_steering(
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
            spread = shift_by_position(delta[None], len(ids), len(given), places)
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
    with torch.no_grad(), shift_layers(model, deltas):
        output = model.hf(**model.batch([ids]), use_cache=False, **dict.fromkeys(model.last_only, kept))
    found: Tensor = output.logits[:, -kept:]
    return found


def _prove(model: ResidualModel, layer: int) -> None:
    pattern = torch.randn(model.d_model, generator=torch.Generator().manual_seed(0))
    calls: list[None] = []
    later = min(layer + 1, model.n_layers - 1)

    counter = model.blocks[layer].register_forward_hook(only_this_thread(lambda *_: calls.append(None)))
    try:
        with capture(model, [layer, later]) as read:
            base = _probe(model, {})
    except SteerError:
        raise
    except Exception as error:  # whatever a model may raise that wants an image, another text, or a cache of its own
        if is_out_of_memory(error):
            raise
        mend = "give a decoder-only language model"
        raise ModelError(f"model {model.name!r} reads no token ids alone ({short_message(error)}): {mend}") from error
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
