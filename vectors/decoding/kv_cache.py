"""KV caches of the decode loop: slots of fixed size, which rows reuse, or a cache that grows with the texts."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin

from vectors.model.hooks import shift_layers_unchecked
from vectors.model.interventions import Intervention
from vectors.model.loading import block_configs, is_out_of_memory
from vectors.model.output_head import final_states, logits_from
from vectors.model.residual_model import ResidualModel

_WIDTHS = 32  # attention rounds alike over all widths that fill vector registers, of 16 numbers or fewer
_PROBE = (0, 1, 1, 0, 1)  # ids after the start token of the text that checks the slots
_SUPPORTED: WeakKeyDictionary[ResidualModel, bool] = WeakKeyDictionary()


class KVCache(Protocol):
    """The keys and values of a batch, one row a text."""

    refillable: bool
    """Whether a row can start a new text while other rows continue."""

    def prefill(self, rows: Int[Tensor, " some"], ids: Sequence[int], shifts: Mapping[int, Tensor]) -> None:
        """Read the same first ids in some rows, with shifts of shape `"some pos d_model"` by layer, or with none."""

    def step(
        self, tokens: Int[Tensor, " rows"], positions: Int[Tensor, " rows"], shifts: Mapping[int, Tensor], width: int
    ) -> Float[Tensor, "rows width"]:
        """Read one token a row at the row's position, all below `width`, and return the final states of the rows."""

    def select_rows(self, rows: Int[Tensor, " some"]) -> None:
        """Continue with some rows only, in the given order."""

    def close(self) -> None:
        """Free all keys and values."""


class SlotKVCache:
    """A cache of fixed size, whose rows may each be at a different position.

    A row that starts a new text overwrites the keys and values of the old one. The attention mask hides everything
    after the row's position.
    """

    refillable = True

    def __init__(
        self, model: ResidualModel, rows: int, capacity: int, interventions: Mapping[int, Intervention] | None = None
    ) -> None:
        capacity = _round_up(capacity)
        self._model, self._rows, self._capacity, self._interventions = model, rows, capacity, interventions
        self._layers = [_SlotLayer(self) for _ in range(model.n_layers)]
        self._cache = Cache(layers=list(self._layers))
        self._columns = torch.arange(capacity, device=model.device)
        self._mask_value = float(torch.finfo(model.dtype).min)
        self._all_rows = torch.arange(rows, device=model.device)
        self.target: tuple[Tensor, Tensor | int, int] = (self._all_rows, 0, 0)

    def allocate(self, states: Tensor) -> Tensor:
        """Return empty storage for all rows' keys or values, given the first ones of a layer."""
        return states.new_zeros(self._rows, states.shape[1], self._capacity, states.shape[3])

    def prefill(self, rows: Int[Tensor, " some"], ids: Sequence[int], shifts: Mapping[int, Tensor]) -> None:
        """Read the same first ids in some rows; see `KVCache`."""
        count, length = (len(rows) if shifts else 1), len(ids)
        batch = torch.tensor([list(ids)] * count, device=self._model.device)
        visible = self._columns[None, :length] <= self._columns[:length, None]
        self.target = (rows, length, length)
        self._forward(batch, self._columns[None, :length].expand(count, -1), visible.expand(count, 1, -1, -1), shifts)

    def step(
        self, tokens: Int[Tensor, " rows"], positions: Int[Tensor, " rows"], shifts: Mapping[int, Tensor], width: int
    ) -> Float[Tensor, "rows width"]:
        """Read one token a row; see `KVCache`."""
        width = _round_up(width)
        self.target = (self._all_rows, positions, width)
        visible = self._columns[None, :width] <= positions[:, None]
        return self._forward(tokens[:, None], positions[:, None], visible[:, None, None, :], shifts)

    def select_rows(self, rows: Int[Tensor, " some"]) -> None:
        """Continue with some rows only; see `KVCache`."""
        self._rows, self._all_rows = len(rows), self._all_rows[: len(rows)]
        for layer in self._layers:
            layer.select_rows(rows)

    def close(self) -> None:
        """Free all keys and values."""
        for layer in self._layers:
            layer.select_rows(self._all_rows[:0])

    def _forward(self, ids: Tensor, positions: Tensor, visible: Tensor, shifts: Mapping[int, Tensor]) -> Tensor:
        mask = torch.zeros_like(visible, dtype=self._model.dtype).masked_fill(~visible, self._mask_value)
        with shift_layers_unchecked(self._model, shifts, self._interventions):
            arguments = {
                "input_ids": ids, "position_ids": positions, "attention_mask": mask, "past_key_values": self._cache,
                "use_cache": True,
            }  # fmt: skip
            return final_states(self._model, arguments, last=True)[:, -1]


