"""The decode loop: a batch of rows, each with its own shift and its own random numbers, from one shared prefix."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import DynamicCache

from vectors.checks import check_utf8, number, shown, whole
from vectors.errors import InputError, ModelError
from vectors.model import ResidualModel
from vectors.positions import check_positions, on_positions
from vectors.randomness import Stream, rng
from vectors.residual import shifted

_DROP_SHARE = 8  # finished rows leave the batch once they are one in so many: copying the cache costs too


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How tokens are drawn: the base model as it is, unless told otherwise.

    Attributes:
        max_tokens: longest text, in generated tokens.
        temperature: divides the logits; 0 takes the likeliest token.
        top_p: keep the likeliest tokens that reach this mass; 1 keeps all.
        top_k: keep so many of the likeliest tokens; 0 keeps all.
        min_p: keep tokens at least this fraction as likely as the likeliest; 0 keeps all.
        positions: which positions are shifted, one of `vectors.positions.POSITIONS`.

    Raises:
        InputError: a value outside its range.
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
            object.__setattr__(self, name, whole(getattr(self, name), name, low=low))
        for name in ("temperature", "top_p", "min_p"):
            object.__setattr__(self, name, number(getattr(self, name), name))
        if not 0 <= self.temperature <= 100:
            raise InputError(f"temperature is {self.temperature:g}: give a number from 0 to 100, such as 1")
        if not 0 < self.top_p <= 1:
            raise InputError(f"top_p is {self.top_p:g}: give a number above 0, up to 1 (1 keeps every token)")
        if not 0 <= self.min_p < 1:
            raise InputError(f"min_p is {self.min_p:g}: give a number from 0 (keeps every token) to below 1")
        check_positions(self.positions)


@dataclass(frozen=True)
class Finished:
    """One finished row: its place in the batch, the ids it generated (the end token included), and why it ended."""

    row: int
    tokens: list[int]
    finish: str


def prefix_ids(model: ResidualModel, prompt: str | None, max_tokens: int) -> list[int]:
    """Return the ids every row starts from: the start token alone, or a prompt's.

    Raises:
        InputError: the prompt is empty, or prefix and `max_tokens` together outgrow the model's context.
        ModelError: no prompt, and a model without a start token.
    """
    if prompt is None:
        ids = model.start_ids()
    else:
        _check_prompt(prompt)
        ids = model.encode([prompt])[0]
        if len(ids) == (model.bos_id is not None):
            raise InputError("the prompt is empty: leave it out to sample without a prompt, or give some text")
    if len(ids) + max_tokens > model.max_context:
        room = model.max_context - len(ids)
        mend = f"ask for at most {room} tokens" if room > 0 else "shorten the prompt"
        raise InputError(
            f"{len(ids)} prompt tokens and {max_tokens} new ones outgrow the context of {model.max_context}: {mend}"
        )
    return ids


def _check_prompt(prompt: object) -> None:
    if not isinstance(prompt, str):
        raise InputError(f"the prompt is {shown(prompt)}: give text, or None to sample without a prompt")
    check_utf8(prompt, "the prompt")


def decode(
    model: ResidualModel,
    deltas: Mapping[int, Float[Tensor, "rows d_model"]],
    *,
    prefix: Sequence[int],
    settings: Settings,
    seed: int,
    indices: Sequence[int],
) -> Iterator[Finished]:
    """Yield each row as it finishes: row `r` is shifted by `deltas[layer][r]` and draws as sample `indices[r]`.

    Tokens come by inverse CDF from the sample's own uniform stream, one number a step, so that a text does not depend
    on its neighbours (matrix kernels may still round differently at another batch size).

    Raises:
        ModelError: logits that are not finite.
    """
    rows = list(range(len(indices)))
    uniforms = np.stack([rng(seed, index, Stream.TOKEN).random(settings.max_tokens) for index in indices])
    generated: list[list[int]] = [[] for _ in rows]
    cache = DynamicCache(config=model.hf.config)

    def forward(ids: Tensor, shifts: Mapping[int, Tensor]) -> Tensor:
        # the hooks live for this forward alone: the caller runs between two yields and must find the model as it was
        with torch.inference_mode(), shifted(model, shifts):
            output = model.hf(input_ids=ids, past_key_values=cache, use_cache=True, **model.last_only)
        logits: Tensor = output.logits[:, -1]
        return logits

    logits = forward(
        torch.tensor([list(prefix)] * len(rows), device=model.device), _at_prefix(deltas, prefix, settings.positions)
    )
    if cache.get_seq_length() != len(prefix):
        raise ModelError(f"model {model.name!r} keeps no key-value cache that can be used here: give another model")
    current = {} if settings.positions == "bos" else dict(deltas)
    for step in range(settings.max_tokens):
        tokens = draw(logits, uniforms[rows, step], settings).tolist()
        last = step + 1 == settings.max_tokens
        live = []
        for place, row in enumerate(rows):
            if row < 0:
                continue
            generated[row].append(tokens[place])
            ended = tokens[place] in model.eos_ids
            if ended or last:
                rows[place] = -1
                yield Finished(row, generated[row], "eos" if ended else "length")
            else:
                live.append(place)
        if not live:
            return
        if (len(rows) - len(live)) * _DROP_SHARE >= len(rows):
            cache.reorder_cache(torch.LongTensor(live))  # on each layer's own device
            rows, tokens = [rows[place] for place in live], [tokens[place] for place in live]
            current = {layer: deltas[layer][rows] for layer in current}
        logits = forward(torch.tensor(tokens, device=model.device)[:, None], current)


def draw(logits: Float[Tensor, "batch vocab"], uniforms: np.ndarray, settings: Settings) -> Int[Tensor, " batch"]:
    """Return one token a row, by inverse CDF at the row's uniform number, after temperature and truncation.

    Raises:
        ModelError: logits that are not finite.
    """
    if logits.device.type == "mps":
        logits = logits.cpu()  # it knows no float64
    if not bool(logits.isfinite().all()):
        raise ModelError("the model's logits are not finite under this shift: lower the doses, or load it in float32")
    if settings.temperature == 0:
        return logits.argmax(dim=-1)
    cdf = probabilities(logits, settings).cumsum(dim=-1)
    target = torch.as_tensor(uniforms, device=logits.device)[:, None] * cdf[:, -1:]
    return torch.searchsorted(cdf, target, right=True).squeeze(1).clamp(max=logits.shape[-1] - 1)


def probabilities(logits: Float[Tensor, "batch vocab"], settings: Settings) -> Float[Tensor, "batch vocab"]:
    """Return what tokens are drawn from, after temperature (above 0) and truncation, not renormalised after that."""
    below = logits.double() - logits.double().amax(dim=-1, keepdim=True)  # a tiny temperature must not overflow
    probs = torch.softmax(below / settings.temperature, dim=-1)
    if settings.top_k or settings.top_p < 1 or settings.min_p:
        probs = truncate(probs, settings)
    return probs


def truncate(probs: Float[Tensor, "batch vocab"], settings: Settings) -> Float[Tensor, "batch vocab"]:
    """Return `probs` with the tokens outside top-k, then top-p, then min-p set to zero, not renormalised."""
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


def _at_prefix(deltas: Mapping[int, Tensor], prefix: Sequence[int], positions: str) -> dict[int, Tensor]:
    """The shifts of the prefix's own positions."""
    if positions == "all":
        return dict(deltas)
    return {layer: on_positions(delta, len(prefix), len(prefix), positions) for layer, delta in deltas.items()}
