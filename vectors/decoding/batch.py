"""A decoding batch: which sample is in which row, its tokens, log-probabilities and KL, one token a step."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from vectors.common.rng import Stream, rng
from vectors.decoding.kv_cache import make_kv_cache
from vectors.decoding.token_costs import Cost, token_logprobs_and_kl
from vectors.decoding.token_sampling import Settings, sample_tokens
from vectors.model.hooks import block_device
from vectors.model.interventions import Intervention
from vectors.model.positions import position_weights
from vectors.model.residual_model import ResidualModel

NOT_FINITE = -1  # returned instead of a token when the logits are not finite
_FREE = -1  # instead of a sample index: the row holds no sample


class Batch:
    """Samples decoded side by side.

    The KV cache holds the shifted rows first. With `costs`, the same rows follow once more without the shift: these
    base rows read the same tokens and give the base model's log-probabilities and the KL.

    Args:
        model: the model.
        rows: number of samples side by side.
        shifts: maps sample indices to their shifts by layer; `None` decodes the plain model.
        prefix: token ids that every sample starts from.
        settings: how tokens are sampled, and at which positions the shift is added.
        seed: seed of the tokens.
        interventions: for each layer a function that replaces the addition of the shift.
        costs: whether to run the base rows. Without them, a shifted sample's base log-probabilities and KL are NaN.
    """

    def __init__(
        self,
        model: ResidualModel,
        rows: int,
        shifts: Callable[[Sequence[int]], Mapping[int, Tensor]] | None,
        *,
        prefix: Sequence[int],
        settings: Settings,
        seed: int,
        interventions: Mapping[int, Intervention] | None = None,
        costs: bool = True,
    ) -> None:
        self._model, self._shifts_of, self._settings, self._seed = model, shifts, settings, seed
        self._prefix, self.rows = list(prefix), rows
        self._first = len(prefix) - 1  # the position that predicts the first generated token
        length = self._first + settings.max_tokens
        self._copies = 2 if shifts is not None and costs else 1
        self._base_known = costs or shifts is None
        self._cache = make_kv_cache(model, rows * self._copies, length + 1, interventions)
        self._idle = length  # free rows write to this position, which no sample reads
        self._weights = position_weights(settings.positions, length + 1, len(prefix)).to(model.device)
        self._host_weights = self._weights.tolist()
        device = model.device
        precise = torch.float32 if device.type == "mps" else torch.float64
        self._tokens = torch.full((rows,), self._prefix[-1], device=device)
        self._positions = torch.full((rows,), self._idle, device=device)
        self._uniforms = torch.zeros(rows, settings.max_tokens, dtype=precise, device=device)
        self._history = torch.zeros(rows, settings.max_tokens, dtype=torch.long, device=device)
        self._costs = torch.zeros(rows, settings.max_tokens, 3, device=device)
        self._shifts: dict[int, Tensor] = {}
        self._samples = [_FREE] * rows  # the index of the sample in each row
        self._counts = [0] * rows  # tokens generated in each row
        self._started = False
        self._graph: Callable[[], Tensor] | None = None

    @property
    def refillable(self) -> bool:
        """Whether a row can start a new sample while other rows continue."""
        return self._cache.refillable

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
        uniforms = [rng(self._seed, sample, Stream.TOKEN).random(self._settings.max_tokens) for sample in samples]
        self._uniforms[rows] = torch.from_numpy(np.stack(uniforms)).to(self._uniforms)
        for layer, shift in (self._shifts_of(samples) if self._shifts_of else {}).items():
            if layer not in self._shifts:
                device = block_device(self._model, layer)
                self._shifts[layer] = torch.zeros(self.rows * self._copies, self._model.d_model, device=device)
            self._shifts[layer][rows.to(self._shifts[layer].device)] = shift.to(self._shifts[layer])
        self._tokens[rows], self._positions[rows] = self._prefix[-1], self._first
        if self._first:
            self._prefill(rows)
        self._started = True

    def _prefill(self, rows: Int[Tensor, " some"]) -> None:
        """Read the prefix, except its last token, into the cache of some rows."""
        ids = self._prefix[:-1]
        weights = self._weights[: self._first]
        shifted = bool(weights.any())
        all_rows = torch.arange(self.rows * self._copies, device=rows.device)
        with torch.inference_mode():
            if not self.refillable:  # all rows start together: one forward for shifted and base rows
                self._cache.prefill(all_rows, ids, self._shifts_by_position(self._shifts, weights) if shifted else {})
                return
            if not self._started:  # the unshifted prefix is the same for every sample that a row will hold
                self._cache.prefill(all_rows, ids, {})
            if shifted and self._shifts:
                shifts = {layer: shift[rows.to(shift.device)] for layer, shift in self._shifts.items()}
                self._cache.prefill(rows, ids, self._shifts_by_position(shifts, weights))

    def _shifts_by_position(
        self, shifts: Mapping[int, Tensor], weights: Tensor
    ) -> dict[int, Float[Tensor, "some pos d_model"]]:
        return {layer: shift[:, None] * weights.to(shift)[None, :, None] for layer, shift in shifts.items()}

    def advance(self) -> list[tuple[int, list[int], str, Cost]]:
        """Generate one token in every row; return sample index, tokens, finish reason and cost of finished samples."""
        live = [row for row, sample in enumerate(self._samples) if sample != _FREE]
        tokens = self._next_tokens([self._first + self._counts[row] for row in live]).tolist()
        finished: list[tuple[int, str]] = []
        for row in live:
            if tokens[row] == NOT_FINITE:
                finished.append((row, "not-finite"))
                continue
            self._counts[row] += 1
            if tokens[row] in self._model.eos_ids:
                finished.append((row, "eos"))
            elif self._counts[row] == self._settings.max_tokens:
                finished.append((row, "length"))
        return self._collect(finished)

    def _next_tokens(self, positions: Sequence[int]) -> Int[Tensor, " rows"]:
        """Run one step with live rows at these positions, as a CUDA graph if possible."""
        if self.refillable and _can_capture(self._model):
            if self._graph is None:
                from vectors.decoding.cuda_graph import capture_step

                tokens_before, positions_before = self._tokens.clone(), self._positions.clone()

                def restore() -> None:
                    self._tokens.copy_(tokens_before)
                    self._positions.copy_(positions_before)

                width = self._idle + 1
                self._graph = capture_step(self._model, lambda: self._step(width, shifted=True), restore=restore)
            return self._graph()
        width = max(positions) + 1 if self.refillable else int(self._positions.max()) + 1
        return self._step(width, shifted=any(self._host_weights[position] for position in positions))

    def _step(self, width: int, *, shifted: bool) -> Int[Tensor, " rows"]:
        """Read the last tokens and sample the next ones; all live positions are below `width`."""
        with torch.inference_mode():
            positions = self._positions.repeat(self._copies)
            weights = self._weights[positions][:, None]
            shifts = {layer: shift * weights.to(shift) for layer, shift in self._shifts.items()} if shifted else {}
            logits = self._cache.step(self._tokens.repeat(self._copies), positions, shifts, width)
            count = (self._positions - self._first).clamp(0, self._settings.max_tokens - 1)[:, None]
            steered, base = logits[: self.rows], logits[-self.rows :]
            uniforms = self._uniforms.gather(1, count).squeeze(1)
            tokens = sample_tokens(steered, uniforms, self._settings)
            costs = token_logprobs_and_kl(steered, base if self._copies == 2 else None, tokens)
            finite = costs.isfinite().all(dim=-1)
            if not self._base_known:
                costs[:, 0::2] = torch.nan
            self._history.scatter_(1, count, tokens[:, None])
            self._costs.scatter_(1, count[:, :, None].expand(-1, -1, 3), costs[:, None])
            self._tokens.copy_(tokens)
            self._positions.add_(1).clamp_(max=self._idle)
            return torch.where(finite, tokens, NOT_FINITE)

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
        """Continue with the live rows only; does nothing once a CUDA graph is captured, as its shapes are fixed."""
        if self._graph is not None:
            return
        live = [row for row, sample in enumerate(self._samples) if sample != _FREE]
        rows = torch.tensor(live, dtype=torch.long, device=self._model.device)
        cache_rows = torch.cat([rows + copy * self.rows for copy in range(self._copies)])
        if live:
            self._cache.select_rows(cache_rows)
        for name in ("_tokens", "_positions", "_uniforms", "_history", "_costs"):
            setattr(self, name, getattr(self, name)[rows])
        self._shifts = {layer: shift[cache_rows.to(shift.device)] for layer, shift in self._shifts.items()}
        self._samples, self._counts = [self._samples[row] for row in live], [self._counts[row] for row in live]
        self.rows = len(live)

    def close(self) -> None:
        """Free the memory at once: reference cycles would hold it until garbage collection."""
        self._graph, self._shifts = None, {}
        self._cache.close()


def _can_capture(model: ResidualModel) -> bool:
    if model.device.type != "cuda":
        return False
    from vectors.decoding.cuda_graph import can_capture  # only a GPU needs it

    return can_capture(model)
