"""Token sampling: temperature, top-k, top-p and min-p, then a race between the tokens that are left."""

from dataclasses import dataclass
from math import isqrt
from typing import Final

import numpy as np
import torch
from jaxtyping import Float, Float32, Int
from torch import Tensor
from torch.nn.functional import pad

from vectors.common.errors import InputError
from vectors.common.rng import Stream, rng
from vectors.common.validation import check_integer, check_number
from vectors.model.positions import check_positions

METHOD: Final = "race"
"""How tokens are drawn; every run records it, but for those of earlier versions, which drew by inverse CDF."""

_LOWEST_TEMPERATURE = 1e-30  # dividing by less overflows float32
_LEAF = 64  # tokens in a group at the lowest level: most vocabularies are a multiple of it


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How tokens are sampled; the defaults sample the model's own distribution.

    Attributes:
        max_tokens: maximum number of generated tokens.
        temperature: divides the logits; 0 takes the most likely token.
        top_p: keep the smallest set of most likely tokens whose probability reaches this; 1 keeps all.
        top_k: keep this many of the most likely tokens; 0 keeps all.
        min_p: keep tokens whose probability is at least this fraction of the highest; 0 keeps all.
        positions: positions at which shifts by layer are added, one of `vectors.model.positions.POSITIONS` or `SCOPES`;
            None if all shifts are by site.

    Raises:
        InputError: a value is outside its range.
    """

    max_tokens: int = 128
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    positions: str | None = "all"

    def __post_init__(self) -> None:
        """Check every value."""
        for name, low in (("max_tokens", 1), ("top_k", 0)):
            object.__setattr__(self, name, check_integer(getattr(self, name), name, low=low))
        for name in ("temperature", "top_p", "min_p"):
            object.__setattr__(self, name, check_number(getattr(self, name), name))
        if not 0 <= self.temperature <= 100:
            raise InputError(f"temperature is {self.temperature:g}: give a number from 0 to 100, such as 1")
        if not 0 < self.top_p <= 1:
            raise InputError(f"top_p is {self.top_p:g}: give a number above 0, up to 1 (1 keeps every token)")
        if not 0 <= self.min_p < 1:
            raise InputError(f"min_p is {self.min_p:g}: give a number from 0 (keeps every token) to below 1")
        if self.positions is not None:
            check_positions(self.positions, scopes=True)


def token_noise(seed: int, index: int, n: int, vocabulary: int) -> Float32[np.ndarray, "n noise"]:
    """Return the random numbers that draw the first `n` tokens of a sample: standard exponential, a row for each token.

    A row depends on the seed, the index and the position of its token alone.
    """
    uniforms = rng(seed, index, Stream.TOKEN).random((n, _LEAF + 2 * _fan_out(vocabulary)))
    return (-np.log1p(-uniforms)).astype(np.float32).clip(min=2.0**-64)


def sample_tokens(
    logits: Float[Tensor, "batch vocab"], noise: Float[Tensor, "batch noise"], settings: Settings
) -> Int[Tensor, " batch"]:
    """Draw one token a row with the noise of `token_noise`, after temperature and truncation.

    Rows whose logits are not finite get an arbitrary token.
    """
    if settings.temperature == 0:
        return logits.argmax(dim=-1)
    return race(probabilities(logits, settings), noise)


def race(masses: Float[Tensor, "batch vocab"], noise: Float[Tensor, "batch noise"]) -> Int[Tensor, " batch"]:
    """Draw one token a row with probability proportional to its mass, by three exponential races.

    Of some groups with masses `m` and standard exponential numbers `e`, the one with the largest `m / e` wins with
    probability proportional to `m` (the Gumbel-max trick without its logarithms). Here the first race is between groups
    of groups, the second between the groups of the winner, the third between the tokens of that group. Compared with
    the inverse CDF, in which every mass moves the boundaries of all later tokens, a rounding error changes the token
    only if two competitors are that close.

    Source: Maddison, Tarlow and Minka, "A* sampling" (2014), section 2.

    >>> race(torch.tensor([[1.0, 0.0, 3.0]]), torch.ones(1, 66)).tolist()
    [2]
    """
    fan_out = _fan_out(masses.shape[-1])
    upper, middle, lower = torch.split(noise, [fan_out, fan_out, _LEAF], dim=-1)
    groups = pad(masses, (0, -masses.shape[-1] % _LEAF)).view(len(masses), -1, _LEAF)
    sums = groups.sum(dim=-1)
    sums = pad(sums, (0, fan_out**2 - sums.shape[-1])).view(len(masses), fan_out, fan_out)
    first = (sums.sum(dim=-1) / upper).argmax(dim=-1)
    rows = torch.arange(len(masses), device=masses.device)
    second = first * fan_out + (sums[rows, first] / middle).argmax(dim=-1)
    second = second.clamp(max=groups.shape[1] - 1)  # masses that are not finite may choose a group of padding
    token: Tensor = second * _LEAF + (groups[rows, second] / lower).argmax(dim=-1)
    return token.clamp(max=masses.shape[-1] - 1)


def _fan_out(vocabulary: int) -> int:
    """Return the number of groups in each of the two upper races: its square times `_LEAF` covers the vocabulary."""
    n_groups = -(-vocabulary // _LEAF)
    return isqrt(n_groups - 1) + 1


def probabilities(logits: Float[Tensor, "batch vocab"], settings: Settings) -> Float[Tensor, "batch vocab"]:
    """Return unnormalised probabilities in float32, after temperature (above 0) and truncation."""
    scores = logits.float()
    masses = ((scores - scores.amax(dim=-1, keepdim=True)) / max(settings.temperature, _LOWEST_TEMPERATURE)).exp()
    if settings.top_k or settings.top_p < 1 or settings.min_p:
        masses = truncate(masses, settings)
    return masses


def truncate(probs: Float[Tensor, "batch vocab"], settings: Settings) -> Float[Tensor, "batch vocab"]:
    """Return `probs` with tokens outside top-k, then top-p, then min-p set to zero, without renormalising."""
    ranked, order = probs.sort(dim=-1, descending=True, stable=True)
    if settings.top_k:
        ranked[:, settings.top_k :] = 0
    if settings.top_p < 1:
        before = (ranked / ranked.sum(dim=-1, keepdim=True)).cumsum(dim=-1).roll(1, dims=-1)
        before[:, 0] = 0
        ranked = ranked.masked_fill(before >= settings.top_p, 0)
    if settings.min_p:
        ranked = ranked.masked_fill(ranked < settings.min_p * ranked[:, :1], 0)
    return torch.zeros_like(probs).scatter(-1, order, ranked)
