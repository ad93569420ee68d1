"""Where the keys and values of texts that are written side by side are kept: in slots of a fixed cache, or grown."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin

from vectors.decoding.growing_kv_cache import GrowingKVCache, check_cache
from vectors.model.hooks import shift_layers_unchecked
from vectors.model.interventions import Intervention
from vectors.model.loading import block_configs, is_out_of_memory
from vectors.model.residual_model import ResidualModel

_PROBE = (0, 1, 1, 0, 1)  # ids after the start token of a text that both ways must read alike
_AGREE: WeakKeyDictionary[ResidualModel, bool] = WeakKeyDictionary()


class KVCache(Protocol):
    """Rows of texts, read token by token."""

    refills: bool
    """Whether a row can begin a new text while the others go on."""

    def prefill(self, rows: Int[Tensor, " some"], ids: Sequence[int], shifts: Mapping[int, Tensor]) -> None:
        """Read the first ids of the texts of some rows, shifted by `"some pos d_model"`, or alike where nothing is."""

    def step(
        self, tokens: Int[Tensor, " rows"], places: Int[Tensor, " rows"], shifts: Mapping[int, Tensor], width: int
    ) -> Float[Tensor, "rows vocab"]:
        """Read one token a row, at the row's place (all below `width`), and return the logits of the next."""

    def keep(self, rows: Int[Tensor, " some"]) -> None:
        """Go on with some rows only, in that order."""

    def close(self) -> None:
        """Let go of all keys and values."""


class SlotKVCache:
    """Rows that may each be at another place of its text, in a cache of fixed size.

    A row that begins a new text writes over the old one's keys and values as it goes: what lies beyond its place is
    hidden from it.
    """

    refills = True

    def __init__(
        self, model: ResidualModel, rows: int, capacity: int, interventions: Mapping[int, Intervention] | None = None
    ) -> None:
        self._model, self._rows, self._capacity, self._interventions = model, rows, capacity, interventions
        self._layers = [_SlotLayer(self) for _ in range(model.n_layers)]
        self._cache = Cache(layers=list(self._layers))
        self._columns = torch.arange(capacity, device=model.device)
        self._hidden = float(torch.finfo(model.dtype).min)
        self._every = torch.arange(rows, device=model.device)
        self.aim: tuple[Tensor, Tensor | int, int] = (self._every, 0, 0)

    def room(self, keys: Tensor) -> Tensor:
        """Return the store of all rows' keys or values, for a layer that reads its first ones."""
        return keys.new_zeros(self._rows, keys.shape[1], self._capacity, keys.shape[3])

    def prefill(self, rows: Int[Tensor, " some"], ids: Sequence[int], shifts: Mapping[int, Tensor]) -> None:
        """Read the first ids of some rows' texts; see `KVCache`."""
        count, length = (len(rows) if shifts else 1), len(ids)
        read = torch.tensor([list(ids)] * count, device=self._model.device)
        visible = self._columns[None, :length] <= self._columns[:length, None]
        self.aim = (rows, length, length)
        self._forward(read, self._columns[None, :length].expand(count, -1), visible.expand(count, 1, -1, -1), shifts)

    def step(
        self, tokens: Int[Tensor, " rows"], places: Int[Tensor, " rows"], shifts: Mapping[int, Tensor], width: int
    ) -> Float[Tensor, "rows vocab"]:
        """Read one token a row; see `KVCache`."""
        self.aim = (self._every, places, width)
        visible = self._columns[None, :width] <= places[:, None]
        return self._forward(tokens[:, None], places[:, None], visible[:, None, None, :], shifts)

    def keep(self, rows: Int[Tensor, " some"]) -> None:
        """Go on with some rows only; see `KVCache`."""
        self._rows, self._every = len(rows), self._every[: len(rows)]
        for layer in self._layers:
            layer.keep(rows)

    def close(self) -> None:
        """Let go of all keys and values."""
        for layer in self._layers:
            layer.keep(self._every[:0])

    def _forward(self, ids: Tensor, places: Tensor, visible: Tensor, shifts: Mapping[int, Tensor]) -> Tensor:
        mask = torch.zeros_like(visible, dtype=self._model.dtype).masked_fill(~visible, self._hidden)
        with shift_layers_unchecked(self._model, shifts, self._interventions):
            output = self._model.hf(
                input_ids=ids, position_ids=places, attention_mask=mask, past_key_values=self._cache, use_cache=True,
                **self._model.last_only,
            )  # fmt: skip
        logits: Tensor = output.logits[:, -1]
        return logits


