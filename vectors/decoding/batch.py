"""A decoding batch: which sample is in which row, its tokens, log-probabilities and KL, one token a step."""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import pad

from vectors.decoding.kv_cache.choose_kv_cache import has_slots, make_kv_cache, supports_fork
from vectors.decoding.kv_cache.fork import Fork
from vectors.decoding.kv_cache.slot_kv_cache import KVCache, SlotKVCache
from vectors.decoding.row_padding import padded_rows, prefill_groups
from vectors.decoding.token_costs import Cost, token_logprobs_and_kl
from vectors.decoding.token_sampling import Settings, sample_tokens, token_noise
from vectors.model.hooks import block_device
from vectors.model.interventions import Intervention
from vectors.model.output_head import logits_from
from vectors.model.positions import Shifts, Site, by_site, position_weights, sum_by_layer
from vectors.model.residual_model import ResidualModel

if TYPE_CHECKING:
    from vectors.decoding.packed_weights import PackedWeights

NOT_FINITE = -1  # returned instead of a token when the logits are not finite
_FREE = -1  # instead of a sample index: the row holds no sample


class Batch:
    """Samples decoded side by side.

    The KV cache holds the shifted rows first. With `costs`, the same rows follow once more without the shift: these
    base rows read the same tokens and give the base model's log-probabilities and the KL. Rows of padding come last.
    Where the model allows it, the base rows begin above the first shifted block: below it, they equal the shifted rows.

    Args:
        model: the model.
        rows: number of samples side by side.
        shifts: maps sample indices to their shifts by layer or site; `None` decodes the plain model.
        prefix: token ids that every sample starts from.
        settings: how tokens are sampled, and at which positions the shift is added.
        seed: seed of the tokens.
        interventions: for each layer a function that replaces the addition of the shift.
        costs: whether to run the base rows. Without them, a shifted sample's base log-probabilities and KL are NaN.
        packed: where the steps keep packed weights, or None to multiply by the weights as they are.
    """

    def __init__(
        self,
        model: ResidualModel,
        rows: int,
        shifts: Callable[[Sequence[int]], Shifts] | None,
        *,
        prefix: Sequence[int],
        settings: Settings,
        seed: int,
        interventions: Mapping[int, Intervention] | None = None,
        costs: bool = True,
        packed: "PackedWeights | None" = None,
    ) -> None:
        self._model, self._shifts_of, self._settings, self._seed = model, shifts, settings, seed
        self._prefix, self.rows = list(prefix), rows
        self._first = len(prefix) - 1  # the position that predicts the first generated token
        length = self._first + settings.max_tokens
        self._copies = 2 if shifts is not None and costs else 1
        self._base_known = costs or shifts is None
        self._interventions, self._capacity = interventions, length + 1
        self._packed = packed or nullcontext()
        self._cache: KVCache | None = None
        self._fork: Fork | None = None
        self._idle = length  # free rows write to this position, which no sample reads
        self._weights: dict[str, Tensor] = {}  # by positions: the weight of a shift at each position of a text
        device = model.device
        self._vocabulary = int(model.hf.config.get_text_config(decoder=True).vocab_size)
        self._tokens = torch.full((rows,), self._prefix[-1], device=device)
        self._positions = torch.full((rows,), self._idle, device=device)
        width = token_noise(0, 0, 1, self._vocabulary).shape[1]
        self._noise = torch.ones(rows, settings.max_tokens, width, device=device)
        self._history = torch.zeros(rows, settings.max_tokens, dtype=torch.long, device=device)
        self._costs = torch.zeros(rows, settings.max_tokens, 3, device=device)
        self._shifts: dict[Site, Tensor] = {}
        self._samples = [_FREE] * rows  # the index of the sample in each row
        self._counts = [0] * rows  # tokens generated in each row
        self._started = False
        self._graph: Callable[[], Tensor] | None = None

    @property
    def refillable(self) -> bool:
        """Whether a row can start a new sample while other rows continue."""
        return self._cache is not None and self._cache.refillable

    @property
    def live(self) -> int:
        """Number of rows with an unfinished sample."""
        return self.rows - self.free

    @property
    def free(self) -> int:
        """Number of rows without a sample."""
        return self._samples.count(_FREE)

    @property
    def unfinished(self) -> list[int]:
        """Indices of the samples that are being decoded."""
        return [sample for sample in self._samples if sample != _FREE]

    def start(self, samples: Sequence[int]) -> None:
        """Start samples in free rows; give at most as many as there are free rows."""
        free = [row for row, sample in enumerate(self._samples) if sample == _FREE][: len(samples)]
        if not free:
            return
        rows = torch.tensor(free, device=self._model.device)
        for row, sample in zip(free, samples, strict=True):
            self._samples[row], self._counts[row] = sample, 0
        noise = [token_noise(self._seed, sample, self._settings.max_tokens, self._vocabulary) for sample in samples]
        self._noise[rows] = torch.from_numpy(np.stack(noise)).to(self._noise)
        shifts = by_site(self._shifts_of(samples), self._settings.positions) if self._shifts_of else {}
        if self._cache is None:
            self._fork = self._make_fork({layer for layer, _ in shifts})
            n_rows = self._n_rows if self._fork else self._n_final
            self._cache = make_kv_cache(self._model, n_rows, self._capacity, self._interventions, self._fork)
        for site, shift in shifts.items():
            layer, where = site
            if site not in self._shifts:
                device = block_device(self._model, layer)
                self._shifts[site] = torch.zeros(self._n_final, self._model.d_model, device=device)
            if where not in self._weights:
                weights = position_weights(where, self._capacity, len(self._prefix))
                self._weights[where] = weights.to(self._model.device)
            self._shifts[site][rows.to(self._shifts[site].device)] = shift.to(self._shifts[site])
        self._tokens[rows], self._positions[rows] = self._prefix[-1], self._first
        if self._first:
            self._prefill(rows)
        self._started = True

    @property
    def _n_rows(self) -> int:
        """Rows of the blocks below the fork: one a sample, and padding."""
        return padded_rows(self._model, self.rows)

    @property
    def _n_final(self) -> int:
        """Rows of the last block: one or two a sample, and padding."""
        return padded_rows(self._model, self.rows * self._copies)

    def _make_fork(self, layers: Collection[int]) -> Fork | None:
        """Return the fork for shifts at these layers, or None if it would save nothing or the model allows none."""
        if self._copies == 1 or not layers or self._n_rows == self._n_final:
            return None
        if not has_slots(self._model, self._capacity) or not supports_fork(self._model, min(layers)):
            return None
        return Fork(min(layers), self._final_rows())

    def _final_rows(self) -> Int[Tensor, " final"]:
        """Return for each row of the last block the sample row that it continues; padding continues the first."""
        rows = torch.arange(self.rows, device=self._model.device).repeat(self._copies)
        return pad(rows, (0, self._n_final - len(rows)))

    def _prefill(self, rows: Int[Tensor, " some"]) -> None:
        """Read the prefix, except its last token, into the cache of some rows."""
        assert self._cache is not None
        ids = self._prefix[:-1]
        shifts = {site: shift for site, shift in self._shifts.items() if self._weights[site[1]][: self._first].any()}
        with torch.inference_mode():
            if not self.refillable:  # all rows start together: one forward for shifted, base and padding rows
                self._cache.prefill(None, ids, self._at_prefix(shifts))
                return
            if not self._started:  # the unshifted prefix is the same for every sample that a row will hold
                self._cache.prefill(None, ids, {})
            if shifts:
                for group in prefill_groups(self._model, rows, len(ids)):
                    some = {site: shift[group.to(shift.device)] for site, shift in shifts.items()}
                    self._cache.prefill(group, ids, self._at_prefix(some))

    def _at_prefix(self, shifts: Mapping[Site, Tensor]) -> dict[int, Float[Tensor, "some pos d_model"]]:
        """Return the shifts at the positions of the prefix, except its last token."""
        return sum_by_layer(shifts, self._first, len(self._prefix), self._settings.positions)

    def advance(self) -> list[tuple[int, list[int], str, Cost]]:
        """Generate one token in every row; return sample index, tokens, finish reason and cost of finished samples."""
        live = [row for row, sample in enumerate(self._samples) if sample != _FREE]
        tokens = self._next_tokens(live)
        finished: list[tuple[int, str]] = []
        for row, token in zip(live, tokens, strict=True):
            if token == NOT_FINITE:
                finished.append((row, "not-finite"))
                continue
            self._counts[row] += 1
            if token in self._model.eos_ids:
                finished.append((row, "eos"))
            elif self._counts[row] == self._settings.max_tokens:
                finished.append((row, "length"))
        return self._collect(finished)

    def _next_tokens(self, live: Sequence[int]) -> list[int]:
        """Run one step, as a CUDA graph if possible, and return the next token of each live row."""
        if self.refillable and _can_capture(self._model):
            if self._graph is None:
                from vectors.decoding.cuda_graph import capture_step

                tokens_before, positions_before = self._tokens.clone(), self._positions.clone()

                def restore() -> None:
                    self._tokens.copy_(tokens_before)
                    self._positions.copy_(positions_before)

                width, every = self._idle + 1, torch.arange(self.rows, device=self._model.device)
                self._graph = capture_step(
                    self._model, lambda: self._step(every, width, list(self._weights)), restore=restore
                )
            tokens = self._graph().tolist()
            return [tokens[row] for row in live]
        positions = [self._first + self._counts[row] for row in live]
        width = max(positions) + 1 if self.refillable else int(self._positions.max()) + 1
        rows = torch.tensor(live, device=self._model.device)
        active = [where for where, weights in self._weights.items() if bool(weights[positions].any())]
        return self._step(rows, width, active).tolist()

    def _step(self, live: Int[Tensor, " live"], width: int, active: Collection[str]) -> Int[Tensor, " live"]:
        """Read the last tokens of all rows and sample the next ones of the live rows.

        All positions in texts are below `width`; of the shifts, those at the `active` positions are added.
        """
        with torch.inference_mode(), self._packed:
            assert self._cache is not None
            tokens, positions = self._tokens, self._positions
            if not self._fork:
                tokens, positions = tokens.repeat(self._copies), positions.repeat(self._copies)
            padding = (self._n_rows if self._fork else self._n_final) - len(tokens)
            positions = pad(positions, (0, padding), value=self._idle)
            upper = positions[self._fork.rows] if self._fork else positions
            shifts: dict[int, Tensor] = {}
            for (layer, where), shift in self._shifts.items():
                if where in active:
                    placed = shift * self._weights[where][upper][:, None].to(shift)
                    shifts[layer] = shifts[layer] + placed if layer in shifts else placed
            states = self._cache.step(pad(tokens, (0, padding)), positions, shifts, width)
            # a CUDA graph reads free rows as well, whose position lies beyond the last token
            count = (self._positions[live] - self._first).clamp(0, self._settings.max_tokens - 1)
            rows = torch.cat([live + copy * self.rows for copy in range(self._copies)]).to(states.device)
            steered, *base = self._logits(states[rows]).chunk(self._copies)
            tokens = sample_tokens(steered, self._noise[live, count].to(steered.device), self._settings)
            costs = token_logprobs_and_kl(steered, base[0] if base else None, tokens).to(self._costs.device)
            tokens = tokens.to(self._tokens.device)
            finite = costs.isfinite().all(dim=-1)
            if not self._base_known:
                costs[:, 0::2] = torch.nan
            self._history[live, count], self._costs[live, count] = tokens, costs
            self._tokens[live] = tokens
            self._positions.add_(1).clamp_(max=self._idle)
            return torch.where(finite, tokens, NOT_FINITE)

    def _logits(self, states: Float[Tensor, "rows width"]) -> Float[Tensor, "rows vocab"]:
        """Return the logits of final states, computed for a padded number of rows like all other products."""
        padding = padded_rows(self._model, len(states)) - len(states)
        return logits_from(self._model, pad(states, (0, 0, 0, padding)))[: len(states)]

    def _collect(self, finished: Sequence[tuple[int, str]]) -> list[tuple[int, list[int], str, Cost]]:
        """Return the finished samples and free their rows."""
        if not finished:
            return []
        rows = torch.tensor([row for row, _ in finished], device=self._model.device)
        tokens, costs = self._history[rows].tolist(), self._costs[rows].cpu().double().numpy()
        results = []
        for (row, finish), ids, cost in zip(finished, tokens, costs, strict=True):
            count = self._counts[row]
            results.append((self._samples[row], ids[:count], finish, Cost(*cost[:count].T.copy())))
            self._samples[row] = _FREE
        if self.refillable:
            self._positions[rows] = self._idle
        return results

    def drop_free_rows(self) -> None:
        """Continue with the live rows only, if that is less to compute and no CUDA graph has fixed the shapes."""
        live = [row for row, sample in enumerate(self._samples) if sample != _FREE]
        before = self._n_final
        if self._graph is not None or not live or padded_rows(self._model, len(live) * self._copies) >= before:
            return
        assert self._cache is not None
        rows = torch.tensor(live, device=self._model.device)
        final_rows = torch.cat([rows + copy * self.rows for copy in range(self._copies)])
        self._samples, self._counts = [self._samples[row] for row in live], [self._counts[row] for row in live]
        self.rows = len(live)
        final_rows = torch.cat([final_rows, final_rows[:1].expand(self._n_final - len(final_rows))])
        if self._fork is not None and isinstance(self._cache, SlotKVCache):
            self._fork = Fork(self._fork.layer, self._final_rows())
            lower_rows = torch.cat([rows, rows[:1].expand(self._n_rows - len(rows))])
            self._cache.select_rows(lower_rows, upper=final_rows, fork=self._fork)
        else:
            self._cache.select_rows(final_rows)
        for name in ("_tokens", "_positions", "_noise", "_history", "_costs"):
            setattr(self, name, getattr(self, name)[rows])
        self._shifts = {site: shift[final_rows.to(shift.device)] for site, shift in self._shifts.items()}

    def close(self) -> None:
        """Free the memory at once: reference cycles would hold it until garbage collection."""
        self._graph, self._shifts = None, {}
        if self._cache is not None:
            self._cache.close()


def _can_capture(model: ResidualModel) -> bool:
    if model.device.type != "cuda":
        return False
    from vectors.decoding.cuda_graph import can_capture  # only a GPU needs it

    return can_capture(model)