def _round_up(width: int) -> int:
    return -(-width // _WIDTHS) * _WIDTHS


class _SlotLayer(CacheLayerMixin):  # type: ignore[no-untyped-call]
    """The keys and values of one block."""

    is_sliding = False
    is_compileable = True

    def __init__(self, cache: SlotKVCache) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._cache = cache
        self._stores: tuple[Tensor, ...] = ()

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Allocate the storage once the shapes are known."""
        self._stores = tuple(self._cache.allocate(states) for states in (key_states, value_states))
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Store new keys and values at their positions and return those that attention may read."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        rows, positions, width = self._cache.target
        rows = rows.to(key_states.device)
        for store, states in zip(self._stores, (key_states, value_states), strict=True):
            if isinstance(positions, int):
                store[rows, :, :width] = states
            else:
                store[rows, :, positions.to(states.device)] = states[:, :, 0]
        if isinstance(positions, int):  # a prefill: nothing comes before its tokens
            return key_states, value_states
        keys, values = self._stores
        return keys[:, :, :width], values[:, :, :width]

    def select_rows(self, rows: Tensor) -> None:
        """Keep some rows only."""
        self._stores = tuple(store[rows.to(store.device)] for store in self._stores)

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Return the sizes for building a mask; unused, as the mask is given."""
        return self._cache.target[2], 0

    def get_seq_length(self) -> int:
        """Return 0; unused, as the positions are given."""
        return 0

    def get_max_length(self) -> int:
        """Return -1 for no limit."""
        return -1

    get_max_cache_shape = get_max_length  # the name in earlier versions of transformers


def make_kv_cache(
    model: ResidualModel, rows: int, capacity: int, interventions: Mapping[int, Intervention] | None = None
) -> KVCache:
    """Return slots if the model supports them, else a growing cache.

    Raises:
        ModelError: decoding from a cache differs from reading the whole text.
    """
    if _has_full_attention(model, capacity) and supports_slots(model):
        return SlotKVCache(model, rows, capacity, interventions)
    from vectors.decoding.growing_kv_cache import GrowingKVCache, check_cache  # only a model without slots needs it

    check_cache(model)
    return GrowingKVCache(model, interventions)


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
        try:
            _SUPPORTED[model] = _slots_agree(model)
        except Exception as error:  # a model that knows no such cache may raise anything
            if is_out_of_memory(error):
                raise
            _SUPPORTED[model] = False
    return _SUPPORTED[model]


def _slots_agree(model: ResidualModel) -> bool:
    ids = [model.bos_id or 0, *_PROBE]
    with torch.inference_mode():
        full = model.hf(torch.tensor([ids], device=model.device), use_cache=False).logits[0].float()
        cache = SlotKVCache(model, 2, len(ids))
        cache.prefill(torch.arange(2, device=model.device), ids[:1], {})
        largest = 0.0
        for step in range(1, 2 * len(ids)):
            # the second row starts again half-way
            positions = [min(step, len(ids) - 1), 1 + (step - 1) % (len(ids) - 1)]
            current = torch.tensor(positions, device=model.device)
            states = cache.step(torch.tensor(ids, device=model.device)[current], current, {}, len(ids))
            logits = logits_from(model, states).float()
            largest = max(largest, float((logits - full[current]).abs().max()))
    # the tolerance is for half precision; an ignored position or mask changes far more
    return bool(largest <= max((0.001 if model.precise else 0.1) * float(full.std()), 3 * model.batch_noise))
