"""Token sampling: temperature, top-k, top-p and min-p, then the inverse CDF at a uniform number."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor
from torch.nn.functional import pad

from vectors.common.errors import InputError
from vectors.common.validation import check_integer, check_number
from vectors.model.positions import check_positions

_LOWEST_TEMPERATURE = 1e-30  # dividing by less overflows float32
_BLOCK = 128  # tokens a block: a cumulative sum of the whole vocabulary in float64 takes as long as a small model


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How tokens are sampled; the defaults sample the model's own distribution.

    Attributes:
        max_tokens: maximum number of generated tokens.
        temperature: divides the logits; 0 takes the most likely token.
        top_p: keep the smallest set of most likely tokens whose probability reaches this; 1 keeps all.
        top_k: keep this many of the most likely tokens; 0 keeps all.
        min_p: keep tokens whose probability is at least this fraction of the highest; 0 keeps all.
        positions: positions at which the shift is added, one of `vectors.model.positions.POSITIONS` or `SCOPES`.

    Raises:
        InputError: a value is outside its range.
    """

    max_tokens: int = 128
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    positions: str = "all"

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
        check_positions(self.positions, scopes=True)


def sample_tokens(
    logits: Float[Tensor, "batch vocab"], uniforms: Float64[Tensor, " batch"], settings: Settings
) -> Int[Tensor, " batch"]:
    """Sample one token a row by inverse CDF at the row's uniform number, after temperature and truncation.

    Rows whose logits are not finite get an arbitrary token.
    """
    if settings.temperature == 0:
        return logits.argmax(dim=-1)
    if logits.device.type == "mps":  # MPS has no float64
        return inverse_cdf(probabilities(logits.cpu(), settings), uniforms.cpu()).to(logits.device)
    return inverse_cdf(probabilities(logits, settings), uniforms)


def inverse_cdf(masses: Float[Tensor, "batch vocab"], uniforms: Float64[Tensor, " batch"]) -> Int[Tensor, " batch"]:
    """Return for each row the first token at which the CDF exceeds the row's uniform number.

    Masses need not sum to 1. Cumulative sums over blocks find the block, those within it the token, both in float64.

    >>> inverse_cdf(torch.tensor([[1.0, 0.0, 3.0]]), torch.tensor([0.3], dtype=torch.float64)).tolist()
    [2]
    """
    blocks = pad(masses, (0, -masses.shape[-1] % _BLOCK)).view(len(masses), -1, _BLOCK)
    ends = blocks.sum(dim=-1).double().cumsum(dim=-1)
    target = uniforms[:, None] * ends[:, -1:]
    block = _first_beyond(ends, target)
    before = torch.where(block > 0, ends.gather(-1, (block - 1).clamp(min=0)), 0.0)
    inside = blocks.take_along_dim(block[:, :, None], dim=1).squeeze(1).double().cumsum(dim=-1)
    token = block * _BLOCK + _first_beyond(inside, target - before)
    return token.squeeze(1).clamp(max=masses.shape[-1] - 1)


def _first_beyond(ends: Tensor, target: Tensor) -> Tensor:
    """Return the first index whose cumulative sum exceeds the target; if rounding leaves none, the last with mass."""
    last = torch.searchsorted(ends, ends[:, -1:].contiguous(), right=False)
    return torch.minimum(torch.searchsorted(ends, target.contiguous(), right=True), last).clamp(max=ends.shape[-1] - 1)


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
