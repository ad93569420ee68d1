"""Shifts that learn from the texts that they make: texts that are rewarded become likelier, at a bounded pressure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from vectors.activations.text_likelihood import check_likelihood
from vectors.common.rng import Stream, rng
from vectors.decoding.prompt_free_samples import fitting_length
from vectors.decoding.prompted_samples import sample_prompted
from vectors.extraction.shifts.distilled_shift import LOSS_SCALE, ROWS, steered_states
from vectors.extraction.shifts.likely_tokens import LikelyTokens
from vectors.model.positions import Site
from vectors.model.residual_model import ResidualModel

ROUNDS = 8
"""Rounds; in each of them texts are sampled and rewarded, and the shifts learn from them."""

TEXTS = 64
"""Texts of a round."""

MAX_TOKENS = 32
"""Length limit of a text."""

PASSES = 2
"""How often each text is learned from."""

RATE = 0.02
"""Learning rate of Adam, relative to the root mean square of each shift: a step changes a coordinate by this share."""

PRICE = 0.02
"""Reward that a nat of a text's pressure costs in the first round."""

_LEAST_SIZE = 0.1  # of a shift, relative to the largest one, that its learning rate is taken from
_MOST_PRICE = 0.1
_MOST_OFF = 0.35  # a pressure that is further off, relative to the wanted one, counts as this far off
_PRICE_GAIN = 2.0  # of the logarithm of the price with the relative error of the pressure
_CLIP = 0.2  # a token whose likelihood has moved by this share is left alone

TokenIds = Sequence[int]
Reward = Callable[[Sequence[str]], Float64[np.ndarray, " texts"]]
"""Maps texts to rewards between 0 and 1."""


@dataclass(frozen=True, eq=False)
class _Batch:
    """Some texts that the steered model wrote; all but the first two by token, one text after the other.

    Attributes:
        texts: token ids of each.
        kl: pressure of the tokens of each, in nats.
        columns: index of each token among the compared ones.
        plain: log-probabilities of the compared tokens without shifts.
        before: log-probability of each token under the shifts that it was sampled with.
    """

    texts: list[list[int]]
    kl: list[Float64[np.ndarray, " _"]]
    columns: Int[Tensor, " n"]
    plain: Float[Tensor, "n compared"]
    before: Float[Tensor, " n"]


def reward_shifts(
    model: ResidualModel,
    shifts: Mapping[Site, Float[Tensor, " d_model"]],
    reward: Reward,
    likely: LikelyTokens,
    *,
    pressure: float,
    rounds: int = ROUNDS,
    texts: int = TEXTS,
    seed: int = 0,
    progress: Callable[[float, float], None] | None = None,
) -> dict[Site, Float64[Tensor, " d_model"]]:
    """Return shifts under which more of the model's texts are rewarded, at about the same mean pressure.

    In each round the steered model writes texts, and Adam follows the policy gradient: a token becomes likelier as far
    as the reward of its text, less the price of the pressure that followed, exceeds the mean over the texts. The
    pressure KL(steered || plain) at each token is lowered at the same price, which rises while the pressure is above
    the wanted one and falls while it is below.
    Source: Ziegler et al., "Fine-tuning language models from human preferences" (2019), with shifts in place of
    weights; Schulman et al., "Proximal policy optimization algorithms" (2017), for the clipped ratio of likelihoods.

    Args:
        model: the model that is steered.
        shifts: what to begin with, by layer and positions, of a length that has about the wanted pressure.
        reward: what a text is worth. The judge of the result must be another one.
        likely: the tokens by which predictions are compared.
        pressure: the mean pressure, in nats per token.
        rounds: number of rounds.
        texts: texts of a round.
        seed: of the texts.
        progress: called after each round with the mean reward and the mean pressure of its texts.

    Raises:
        ModelError: a loss that is not finite.
    """
    learned = {
        site: shift.detach().float().to(model.device).clone().requires_grad_(True) for site, shift in shifts.items()
    }
    sizes = [float(shift.detach().square().mean().sqrt()) for shift in learned.values()]
    groups = [
        {"params": [shift], "lr": RATE * max(size, _LEAST_SIZE * max(sizes))}
        for shift, size in zip(learned.values(), sizes, strict=True)
    ]
    adam, price = torch.optim.Adam(groups, betas=(0.9, 0.98)), PRICE
    for number in range(rounds):
        written = _write(model, learned, texts, seed=seed, number=number)
        if not written:
            break
        rewards = reward([model.decode(ids) for ids in written])
        seen = likely.including({token for text in written for token in text})
        compared = _Compared(model, seen, seen.draw(seed, number))
        batches = [compared.read(written[at : at + ROWS], learned) for at in range(0, len(written), ROWS)]
        kl = [own for batch in batches for own in batch.kl]
        mean = float(np.concatenate(kl).mean())
        off = np.clip(mean / pressure - 1, -_MOST_OFF, _MOST_OFF)
        price = min(_MOST_PRICE, price * float(np.exp(_PRICE_GAIN * off)))
        advantages = advantages_of(rewards, kl, price)
        order = rng(seed, number, Stream.FIT, part=4)
        for at in (at for _ in range(PASSES) for at in order.permutation(len(batches))):
            gains = np.concatenate(advantages[at * ROWS : (at + 1) * ROWS])
            with torch.enable_grad():
                loss = compared.loss(batches[at], gains, learned, price)
                check_likelihood(model, next(iter(shifts))[0], loss.item())
                gradients = torch.autograd.grad(LOSS_SCALE * loss, list(learned.values()))
            for shift, gradient in zip(learned.values(), gradients, strict=True):
                shift.grad = gradient
            adam.step()
        if progress:
            progress(float(np.mean(rewards)), mean)
    return {site: shift.detach().cpu().double() for site, shift in learned.items()}


