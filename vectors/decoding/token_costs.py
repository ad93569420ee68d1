"""The cost of each generated token: log-probabilities under the base and the steered model, and their KL."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from vectors.decoding.token_sampling import Settings, probabilities
from vectors.model.hooks import shift_layers
from vectors.model.interventions import Intervention
from vectors.model.output_head import final_states, map_logits
from vectors.model.positions import Shifts, Site, by_site, sum_by_layer
from vectors.model.residual_model import ResidualModel

if TYPE_CHECKING:
    from vectors.common.progress import Advance

_MAX_TOKENS = 1 << 13  # tokens of one forward


@dataclass(frozen=True)
class Cost:
    """The cost of one text: arrays with a number in nats for each generated token.

    Attributes:
        logprob_base: log-probability of the token under the base model.
        logprob_steered: log-probability of the token under the steered model.
        kl: KL(steered || base) of the next-token distributions that the token was sampled from.
        entropy: entropy of the distribution that the token was sampled from, after temperature and truncation; or None.
    """

    logprob_base: np.ndarray
    logprob_steered: np.ndarray
    kl: np.ndarray
    entropy: np.ndarray | None = None

    @property
    def pressure(self) -> dict[str, float]:
        """Mean and 95th percentile of the KL per token, and its total over the text; 0 for a text without tokens."""
        if not len(self.kl):
            return {"mean": 0.0, "p95": 0.0, "total": 0.0}
        return {
            "mean": float(self.kl.mean()),
            "p95": float(np.percentile(self.kl, 95)),
            "total": float(self.kl.sum()),
        }


def token_logprobs_and_kl(
    steered: Float[Tensor, "rows vocab"], base: Float[Tensor, "rows vocab"] | None, tokens: Int[Tensor, " rows"]
) -> Float[Tensor, "rows 3"]:
    """Return for each row the token's log-probability under base and steered model, and KL(steered || base), in nats.

    Without `base`, nothing is shifted: the log-probabilities are equal and the KL is 0. Logits that are not finite
    give results that are not finite.
    """
    token = tokens[:, None]
    scores = steered.float()
    masses, normaliser = _exp_and_logsumexp(scores)
    logprob = scores.gather(-1, token) - normaliser
    if base is None:
        return torch.cat([logprob, logprob, torch.zeros_like(logprob)], dim=-1)
    base_scores = base.float()
    base_normaliser = _exp_and_logsumexp(base_scores)[1]
    mean_gap = (masses * (scores - base_scores)).sum(dim=-1, keepdim=True) / masses.sum(dim=-1, keepdim=True)
    # rounding can make a KL of 0 slightly negative; clamp leaves NaN as it is
    kl = (mean_gap - normaliser + base_normaliser).clamp(min=0)
    return torch.cat([base_scores.gather(-1, token) - base_normaliser, logprob, kl], dim=-1)


def _exp_and_logsumexp(
    scores: Float[Tensor, "rows vocab"],
) -> tuple[Float[Tensor, "rows vocab"], Float[Tensor, "rows 1"]]:
    """Return `exp(scores - max)` and the log-sum-exp of the scores."""
    top = scores.amax(dim=-1, keepdim=True)
    masses = (scores - top).exp()
    return masses, top + masses.sum(dim=-1, keepdim=True).log()


def compute_costs(
    model: ResidualModel,
    shifts: Shifts,
    *,
    prefix: Sequence[int],
    generated: Sequence[Sequence[int]],
    positions: str = "all",
    settings: Settings | None = None,
    interventions: Mapping[int, Intervention] | None = None,
    progress: "Advance | None" = None,
) -> list[Cost]:
    """Return the cost of each generated text, by teacher-forced forwards.

    Log-probabilities and KL are those of the models' own distributions, at temperature 1 and without truncation,
    whatever the text was sampled with.

    Args:
        model: the model.
        shifts: for each layer or site the shift of each text, one row a text; empty for the plain model.
        prefix: token ids before each text.
        generated: generated token ids of each text.
        positions: positions at which shifts by layer are added.
        settings: how the tokens were sampled; if given, the costs have the entropy of that distribution too.
        interventions: for each layer a function that replaces the addition of the shift.
        progress: called with the number of further texts after every few.
    """
    costs: dict[int, Cost] = {}
    for rows in _batches(model, prefix, generated):
        batch_shifts = {site: shift[rows] for site, shift in by_site(shifts, positions).items()}
        texts = [generated[row] for row in rows]
        batch_costs = _batch_costs(model, batch_shifts, prefix, texts, positions, settings, interventions)
        costs.update(zip(rows, batch_costs, strict=True))
        if progress:
            progress(len(rows))
    return [costs[row] for row in range(len(generated))]


def token_logprobs(
    model: ResidualModel,
    shifts: Shifts,
    *,
    prefix: Sequence[int],
    generated: Sequence[Sequence[int]],
    positions: str = "all",
    progress: "Advance | None" = None,
) -> list[Float64[np.ndarray, " tokens"]]:
    """Return the log-probability of each token of each text under the model with these shifts, in nats.

    It runs one forward per batch, half as many as `compute_costs` with shifts. The arguments are those of
    `compute_costs`.
    """
    logprobs: dict[int, np.ndarray] = {}
    for rows in _batches(model, prefix, generated):
        batch = model.batch([[*prefix, *generated[row]] for row in rows])
        some = {site: shift[rows] for site, shift in by_site(shifts, positions).items()}
        by_position = sum_by_layer(some, batch["input_ids"].shape[1], len(prefix), positions)
        with torch.inference_mode(), shift_layers(model, by_position):
            states, targets = _generated_states(model, batch, len(prefix))
            values = map_logits(model, _target_logprobs, states, beside=targets).cpu().double().numpy()
        ends = np.cumsum([len(generated[row]) for row in rows])[:-1]
        logprobs.update(zip(rows, np.split(values, ends), strict=True))
        if progress:
            progress(len(rows))
    return [logprobs[row] for row in range(len(generated))]


def _batches(model: ResidualModel, prefix: Sequence[int], generated: Sequence[Sequence[int]]) -> Iterator[list[int]]:
    """Yield the row indices of each batch, sorted by the length of the texts."""
    order = sorted(range(len(generated)), key=lambda row: len(generated[row]))
    longest = max(len(prefix) + len(tokens) for tokens in generated)
    batch_size = max(1, _MAX_TOKENS // longest)
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]


def _generated_states(
    model: ResidualModel, batch: Mapping[str, Tensor], n_prefix: int
) -> tuple[Float[Tensor, "n width"], Int[Tensor, " n"]]:
    """Return the final states that predict the tokens after the prefix, and those tokens, row after row."""
    generated = batch["attention_mask"][:, n_prefix:].bool()
    states = final_states(model, batch)[:, n_prefix - 1 : -1]
    return states[generated.to(states.device)], batch["input_ids"][:, n_prefix:][generated].to(states.device)


def _target_logprobs(logits: Float[Tensor, "n vocab"], targets: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Return the log-probability of each target."""
    return logits.log_softmax(dim=-1).gather(-1, targets[:, None]).squeeze(-1)


