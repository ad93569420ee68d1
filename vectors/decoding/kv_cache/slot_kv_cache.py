"""The KV cache of the decode loop: slots of fixed size, which rows reuse."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin

from vectors.decoding.kv_cache.fork import Fork, fork_rows
from vectors.model.hooks import shift_layers_unchecked
from vectors.model.interventions import Intervention
from vectors.model.output_head import final_states
from vectors.model.residual_model import ResidualModel

_WIDTHS = 32  # attention rounds alike over all widths that fill vector registers, of 16 numbers or fewer


class KVCache(Protocol):
    """The keys and values of a batch, one row a text."""

    refillable: bool
    """Whether a row can start a new text while other rows continue."""

    def prefill(self, rows: Int[Tensor, " some"] | None, ids: Sequence[int], shifts: Mapping[int, Tensor]) -> None:
        """Read the same first ids in some rows or all, with shifts of shape `"some pos d_model"` by layer, or none."""

    def step(
        self, tokens: Int[Tensor, " rows"], positions: Int[Tensor, " rows"], shifts: Mapping[int, Tensor], width: int
    ) -> Float[Tensor, "final width"]:
        """Read one token a row at the row's position, all below `width`, and return the final states of the rows."""

    def select_rows(self, rows: Int[Tensor, " some"]) -> None:
        """Continue with some rows only, in the given order."""

    def close(self) -> None:
        """Free all keys and values."""


class SlotKVCache:
    """A cache of fixed size, whose rows may each be at a different position.

    A row that starts a new text overwrites the keys and values of the old one. The attention mask hides everything
    after the row's position. With a fork, `rows` are those of the blocks up to the fork; tokens and positions are given
    for these, and final states returned for those above it.
    """

    refillable = True

    def __init__(
        self,
        model: ResidualModel,
        rows: int,
        capacity: int,
        interventions: Mapping[int, Intervention] | None = None,
        fork: Fork | None = None,
    ) -> None:
        self._model, self._interventions = model, interventions
        self._rows, self._fork = rows, fork
        self.capacity = capacity
        self._layers = [_SlotLayer(self, layer) for layer in range(model.n_layers)]
        self._cache = Cache(layers=list(self._layers))
        self._columns = torch.arange(self.capacity, device=model.device)
        self._mask_value = float(torch.finfo(model.dtype).min)
        self.target: tuple[Tensor | None, Tensor | int, int] = (None, 0, 0)

    def rows_of(self, layer: int) -> int:
        """Return how many rows a block has."""
        return self._rows if self._fork is None or layer <= self._fork.layer else len(self._fork.rows)

    def positions_of(self, layer: int, positions: Tensor) -> Tensor:
        """Return the position of each row of a block."""
        return positions if self._fork is None or layer <= self._fork.layer else positions[self._fork.rows]

    def prefill(self, rows: Int[Tensor, " some"] | None, ids: Sequence[int], shifts: Mapping[int, Tensor]) -> None:
        """Read the same first ids in some rows or all; see `KVCache`."""
        count, length = (len(rows) if rows is not None and shifts else 1), len(ids)
        batch = torch.tensor([list(ids)] * count, device=self._model.device)
        visible = self._columns[None, :length] <= self._columns[:length, None]
        self.target = (rows, length, length)
        positions = self._columns[None, :length].expand(count, -1)
        self._forward(batch, positions, visible.expand(count, 1, -1, -1), shifts, fork=None)

    def step(
        self, tokens: Int[Tensor, " rows"], positions: Int[Tensor, " rows"], shifts: Mapping[int, Tensor], width: int
    ) -> Float[Tensor, "final width"]:
        """Read one token a row; see `KVCache`."""
        width = min(-(-width // _WIDTHS) * _WIDTHS, self.capacity)
        self.target = (None, positions, width)
        visible = self._columns[None, :width] <= positions[:, None]
        return self._forward(tokens[:, None], positions[:, None], visible[:, None, None, :], shifts, fork=self._fork)

    def select_rows(
        self, rows: Int[Tensor, " some"], *, upper: Int[Tensor, " upper"] | None = None, fork: Fork | None = None
    ) -> None:
        """Continue with some rows only, and above the fork with the rows `upper`, which `fork` maps to them."""
        for layer in self._layers:
            is_upper = self._fork is not None and layer.index > self._fork.layer
            layer.select_rows(upper if upper is not None and is_upper else rows)
        self._rows, self._fork = len(rows), fork

    def close(self) -> None:
        """Free all keys and values."""
        for layer in self._layers:
            layer.select_rows(self._columns[:0])

    def _forward(
        self, ids: Tensor, positions: Tensor, visible: Tensor, shifts: Mapping[int, Tensor], *, fork: Fork | None
    ) -> Tensor:
        mask = torch.zeros_like(visible, dtype=self._model.dtype).masked_fill(~visible, self._mask_value)
        with (
            shift_layers_unchecked(self._model, shifts, self._interventions),
            fork_rows(self._model, fork, len(ids)),
        ):
            arguments = {
                "input_ids": ids, "position_ids": positions, "attention_mask": mask, "past_key_values": self._cache,
                "use_cache": True,
            }  # fmt: skip
            return final_states(self._model, arguments, last=True)[:, -1]


class _SlotLayer(CacheLayerMixin):  # type: ignore[no-untyped-call]
    """The keys and values of one block."""

    is_sliding = False
    is_compileable = True

    def __init__(self, cache: SlotKVCache, index: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._cache, self.index = cache, index
        self._stores: tuple[Tensor, ...] = ()

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Allocate the storage once the shapes are known."""
        rows, capacity = self._cache.rows_of(self.index), self._cache.capacity
        self._stores = tuple(
            states.new_zeros(rows, states.shape[1], capacity, states.shape[3]) for states in (key_states, value_states)
        )
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Store new keys and values at their positions and return those that attention may read."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        rows, positions, width = self._cache.target
        device = key_states.device
        if isinstance(positions, int):  # a prefill: nothing comes before its tokens
            for store, states in zip(self._stores, (key_states, value_states), strict=True):
                if rows is None:
                    store[:, :, :width] = states
                else:
                    store[rows.to(device), :, :width] = states
            return key_states, value_states
        places = self._cache.positions_of(self.index, positions).to(device)
        every = torch.arange(len(places), device=device)
        for store, states in zip(self._stores, (key_states, value_states), strict=True):
            store[every, :, places] = states[:, :, 0]
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
