"""A KV cache that grows with the texts, and the check that a model decodes from it as it reads a whole text."""

from collections.abc import Mapping, Sequence
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import DynamicCache

from vectors.common.errors import ModelError
from vectors.model.hooks import shift_layers_unchecked
from vectors.model.interventions import Intervention
from vectors.model.loading import is_out_of_memory, short_message
from vectors.model.output_head import final_states, logits_from
from vectors.model.residual_model import ResidualModel, check_finite

_SHARED = 2  # ids that both rows of the check start with
_ROWS = ((0, 1, 0, 1, 1), (0, 0, 1, 1, 0))  # ids after the start token
_SWAP_POSITION = 4  # the position from which on the two rows are exchanged
_PROBLEMS: WeakKeyDictionary[ResidualModel, str | None] = WeakKeyDictionary()


class GrowingKVCache:
    """Rows that start together, in the `DynamicCache` of transformers."""

    refillable = False

    def __init__(
        self, model: ResidualModel, rows: int, interventions: Mapping[int, Intervention] | None = None
    ) -> None:
        self._model, self._rows, self._interventions = model, rows, interventions
        self._cache = DynamicCache(config=model.hf.config)

    def prefill(self, rows: Int[Tensor, " some"] | None, ids: Sequence[int], shifts: Mapping[int, Tensor]) -> None:
        """Read the same first ids in all rows; see `vectors.decoding.kv_cache.slot_kv_cache.KVCache`."""
        count = self._rows if rows is None else len(rows)
        self._forward(torch.tensor([list(ids)] * count, device=self._model.device), shifts)

    def step(
        self, tokens: Int[Tensor, " rows"], positions: Int[Tensor, " rows"], shifts: Mapping[int, Tensor], width: int
    ) -> Float[Tensor, "rows width"]:
        """Read one token a row; see `vectors.decoding.kv_cache.slot_kv_cache.KVCache`."""
        return self._forward(tokens[:, None], shifts)

    def select_rows(self, rows: Int[Tensor, " some"]) -> None:
        """Continue with some rows only; see `vectors.decoding.kv_cache.slot_kv_cache.KVCache`."""
        self._cache.reorder_cache(torch.LongTensor(rows.tolist()))  # on each layer's own device
        self._rows = len(rows)

    def close(self) -> None:
        """Free all keys and values."""
        self._cache = DynamicCache(config=self._model.hf.config)

    def _forward(self, ids: Tensor, shifts: Mapping[int, Tensor]) -> Tensor:
        with shift_layers_unchecked(self._model, shifts, self._interventions):
            arguments = {"input_ids": ids, "past_key_values": self._cache, "use_cache": True}
            return final_states(self._model, arguments, last=True)[:, -1]


def check_cache(model: ResidualModel) -> None:
    """Check, once a model, that decoding from its KV cache gives the logits of a forward over the whole text.

    Raises:
        ModelError: the model uses no transformers KV cache, or keeps state outside of it (recurrent models do).
    """
    if model not in _PROBLEMS:
        try:
            _PROBLEMS[model] = _problem(model)
        except Exception as error:  # a model that knows no such cache may raise anything
            if is_out_of_memory(error) or isinstance(error, ModelError):
                raise
            _PROBLEMS[model] = f"it takes no key-value cache of transformers' ({short_message(error)})"
    if (problem := _PROBLEMS[model]) is not None:
        raise ModelError(
            f"model {model.name!r} cannot be sampled: {problem}; give a transformer, decoder-only language model"
        )


def _problem(model: ResidualModel) -> str | None:
    """Return why decoding from the cache is wrong, or None."""
    ids = torch.tensor([[model.bos_id or 0, *row] for row in _ROWS], device=model.device)
    with torch.inference_mode():
        full = model.hf(input_ids=ids, use_cache=False).logits[:, _SHARED:].float()
        check_finite(model, full, "logits")
        cached, repeated, swapped = (_cached_logits(model, ids, swap=swap) for swap in (False, False, True))
    std = float(full.std())
    # the tolerance is for half precision and 8-bit weights, which round differently, and for mixtures of experts,
    # which may route differently when a text is read at once
    if not _distance(cached, full) <= (0.002 if model.precise else 0.2) * std:
        return "reading on from its cache gives other logits than reading the whole text"
    # swapped rows round alike, except for kernels that are not deterministic
    noise = 4 * _distance(repeated, cached)
    if not _distance(swapped, cached) <= max((0.001 if model.precise else 0.01) * std, noise):
        return "it keeps part of a text's state outside of its cache (a recurrent model?)"
    return None


def _distance(one: Float[Tensor, "two rest vocab"], other: Float[Tensor, "two rest vocab"]) -> float:
    """Return the largest mean absolute difference of the logits at one position."""
    return float((one - other).abs().mean(dim=-1).max())


def _cached_logits(model: ResidualModel, ids: Int[Tensor, "two pos"], *, swap: bool) -> Float[Tensor, "two rest vocab"]:
    """Return the logits after the shared ids, decoded token by token; with `swap`, the rows change places half-way."""
    cache, order, logits = GrowingKVCache(model, 2), [0, 1], []
    cache.prefill(None, ids[0, :_SHARED].tolist(), {})
    for position in range(_SHARED, ids.shape[1]):
        if swap and position == _SWAP_POSITION:
            order = [1, 0]
            cache.select_rows(torch.tensor(order))
        positions = torch.full((len(ids),), position, device=ids.device)
        states = cache.step(ids[order, position], positions, {}, position + 1)
        logits.append(logits_from(model, states)[order])
    return torch.stack(logits, dim=1).float()
