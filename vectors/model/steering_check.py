"""Check that a shift at a layer changes the logits, so that a model is never sampled unsteered without notice."""

from collections.abc import Mapping, Sequence
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float
from torch import Tensor

from vectors.common.errors import ModelError, SteerError, UnsteeredError
from vectors.model.hooks import capture, only_this_thread, shift_layers
from vectors.model.loading import is_out_of_memory, short_message
from vectors.model.positions import Site, sum_by_layer
from vectors.model.residual_model import ResidualModel, check_finite

_CHECKED: WeakKeyDictionary[ResidualModel, set[int]] = WeakKeyDictionary()
"""Layers of each model that have passed."""


def check_steering(
    model: ResidualModel,
    layer: int,
    shifts: Mapping[str, Float[Tensor, " d_model"]] | None = None,
    *,
    prefix: Sequence[int] | None = None,
    new: int = 2,
) -> None:
    """Check that shifts at ``layer`` reach the logits (once per model and layer), and that ``shifts`` themselves do.

    Args:
        model: The model.
        layer: The layer.
        shifts: Shifts to try together, by the positions where they are added, as in `position_weights`.
        prefix: Token ids of the prompt, by default the start token. Only logits after it, from which tokens are
            sampled, need to change.
        new: How many tokens will be sampled at least.

    Raises:
        InputError: The model does not have the layer.
        ModelError: The model cannot run on token ids alone, or a block does not return a single residual stream.
        UnsteeredError: The block does not run exactly once in a forward; a non-zero shift changes no logits (because
            it is too small for the model's dtype, or no sampled token reads its positions) or does not reach the next
            block; or a zero shift changes the logits.
    """
    model.check_layer(layer)
    checked = _CHECKED.setdefault(model, set())
    if layer not in checked:
        _check_layer(model, layer)
        checked.add(layer)
    if shifts and any(bool(shift.any()) for shift in shifts.values()):
        prompt = list(prefix) if prefix is not None else [model.bos_id or 0]
        ids = prompt + [0, 1][: max(0, new - 1)]  # no token is sampled after the last one
        base = _probe(model, {}, ids, len(prompt) - 1)

        def changes_logits(by_positions: Mapping[Site, Tensor]) -> bool:
            rows = {site: shift[None] for site, shift in by_positions.items()}
            spread = sum_by_layer(rows, len(ids), len(prompt), "all")
            return not torch.equal(_probe(model, spread, ids, len(prompt) - 1), base)

        if changes_logits({(layer, positions): shift for positions, shift in shifts.items()}):
            return
        where = f"model {model.name!r}, layer {layer}"
        longest = max(shifts.values(), key=lambda shift: float(shift.norm()))
        if changes_logits({(layer, "all"): longest}):
            raise UnsteeredError(
                f"{where}: no sampled token reads a shift at positions {', '.join(shifts)}: choose positions all, "
                "or a concept of an earlier layer"
            )
        raise UnsteeredError(
            f"{where}: this shift of length {float(longest.norm()):.3g} is too small to change anything in "
            f"{str(base.dtype).removeprefix('torch.')}: raise the doses or load it in float32"
        )


def _probe(
    model: ResidualModel, shifts: Mapping[int, Tensor], ids: Sequence[int] | None = None, first: int = 0
) -> Tensor:
    """Return the logits of a short text, by default an arbitrary one, from position `first` on."""
    ids = ids or [model.bos_id or 0, 0, 1]
    n_logits = len(ids) - first
    with torch.no_grad(), shift_layers(model, shifts):
        output = model.hf(**model.batch([ids]), use_cache=False, **dict.fromkeys(model.last_only, n_logits))
    logits: Tensor = output.logits[:, -n_logits:]
    return logits


def _check_layer(model: ResidualModel, layer: int) -> None:
    calls: list[None] = []
    next_layer = min(layer + 1, model.n_layers - 1)
    counter = model.blocks[layer].register_forward_hook(only_this_thread(lambda *_: calls.append(None)))
    try:
        with capture(model, [layer, next_layer]) as streams:
            base = _probe(model, {})
    except SteerError:
        raise
    except Exception as error:  # whatever a model raises that needs an image, an encoder text or its own cache
        if is_out_of_memory(error):
            raise
        raise ModelError(
            f"model {model.name!r} cannot run on token ids alone ({short_message(error)}): "
            "give a decoder-only language model"
        ) from error
    finally:
        counter.remove()
    where = f"model {model.name!r}, layer {layer}"
    if len(calls) != 1:
        raise UnsteeredError(f"{where}: the block ran {len(calls)} times in one forward, not once: steer another layer")
    check_finite(model, base, "unsteered logits", error=UnsteeredError)
    other = _probe(model, {}, [model.bos_id or 0, 1, 1])[:, 0].float()
    # In half precision, rounding depends on which tokens share an expert, and in 8 bits on the rest of the batch. A
    # model that reads later tokens changes by far more.
    tolerance = (0.01 if model.precise else 0.2) * base[:, 0].float().std()
    if bool((other - base[:, 0].float()).abs().max() > max(float(tolerance), 3 * model.batch_noise)):
        raise UnsteeredError(
            f"model {model.name!r} reads text from both sides (an encoder?): give a decoder-only language model"
        )
    direction = torch.randn(model.d_model, generator=torch.Generator().manual_seed(0))
    length = float(streams[layer].float().norm(dim=-1).median())
    with capture(model, [next_layer]) as shifted_streams:
        shifted = _probe(model, {layer: direction / direction.norm() * max(length, 1.0)})
    if torch.equal(shifted, base):
        raise UnsteeredError(f"{where}: a shift of length {length:.3g} left the logits unchanged: steer another layer")
    if next_layer not in streams or torch.equal(shifted_streams[next_layer], streams[next_layer]):
        raise UnsteeredError(
            f"{where}: a shift did not reach layer {next_layer}: {model.blocks_path!r} names no stack of blocks that "
            "read one another, name one"
        )
    # Some GPU kernels are not deterministic: a difference counts only if the model repeats itself bit for bit.
    unshifted = _probe(model, {layer: torch.zeros(model.d_model)})
    if not torch.equal(unshifted, base) and torch.equal(_probe(model, {}), base):
        raise UnsteeredError(f"{where}: a shift of zero changed the logits: steer another layer")