def _batch_costs(
    model: ResidualModel,
    shifts: Mapping[Site, Tensor],
    prefix: Sequence[int],
    generated: Sequence[Sequence[int]],
    positions: str,
    settings: Settings | None,
    interventions: Mapping[int, Intervention] | None,
) -> list[Cost]:
    batch = model.batch([[*prefix, *tokens] for tokens in generated])
    length = batch["input_ids"].shape[1]
    by_position = sum_by_layer(shifts, length, len(prefix), positions)

    def columns(*arguments: Tensor) -> Tensor:
        *logits, targets = arguments
        base, steered = logits[0].log_softmax(dim=-1), logits[-1].log_softmax(dim=-1)
        kl = (steered.exp() * (steered - base)).sum(dim=-1).clamp(min=0)  # 0 if nothing is shifted
        both = torch.cat([scores.gather(-1, targets[:, None]) for scores in (base, steered)], dim=-1)
        entropy = kl.new_full(kl.shape, torch.nan) if settings is None else _entropy(steered, settings)
        return torch.cat([both, kl[:, None], entropy[:, None].to(both)], dim=-1)

    with torch.inference_mode():
        states, targets = _generated_states(model, batch, len(prefix))
        both_states = [states]
        if by_position:
            with shift_layers(model, by_position, interventions=interventions):
                both_states.append(_generated_states(model, batch, len(prefix))[0])
        values = map_logits(model, columns, *both_states, beside=targets).cpu().double().numpy()
    ends = np.cumsum([len(tokens) for tokens in generated])[:-1]
    n_columns = 3 if settings is None else 4
    return [Cost(*text[:, :n_columns].T.copy()) for text in np.split(values, ends)]


def _entropy(logprobs: Float[Tensor, "n vocab"], settings: Settings) -> Float[Tensor, " n"]:
    """Return the entropy in nats of the distribution that each token is sampled from."""
    if settings.temperature == 0:
        return logprobs.new_zeros(len(logprobs))
    masses = probabilities(logprobs, settings)
    entropy: Tensor = torch.special.entr(masses / masses.sum(dim=-1, keepdim=True)).sum(dim=-1)
    return entropy
