"""Choose the KV cache of a batch: slots and forks where the model is checked to allow them, else a growing cache."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any
from weakref import WeakKeyDictionary

import torch

from vectors.decoding.kv_cache.fork import Fork
from vectors.decoding.kv_cache.slot_kv_cache import KVCache, SlotKVCache
from vectors.model.hooks import block_device
from vectors.model.interventions import Intervention
from vectors.model.loading import block_configs, is_out_of_memory
from vectors.model.output_head import logits_from
from vectors.model.residual_model import ResidualModel

_PROBE = (0, 1, 1, 0, 1)  # ids after the start token of the text that checks slots and forks
_SUPPORTED: WeakKeyDictionary[ResidualModel, bool] = WeakKeyDictionary()
_FORKS: WeakKeyDictionary[ResidualModel, dict[int, bool]] = WeakKeyDictionary()


def make_kv_cache(
    model: ResidualModel,
    rows: int,
    capacity: int,
    interventions: Mapping[int, Intervention] | None = None,
    fork: Fork | None = None,
) -> KVCache:
    """Return slots if the model supports them, else a growing cache, which has no fork.

    Raises:
        ModelError: decoding from a cache differs from reading the whole text.
    """
    if has_slots(model, capacity):
        return SlotKVCache(model, rows, capacity, interventions, fork)
    from vectors.decoding.kv_cache.growing_kv_cache import (  # only a model without slots needs it
        GrowingKVCache,
        check_cache,
    )

    check_cache(model)
    return GrowingKVCache(model, rows, interventions)


def has_slots(model: ResidualModel, capacity: int) -> bool:
    """Whether the model can be decoded from slots with this many positions."""
    return _has_full_attention(model, capacity) and supports_slots(model)


def _has_full_attention(model: ResidualModel, capacity: int) -> bool:
    """Whether attention reaches all `capacity` positions in every block, and the model takes position ids."""
    config = model.hf.config.get_text_config(decoder=True)
    limits = [limit for block in block_configs(config) for limit in _attention_limits(block)]
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    limited = any(isinstance(limit, int) and 0 < limit < capacity for limit in limits)  # 0 or -1 is no limit
    local = kinds - {"full_attention", "sliding_attention", "chunked_attention"}
    implementation = getattr(config, "_attn_implementation", "eager")
    return model.takes_position_ids and not limited and not local and implementation in ("sdpa", "eager")


def _attention_limits(config: Any) -> Iterator[Any]:
    """Yield the window sizes of a block, and the length from which its rotary embedding depends on the longest text.

    Beyond that length, one long row would change the rotation of all others in the batch.
    """
    yield from (getattr(config, key, None) for key in ("sliding_window", "attention_chunk_size", "window_size"))
    rope = getattr(config, "rope_parameters", None) or {}
    for scaling in (rope, *(value for value in rope.values() if isinstance(value, Mapping))):
        if scaling.get("rope_type") in ("longrope", "dynamic"):
            yield scaling.get("original_max_position_embeddings")


def supports_slots(model: ResidualModel) -> bool:
    """Whether rows in slots, started at different steps, give the logits of plain forwards.

    The check runs once a model.
    """
    if model not in _SUPPORTED:
        _SUPPORTED[model] = _agrees(model, lambda: _slots_agree(model))
    return _SUPPORTED[model]


def supports_fork(model: ResidualModel, layer: int) -> bool:
    """Whether rows that fork after a block give the logits of rows that are computed apart.

    The check runs once a model and layer. Models whose later blocks read keys of earlier ones, for example, fail it.
    """
    checked = _FORKS.setdefault(model, {})
    if layer not in checked:
        checked[layer] = _agrees(model, lambda: _fork_agrees(model, layer))
    return checked[layer]


def _agrees(model: ResidualModel, check: Callable[[], tuple[float, float]]) -> bool:
    """Whether a check gives a small difference between logits, compared with their standard deviation."""
    try:
        with torch.inference_mode():
            difference, std = check()
    except Exception as error:  # a model that knows no such cache may raise anything
        if is_out_of_memory(error):
            raise
        return False
    # the tolerance is for half precision; an ignored position, mask or row changes far more
    return difference <= max((0.001 if model.precise else 0.1) * std, 3 * model.batch_noise)


def _slots_agree(model: ResidualModel) -> tuple[float, float]:
    ids = [model.bos_id or 0, *_PROBE]
    full = model.hf(torch.tensor([ids], device=model.device), use_cache=False).logits[0].float()
    cache = SlotKVCache(model, 2, len(ids))
    cache.prefill(None, ids[:1], {})
    largest = 0.0
    for step in range(1, 2 * len(ids)):
        # the second row starts again half-way
        positions = [min(step, len(ids) - 1), 1 + (step - 1) % (len(ids) - 1)]
        current = torch.tensor(positions, device=model.device)
        states = cache.step(torch.tensor(ids, device=model.device)[current], current, {}, len(ids))
        largest = max(largest, float((logits_from(model, states).float() - full[current]).abs().max()))
    return largest, float(full.std())


def _fork_agrees(model: ResidualModel, layer: int) -> tuple[float, float]:
    rows = torch.tensor([0, 1, 0, 1], device=model.device)
    apart, forked = SlotKVCache(model, 4, len(_PROBE)), SlotKVCache(model, 2, len(_PROBE), fork=Fork(layer, rows))
    shift = torch.randn(4, model.d_model, generator=torch.Generator().manual_seed(0))
    shift[2:] = 0  # the rows of the base model
    shifts = {layer: shift.to(block_device(model, layer))}
    largest = std = 0.0
    for step, token in enumerate(_PROBE):
        tokens = torch.tensor([token, 1 - token], device=model.device)
        positions = torch.full((2,), step, device=model.device)
        logits, other = (
            logits_from(model, cache.step(*inputs, shifts, step + 1)).float()
            for cache, inputs in ((apart, (tokens[rows], positions[rows])), (forked, (tokens, positions)))
        )
        largest, std = max(largest, float((logits - other).abs().max())), max(std, float(logits.std()))
    return largest, std
