"""Sample texts behind prompts, with the pressure of the prompt: the baseline that steering is held against."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vectors.common.errors import InputError
from vectors.common.progress import Advance
from vectors.common.rng import Stream, rng
from vectors.decoding.decode import decode
from vectors.decoding.token_sampling import Settings
from vectors.model.hooks import shift_layers
from vectors.model.output_head import final_states, map_logits
from vectors.model.positions import Site, sum_by_layer
from vectors.model.residual_model import ResidualModel

TokenIds = Sequence[int]

BETWEEN = "\n\n"
"""What separates examples in a prompt, and ends a text behind them."""

EXAMPLE_TOKENS = 64
"""Tokens of each example."""

PROMPTS = 8
"""Prompts with other examples, among which samples are shared."""

_BATCH = 16  # texts of one forward


@dataclass(frozen=True)
class PromptedSamples:
    """Texts behind prompts, in the order of their indices; text `i` is behind prompt `i` modulo their number.

    Attributes:
        texts: one text a sample, without its prompt.
        tokens: token ids of each text.
        costs: KL(prompted || base) of every generated token of each text, nats; empty without costs.
    """

    texts: list[str]
    tokens: list[list[int]]
    costs: list[np.ndarray]

    @property
    def pressure(self) -> float:
        """Mean over all tokens of KL(prompted || base), nats."""
        return float(np.concatenate(self.costs).mean())


def check_room(model: ResidualModel, prompts: Sequence[TokenIds], max_tokens: int) -> None:
    """Refuse prompts that leave no room for a text in the context of the model.

    Raises:
        InputError: with the room that is left.
    """
    for prompt in prompts:
        if (room := model.max_context - len(prompt)) < max_tokens:
            raise InputError(
                f"a prompt of {len(prompt)} tokens leaves room for {max(room, 0)} of {max_tokens} in the context of "
                f"{model.max_context}: shorten it"
            )


def sample_prompted(
    model: ResidualModel,
    prompts: Sequence[TokenIds],
    n: int,
    *,
    max_tokens: int,
    seed: int = 0,
    stop: str | None = None,
    shifts: Mapping[Site, Float[Tensor, " d_model"]] | None = None,
    costs: bool = True,
    progress: Advance | None = None,
) -> PromptedSamples:
    """Sample `n` texts behind prompts at temperature 1, steered too if there are shifts.

    Args:
        model: the model.
        prompts: token ids of each, the start token included.
        n: number of texts, shared among the prompts.
        max_tokens: length limit of a text.
        seed: seed of the tokens.
        stop: text that ends a sample, such as a blank line; it is left out.
        shifts: added to the stream, by site; the pressure is then that of prompt and shifts together.
        costs: whether to measure the pressure, by a second forward without prompt and shifts.
        progress: called with 1 after each text.

    Raises:
        InputError: a prompt that leaves no room in the context of the model.
        ModelError: a model without a start token, for the pressure.
    """
    check_room(model, prompts, max_tokens)

    def shifts_of(indices: Sequence[int]) -> dict[Site, Tensor]:
        return {site: shift.expand(len(indices), -1) for site, shift in (shifts or {}).items()}

    tokens: list[list[int]] = [[] for _ in range(n)]
    for number, prompt in enumerate(prompts):
        indices = range(number, n, len(prompts))
        for sample in decode(
            model, shifts_of if shifts else None, prefix=prompt, settings=Settings(max_tokens=max_tokens), seed=seed,
            indices=indices, costs=False,
        ):  # fmt: skip
            tokens[sample.index] = [token for token in sample.tokens if token not in model.eos_ids]
            if progress:
                progress(1)
    if stop is not None:
        tokens = [_before(model.decode, ids, stop) for ids in tokens]
    texts = [model.decode(ids) for ids in tokens]
    behind = [prompts[index % len(prompts)] for index in range(n)]
    found = _kl(model, behind, tokens, shifts or {}) if costs else []
    return PromptedSamples(texts, tokens, found)


def example_prompts(
    model: ResidualModel, examples: Sequence[str], shots: int, *, n: int = PROMPTS, seed: int = 0
) -> list[list[int]]:
    """Return prompts of a few examples each, as token ids: each example, cut to 64 tokens, and a blank line.

    Args:
        model: the model.
        examples: texts; equal ones count once.
        shots: examples in a prompt, or as many as there are.
        n: number of prompts.
        seed: of the choice.
    """
    start = model.start_ids()
    texts = [list(row)[len(start) :][:EXAMPLE_TOKENS] for row in model.encode(list(dict.fromkeys(examples)))]
    between = list(model.encode([BETWEEN])[0])[len(start) :]
    random = rng(seed, shots, Stream.FIT, part=2)
    prompts = []
    for _ in range(n):
        chosen = random.choice(len(texts), size=min(shots, len(texts)), replace=False)
        prompts.append([*start, *(token for index in chosen for token in (*texts[index], *between))])
    return prompts


def text_states(model: ResidualModel, rows: Sequence[tuple[TokenIds, TokenIds]]) -> Float[Tensor, "n width"]:
    """Return the final states that predict the tokens of each text behind its prefix, row after row."""
    batch = model.batch([[*prefix, *text] for prefix, text in rows])
    states = final_states(model, batch)
    return torch.cat(
        [states[row, len(prefix) - 1 : len(prefix) + len(text) - 1] for row, (prefix, text) in enumerate(rows)]
    )


def kl_between(logits: Float[Tensor, "n vocab"], other: Float[Tensor, "n vocab"]) -> Float[Tensor, " n"]:
    """Return KL(logits || other) of each row of next-token distributions, in nats."""
    own = logits.log_softmax(dim=-1)
    kl: Tensor = (own.exp() * (own - other.log_softmax(dim=-1))).sum(dim=-1)
    return kl


def _kl(
    model: ResidualModel, prompts: Sequence[TokenIds], texts: Sequence[TokenIds], shifts: Mapping[Site, Tensor]
) -> list[np.ndarray]:
    start, costs = model.start_ids(), [np.zeros(0)] * len(texts)
    order = sorted(range(len(texts)), key=lambda index: len(prompts[index]))
    for length, group in groupby(order, key=lambda index: len(prompts[index])):  # shifts know the prompt by its length
        indices = [index for index in group if texts[index]]
        for first in range(0, len(indices), _BATCH):
            some = indices[first : first + _BATCH]
            rows = [(prompts[index], texts[index]) for index in some]
            longest = length + max(len(text) for _, text in rows)
            by_row = {site: shift.float().expand(len(rows), -1) for site, shift in shifts.items()}
            with torch.no_grad():
                with shift_layers(model, sum_by_layer(by_row, longest, length, "all")):
                    prompted = text_states(model, rows)
                plain = text_states(model, [(start, text) for _, text in rows])
                kl = map_logits(model, kl_between, prompted, plain).cpu().numpy()
            for index, own in zip(some, np.split(kl, np.cumsum([len(text) for _, text in rows])[:-1]), strict=True):
                costs[index] = own
    return costs


def _before(decoded: Callable[[Sequence[int]], str], tokens: list[int], stop: str) -> list[int]:
    """Return the tokens before the one that completes the first `stop`."""
    if stop not in decoded(tokens):
        return tokens
    low, high = 0, len(tokens)  # the shortest beginning with the stop, by bisection
    while low + 1 < high:
        middle = (low + high) // 2
        low, high = (low, middle) if stop in decoded(tokens[:middle]) else (middle, high)
    kept = tokens[: high - 1]
    while kept and not decoded(kept[-1:]).strip():  # the blank line may have begun before
        kept.pop()
    return kept
