"""What a steered text cost: log-probabilities and KL of base and steered model, teacher-forced once each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from vectors.common.progress import Advance
from vectors.decoding.token_sampling import Settings, probabilities
from vectors.model.hooks import shift_layers
from vectors.model.interventions import Intervention
from vectors.model.positions import shift_by_position
from vectors.model.residual_model import ResidualModel

_LOGITS_AT_ONCE = 1 << 26  # entries of one logits tensor: rows are taken a few at a time to stay below


@dataclass(frozen=True)
class Cost:
    """One text's cost, a number for each generated token, in nats.

    `kl[t]` is KL(steered || base) of the next-token distributions at the prefix before token `t`; `entropy[t]`, where
    it was asked for, that of the distribution that token `t` was drawn from.
    """

    logprob_base: np.ndarray
    logprob_steered: np.ndarray
    kl: np.ndarray
    entropy: np.ndarray | None = None

    @property
    def pressure(self) -> dict[str, float]:
        """Mean and 95th percentile per token, and the total over the text; nothing for a text without tokens."""
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
    """Return, of the logits that one token a row is drawn from, its log-probabilities base and steered, and the KL.

    Without `base`, nothing is shifted: the log-probabilities are the same and nothing is paid. Logits that are not
    finite give numbers that are not.
    """
    chosen = tokens[:, None]
    scores = steered.float()
    masses, normaliser = _normalised(scores)
    logprob = scores.gather(-1, chosen) - normaliser
    if base is None:
        return torch.cat([logprob, logprob, torch.zeros_like(logprob)], dim=-1)
    other = base.float()
    other_normaliser = _normalised(other)[1]
    lead = (masses * (scores - other)).sum(dim=-1, keepdim=True) / masses.sum(dim=-1, keepdim=True)
    # a difference of nothing is rounded to a little below it; what is no number stays none
    kl = (lead - normaliser + other_normaliser).clamp(min=0)
    return torch.cat([other.gather(-1, chosen) - other_normaliser, logprob, kl], dim=-1)


def _normalised(scores: Float[Tensor, "rows vocab"]) -> tuple[Float[Tensor, "rows vocab"], Float[Tensor, "rows 1"]]:
    """The exponentials beside the largest, and the logarithm of the sum of all."""
    top = scores.amax(dim=-1, keepdim=True)
    masses = (scores - top).exp()
    return masses, top + masses.sum(dim=-1, keepdim=True).log()


def compute_costs(
    model: ResidualModel,
    deltas: Mapping[int, Float[Tensor, "rows d_model"]],
    *,
    prefix: Sequence[int],
    generated: Sequence[Sequence[int]],
    positions: str = "all",
    drawn: Settings | None = None,
    interventions: Mapping[int, Intervention] | None = None,
    progress: Advance | None = None,
) -> list[Cost]:
    """Return the cost of each generated text, row `r` of which was shifted by `deltas[layer][r]`.

    The distributions are the models' own, at temperature 1 and without truncation, whatever the text was drawn with;
    given the settings that it was `drawn` with, costs hold the entropy of what each token was drawn from, too. After
    every few texts, `progress` is called with how many more are done.
    """
    order = sorted(range(len(generated)), key=lambda row: len(generated[row]))
    longest = max(len(prefix) + len(tokens) for tokens in generated)
    at_once = max(1, _LOGITS_AT_ONCE // (longest * model.hf.config.get_text_config().vocab_size))
    found: dict[int, Cost] = {}
    for start in range(0, len(order), at_once):
        rows = order[start : start + at_once]
        picked = {layer: delta[rows] for layer, delta in deltas.items()}
        texts = [generated[row] for row in rows]
        found.update(
            zip(rows, _batch_costs(model, picked, prefix, texts, positions, drawn, interventions), strict=True)
        )
        if progress:
            progress(len(rows))
    return [found[row] for row in range(len(generated))]


def _batch_costs(
    model: ResidualModel,
    deltas: Mapping[int, Tensor],
    prefix: Sequence[int],
    generated: Sequence[Sequence[int]],
    positions: str,
    drawn: Settings | None,
    interventions: Mapping[int, Intervention] | None,
) -> list[Cost]:
    batch = model.batch([[*prefix, *tokens] for tokens in generated])
    length = batch["input_ids"].shape[1]
    spread = {layer: shift_by_position(delta, length, len(prefix), positions) for layer, delta in deltas.items()}
    first = len(prefix) - 1
    with torch.inference_mode():
        base = torch.log_softmax(model.hf(**batch, use_cache=False).logits[:, first:-1].float(), dim=-1)
        steered = base
        if spread:
            with shift_layers(model, spread, interventions=interventions):
                steered = torch.log_softmax(model.hf(**batch, use_cache=False).logits[:, first:-1].float(), dim=-1)
        # at an unsteered model nothing is paid: no need to sum up a vocabulary of zeros
        kl = (steered.exp() * (steered - base)).sum(dim=-1).clamp(min=0) if spread else base.new_zeros(base.shape[:-1])
        targets = batch["input_ids"][:, first + 1 :, None]
        chosen = [scores.gather(-1, targets).squeeze(-1).cpu().double().numpy() for scores in (base, steered)]
        entropy = None if drawn is None else _entropy(steered, drawn).cpu().double().numpy()
    found = kl.cpu().double().numpy()
    return [
        Cost(
            chosen[0][row, : len(tokens)],
            chosen[1][row, : len(tokens)],
            found[row, : len(tokens)],
            None if entropy is None else entropy[row, : len(tokens)],
        )
        for row, tokens in enumerate(generated)
    ]


def _entropy(logprobs: Tensor, settings: Settings) -> Tensor:
    """Entropy, in nats, of what is drawn from at each position."""
    if settings.temperature == 0:
        return torch.zeros(logprobs.shape[:-1])
    rows = torch.stack([probabilities(row, settings) for row in logprobs])
    found: Tensor = torch.special.entr(rows / rows.sum(dim=-1, keepdim=True)).sum(dim=-1)
    return found
