"""A cache that a model fills as it would by itself, and the proof that it can read on from what it keeps there."""

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
from vectors.model.residual_model import ResidualModel

_SHARED = 2  # ids that both rows of the proof begin with
_ROWS = ((0, 1, 0, 1, 1), (0, 0, 1, 1, 0))  # ids after the start token
_SWAPPED = 4  # the place from which on the rows stand in each other's
_REFUSED: WeakKeyDictionary[ResidualModel, str | None] = WeakKeyDictionary()


class GrowingKVCache:
    """Rows that start together, with the cache that a model would use by itself."""

    refills = False

    def __init__(self, model: ResidualModel, interventions: Mapping[int, Intervention] | None = None) -> None:
        self._model, self._interventions = model, interventions
        self._cache = DynamicCache(config=model.hf.config)

    def prefill(self, rows: Int[Tensor, " some"], ids: Sequence[int], shifts: Mapping[int, Tensor]) -> None:
        """Read the first ids of all rows; see `vectors.decoding.kv_cache.KVCache`."""
        self._forward(torch.tensor([list(ids)] * len(rows), device=self._model.device), shifts)

    def step(
        self, tokens: Int[Tensor, " rows"], places: Int[Tensor, " rows"], shifts: Mapping[int, Tensor], width: int
    ) -> Float[Tensor, "rows vocab"]:
        """Read one token a row; see `vectors.decoding.kv_cache.KVCache`."""
        return self._forward(tokens[:, None], shifts)

    def keep(self, rows: Int[Tensor, " some"]) -> None:
        """Go on with some rows only; see `vectors.decoding.kv_cache.KVCache`."""
        self._cache.reorder_cache(torch.LongTensor(rows.tolist()))  # on each layer's own device

    def close(self) -> None:
        """Let go of all keys and values."""
        self._cache = DynamicCache(config=self._model.hf.config)

    def _forward(self, ids: Tensor, shifts: Mapping[int, Tensor]) -> Tensor:
        with shift_layers_unchecked(self._model, shifts, self._interventions):
            output = self._model.hf(input_ids=ids, past_key_values=self._cache, use_cache=True, **self._model.last_only)
        logits: Tensor = output.logits[:, -1]
        return logits


def check_cache(model: ResidualModel) -> None:
    """Refuse, once a model, one that does not read on from its cache as it reads a whole text, or not row by row.

    Raises:
        ModelError: it keeps no cache that transformers hands to it, or part of a text's state outside of it.
    """
    if model not in _REFUSED:
        try:
            _REFUSED[model] = _wrong(model)
        except Exception as error:  # whatever a model that knows no such cache may raise
            if is_out_of_memory(error):
                raise
            _REFUSED[model] = f"it takes no key-value cache of transformers' ({short_message(error)})"
    if (wrong := _REFUSED[model]) is not None:
        raise ModelError(
            f"model {model.name!r} cannot be sampled: {wrong}; give a transformer, decoder-only language model"
        )


def _wrong(model: ResidualModel) -> str | None:
    """Return what is wrong with reading on from the cache, or None."""
    ids = torch.tensor([[model.bos_id or 0, *row] for row in _ROWS], device=model.device)
    with torch.inference_mode():
        plain = model.hf(input_ids=ids, use_cache=False).logits[:, _SHARED:].float()
        straight, again, swapped = (_read(model, ids, swap=swap) for swap in (False, False, True))
    unit = float(plain.std())
    # half precision and eight bits round otherwise where a text is read at once, and experts may be dealt otherwise
    if not _apart(straight, plain) <= (0.002 if model.precise else 0.2) * unit:
        return "reading on from its cache gives other logits than reading the whole text"
    # rows that change places round alike, but for kernels that do not repeat themselves
    if not _apart(swapped, straight) <= max((0.001 if model.precise else 0.01) * unit, 4 * _apart(again, straight)):
        return "it keeps part of a text's state outside of its cache (a recurrent model?)"
    return None


def _apart(one: Float[Tensor, "two rest vocab"], other: Float[Tensor, "two rest vocab"]) -> float:
    """How far logits lie apart on average over the vocabulary, where they do so most."""
    return float((one - other).abs().mean(dim=-1).max())


def _read(model: ResidualModel, ids: Int[Tensor, "two pos"], *, swap: bool) -> Float[Tensor, "two rest vocab"]:
    """Return the logits behind the shared ids, read one by one, the rows in each other's place half-way or not."""
    grown, order, found = GrowingKVCache(model), [0, 1], []
    grown.prefill(torch.arange(len(ids)), ids[0, :_SHARED].tolist(), {})
    for place in range(_SHARED, ids.shape[1]):
        if swap and place == _SWAPPED:
            order = [1, 0]
            grown.keep(torch.tensor(order))
        places = torch.full((len(ids),), place, device=ids.device)
        found.append(grown.step(ids[order, place], places, {}, place + 1)[order])
    return torch.stack(found, dim=1).float()