class _SlotLayer(CacheLayerMixin):  # type: ignore[no-untyped-call]
    """One block's keys and values: each row's at its own place."""

    is_sliding = False
    is_compileable = True

    def __init__(self, slots: SlotKVCache) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._slots = slots
        self._stores: tuple[Tensor, ...] = ()

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Make room as soon as the shapes are known."""
        self._stores = tuple(self._slots.room(states) for states in (key_states, value_states))
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Write what is new at its place and return all that may be read."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        rows, places, width = self._slots.aim
        rows = rows.to(key_states.device)
        for store, states in zip(self._stores, (key_states, value_states), strict=True):
            if isinstance(places, int):
                store[rows, :, :width] = states
            else:
                store[rows, :, places.to(states.device)] = states[:, :, 0]
        if isinstance(places, int):  # several tokens of new texts, which read nothing before them
            return key_states, value_states
        keys, values = self._stores
        return keys[:, :, :width], values[:, :, :width]

    def keep(self, rows: Tensor) -> None:
        """Keep some rows only."""
        self._stores = tuple(store[rows.to(store.device)] for store in self._stores)

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Not asked, as the mask is given."""
        return self._slots.aim[2], 0

    def get_seq_length(self) -> int:
        """Not asked, as the places are given."""
        return 0

    def get_max_length(self) -> int:
        """No model writes beyond it."""
        return -1

    get_max_cache_shape = get_max_length  # its name in earlier transformers


def make_kv_cache(
    model: ResidualModel, rows: int, capacity: int, interventions: Mapping[int, Intervention] | None = None
) -> KVCache:
    """Return slots for a model that reads texts in them as it reads them alone, else rows that start together.

    Raises:
        ModelError: a model that reads on from no cache as it reads a whole text.
    """
    if _sees_all(model, capacity) and supports_slots(model):
        return SlotKVCache(model, rows, capacity, interventions)
    check_cache(model)
    return GrowingKVCache(model, interventions)


def _sees_all(model: ResidualModel, capacity: int) -> bool:
    """Whether every block's attention reaches all positions of so long a text, and positions can be told."""
    config = model.hf.config.get_text_config(decoder=True)
    reaches = [reach for block in block_configs(config) for reach in _reaches(block)]
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    narrow = any(isinstance(reach, int) and 0 < reach < capacity for reach in reaches)  # 0 or -1 is none
    local = kinds - {"full_attention", "sliding_attention", "chunked_attention"}
    implementation = getattr(config, "_attn_implementation", "eager")
    return model.takes_position_ids and not narrow and not local and implementation in ("sdpa", "eager")


def _reaches(config: Any) -> Iterator[Any]:
    """Yield how far a block looks back, by the names that families give it, and whence on it turns positions otherwise.

    In a text beyond that, rotations that depend on the longest text of a batch would turn all others too.
    """
    yield from (getattr(config, key, None) for key in ("sliding_window", "attention_chunk_size", "window_size"))
    rope = getattr(config, "rope_parameters", None) or {}
    for each in (rope, *(kind for kind in rope.values() if isinstance(kind, Mapping))):
        if each.get("rope_type") in ("longrope", "dynamic"):
            yield each.get("original_max_position_embeddings")


def supports_slots(model: ResidualModel) -> bool:
    """Tell, once a model, whether texts that are read in slots, begun at different steps, give the plain logits."""
    if model not in _AGREE:
        try:
            _AGREE[model] = _agrees(model)
        except Exception as error:  # whatever a model that knows no such cache may raise: it is read the other way then
            if is_out_of_memory(error):
                raise
            _AGREE[model] = False
    return _AGREE[model]


def _agrees(model: ResidualModel) -> bool:
    ids = [model.bos_id or 0, *_PROBE]
    with torch.inference_mode():
        plain = model.hf(torch.tensor([ids], device=model.device), use_cache=False).logits[0].float()
        slots = SlotKVCache(model, 2, len(ids))
        slots.prefill(torch.arange(2, device=model.device), ids[:1], {})
        worst = 0.0
        for step in range(1, 2 * len(ids)):
            # the second row begins anew half-way through
            places = [min(step, len(ids) - 1), 1 + (step - 1) % (len(ids) - 1)]
            here = torch.tensor(places, device=model.device)
            logits = slots.step(torch.tensor(ids, device=model.device)[here], here, {}, len(ids)).float()
            worst = max(worst, float((logits - plain[here]).abs().max()))
    # half precision rounds; a place or a mask that is not heeded changes far more
    return bool(worst <= (0.001 if model.precise else 0.1) * float(plain.std()))
