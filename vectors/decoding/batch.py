"""A batch of texts being written: who sits in which row, what each has drawn and paid, one step at a time."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from vectors.common.rng import Stream, rng
from vectors.decoding.cuda_graph import can_capture, capture_step
from vectors.decoding.kv_cache import make_kv_cache
from vectors.decoding.token_costs import Cost, token_logprobs_and_kl
from vectors.decoding.token_sampling import Settings, sample_tokens
from vectors.model.hooks import block_device
from vectors.model.interventions import Intervention
from vectors.model.positions import position_weights
from vectors.model.residual_model import ResidualModel

BROKEN = -1  # stands for a token whose logits are not finite


class Batch:
    """Rows of texts, the shifted ones first and, where anything is shifted, their unshifted doubles after them.

    Without costs there are no doubles, and of a shifted text nothing is known of what the base model makes of it.

    Args:
        model: the model.
        rows: texts side by side.
        shifts: from sample indices to their shifts by layer; `None` shifts nothing.
        prefix: the ids that every text starts from.
        settings: how tokens are drawn, and where texts are shifted.
        seed: of the tokens.
        interventions: what else than adding a shift does, by layer.
        costs: whether to read what the base model makes of each text.
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
        self._model, self._shifts, self._settings, self._seed = model, shifts, settings, seed
        self._prefix, self.rows = list(prefix), rows
        self._first = len(prefix) - 1  # the place of the last token that was given
        length = self._first + settings.max_tokens
        self._doubles = 2 if shifts is not None and costs else 1
        self._known = costs or shifts is None
        self._kept = make_kv_cache(model, rows * self._doubles, length + 1, interventions)
        self._idle = length  # a place that no text reads
        self._weights = position_weights(settings.positions, length + 1, len(prefix)).to(model.device)
        self._weighs = self._weights.tolist()
        device = model.device
        precise = torch.float32 if device.type == "mps" else torch.float64
        self._tokens = torch.full((rows,), self._prefix[-1], device=device)
        self._places = torch.full((rows,), self._idle, device=device)
        self._uniforms = torch.zeros(rows, settings.max_tokens, dtype=precise, device=device)
        self._history = torch.zeros(rows, settings.max_tokens, dtype=torch.long, device=device)
        self._paid = torch.zeros(rows, settings.max_tokens, 3, device=device)
        self._deltas: dict[int, Tensor] = {}
        self._index = [BROKEN] * rows  # the sample in each row
        self._count = [0] * rows  # tokens drawn by each
        self._begun = False
        self._recorded: Callable[[], Tensor] | None = None

    @property
    def refills(self) -> bool:
        """Whether rows can begin new texts while others go on."""
        return self._kept.refills

    @property
    def live(self) -> int:
        """Rows with a text."""
        return self.rows - self.free

    @property
    def free(self) -> int:
        """Rows without one."""
        return self._index.count(BROKEN)

    @property
    def unfinished(self) -> list[int]:
        """The samples in the rows."""
        return [index for index in self._index if index != BROKEN]

    def begin(self, indices: Sequence[int]) -> None:
        """Let some samples begin in free rows, as many at most as there are."""
        free = [row for row, index in enumerate(self._index) if index == BROKEN][: len(indices)]
        if not free:
            return
        rows = torch.tensor(free, device=self._model.device)
        for row, index in zip(free, indices, strict=True):
            self._index[row], self._count[row] = index, 0
        drawn = [rng(self._seed, index, Stream.TOKEN).random(self._settings.max_tokens) for index in indices]
        self._uniforms[rows] = torch.from_numpy(np.stack(drawn)).to(self._uniforms)
        for layer, delta in (self._shifts(indices) if self._shifts else {}).items():
            if layer not in self._deltas:
                device = block_device(self._model, layer)
                self._deltas[layer] = torch.zeros(self.rows * self._doubles, self._model.d_model, device=device)
            self._deltas[layer][rows.to(self._deltas[layer].device)] = delta.to(self._deltas[layer])
        self._tokens[rows], self._places[rows] = self._prefix[-1], self._first
        if self._first:
            self._read_prefix(rows)
        self._begun = True

    def _read_prefix(self, rows: Int[Tensor, " some"]) -> None:
        ids = self._prefix[:-1]
        weights = self._weights[: self._first]
        shifted = bool(weights.any())
        with torch.inference_mode():
            if not self.refills:  # all rows start together: one reading for the shifted and their doubles
                spread = {layer: self._spread(delta, weights) for layer, delta in self._deltas.items()}
                every = torch.arange(self.rows * self._doubles, device=rows.device)
                self._kept.prefill(every, ids, spread if shifted else {})
                return
            if not self._begun:  # what nothing shifts is the same for every text that a row will hold
                every = torch.arange(self.rows * self._doubles, device=rows.device)
                self._kept.prefill(every, ids, {})
            if shifted and self._deltas:
                deltas = {layer: delta[rows.to(delta.device)] for layer, delta in self._deltas.items()}
                spread = {layer: self._spread(delta, weights) for layer, delta in deltas.items()}
                self._kept.prefill(rows, ids, spread)

    def _spread(self, delta: Tensor, weights: Tensor) -> Float[Tensor, "some pos d_model"]:
        return delta[:, None] * weights.to(delta)[None, :, None]

    def advance(self) -> list[tuple[int, list[int], str, Cost]]:
        """Draw a token for every row and return the texts that this finishes."""
        live = [row for row, index in enumerate(self._index) if index != BROKEN]
        drawn = self._drawn([self._first + self._count[row] for row in live]).tolist()
        ended: list[tuple[int, str]] = []
        for row in live:
            if drawn[row] == BROKEN:
                ended.append((row, "not-finite"))
                continue
            self._count[row] += 1
            if drawn[row] in self._model.eos_ids:
                ended.append((row, "eos"))
            elif self._count[row] == self._settings.max_tokens:
                ended.append((row, "length"))
        return self._taken(ended)

    def _drawn(self, places: Sequence[int]) -> Int[Tensor, " rows"]:
        """Take a step with some rows at these places, recorded where that can be."""
        if self.refills and can_capture(self._model):
            if self._recorded is None:
                tokens, at = self._tokens.clone(), self._places.clone()

                def restore() -> None:
                    self._tokens.copy_(tokens)
                    self._places.copy_(at)

                whole = self._idle + 1
                self._recorded = capture_step(self._model, lambda: self._step(whole, shifted=True), restore=restore)
            return self._recorded()
        width = max(places) + 1 if self.refills else int(self._places.max()) + 1
        return self._step(width, shifted=any(self._weighs[place] for place in places))

    def _step(self, width: int, *, shifted: bool) -> Int[Tensor, " rows"]:
        """Read the last tokens and draw the next ones; no place of a text is `width` or beyond."""
        with torch.inference_mode():
            places = self._places.repeat(self._doubles)
            weights = self._weights[places][:, None]
            shifts = {layer: delta * weights.to(delta) for layer, delta in self._deltas.items()} if shifted else {}
            logits = self._kept.step(self._tokens.repeat(self._doubles), places, shifts, width)
            count = (self._places - self._first).clamp(0, self._settings.max_tokens - 1)[:, None]
            steered, base = logits[: self.rows], logits[-self.rows :]
            uniforms = self._uniforms.gather(1, count).squeeze(1)
            tokens = sample_tokens(steered, uniforms, self._settings)
            costs = token_logprobs_and_kl(steered, base if self._doubles == 2 else None, tokens)
            sound = costs.isfinite().all(dim=-1)
            if not self._known:
                costs[:, 0::2] = torch.nan
            self._history.scatter_(1, count, tokens[:, None])
            self._paid.scatter_(1, count[:, :, None].expand(-1, -1, 3), costs[:, None])
            self._tokens.copy_(tokens)
            self._places.add_(1).clamp_(max=self._idle)
            return torch.where(sound, tokens, BROKEN)

    def _taken(self, ended: Sequence[tuple[int, str]]) -> list[tuple[int, list[int], str, Cost]]:
        if not ended:
            return []
        rows = torch.tensor([row for row, _ in ended], device=self._model.device)
        tokens, costs = self._history[rows].tolist(), self._paid[rows].cpu().double().numpy()
        found = []
        for (row, finish), ids, cost in zip(ended, tokens, costs, strict=True):
            count = self._count[row]
            found.append((self._index[row], ids[:count], finish, Cost(*cost[:count].T.copy())))
            self._index[row] = BROKEN
        if self.refills:
            self._places[rows] = self._idle
        return found

    def shrink(self) -> None:
        """Go on with the rows that have a text; a recorded step has its shape for good."""
        if self._recorded is not None:
            return
        live = [row for row, index in enumerate(self._index) if index != BROKEN]
        rows = torch.tensor(live, dtype=torch.long, device=self._model.device)
        both = torch.cat([rows + double * self.rows for double in range(self._doubles)])
        if live:
            self._kept.keep(both)
        for name in ("_tokens", "_places", "_uniforms", "_history", "_paid"):
            setattr(self, name, getattr(self, name)[rows])
        self._deltas = {layer: delta[both.to(delta.device)] for layer, delta in self._deltas.items()}
        self._index, self._count = [self._index[row] for row in live], [self._count[row] for row in live]
        self.rows = len(live)

    def close(self) -> None:
        """Let go of the memory: what refers to itself would hold it until the garbage is collected."""
        self._recorded, self._deltas = None, {}
        self._kept.close()