def _write(
    model: ResidualModel, shifts: Mapping[Site, Float[Tensor, " d_model"]], n: int, *, seed: int, number: int
) -> list[list[int]]:
    """Return the token ids of the texts of a round that are not empty, the short ones first."""
    found = sample_prompted(
        model, [model.start_ids()], n, max_tokens=fitting_length(model, MAX_TOKENS),
        seed=int(rng(seed, number, Stream.FIT, part=3).integers(2**63)),
        shifts={site: shift.detach() for site, shift in shifts.items()}, costs=False,
    )  # fmt: skip
    return sorted((tokens for tokens in found.tokens if tokens), key=len)


def advantages_of(
    rewards: Float64[np.ndarray, " texts"], kl: Sequence[Float64[np.ndarray, " _"]], price: float
) -> list[Float64[np.ndarray, " _"]]:
    """Return for each token of each text how much better than the mean the text went on from there.

    Args:
        rewards: of the texts.
        kl: pressure of each token of each text, in nats.
        price: of a nat.

    >>> first, second = advantages_of(np.array([1.0, 0.0]), [np.array([1.0, 2.0]), np.array([1.0])], 0.1)
    >>> first.round(2).tolist(), second.round(2).tolist()
    ([0.4, 0.0], [-0.4])
    """
    longest = max(map(len, kl))
    value = np.full((len(kl), longest), np.nan)
    for row, (reward, own) in enumerate(zip(rewards, kl, strict=True)):
        value[row, : len(own)] = reward - price * (own[::-1].cumsum()[::-1] - own)  # the pressure after each token
    value -= np.nanmean(value, axis=0)
    return [row[: len(own)] for row, own in zip(value, kl, strict=True)]


@dataclass(frozen=True, eq=False)
class _Compared:
    """The tokens by which the predictions of a round are compared."""

    model: ResidualModel
    likely: LikelyTokens
    tokens: Int[Tensor, " compared"]

    def log_probs(
        self, texts: Sequence[TokenIds], shifts: Mapping[Site, Float[Tensor, " d_model"]]
    ) -> Float[Tensor, "n compared"]:
        """Return the log-probabilities of the compared tokens at each token of the texts, under shifts."""
        return self.likely.log_probs(self.model, steered_states(self.model, texts, shifts), self.tokens)

    def read(self, texts: list[list[int]], shifts: Mapping[Site, Float[Tensor, " d_model"]]) -> _Batch:
        """Return texts with their pressure."""
        own = torch.tensor([token for text in texts for token in text])
        columns = torch.searchsorted(self.likely.likely, own).to(self.model.device)
        with torch.no_grad():
            plain, steered = self.log_probs(texts, {}), self.log_probs(texts, shifts)
            kl = (steered.exp() * (steered - plain)).sum(dim=-1).double().cpu().numpy()
            before = steered.gather(1, columns[:, None])[:, 0]
        ends = np.cumsum([len(text) for text in texts])[:-1]
        return _Batch(texts, np.split(kl, ends), columns, plain, before)

    def loss(
        self,
        batch: _Batch,
        advantages: Float64[np.ndarray, " n"],
        shifts: Mapping[Site, Float[Tensor, " d_model"]],
        price: float,
    ) -> Float[Tensor, ""]:
        """Return the mean over texts of the clipped objective, negated, and of the price of the pressure."""
        steered = self.log_probs(batch.texts, shifts)
        gain = torch.from_numpy(advantages).to(steered)
        ratio = (steered.gather(1, batch.columns[:, None])[:, 0] - batch.before).clamp(-3, 3).exp()
        objective = torch.minimum(gain * ratio, gain * ratio.clamp(1 - _CLIP, 1 + _CLIP))
        kl = (steered.exp() * (steered - batch.plain)).sum(dim=-1)
        return (price * kl - objective).sum() / len(batch.texts)
