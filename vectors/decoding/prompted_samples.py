"""Sample texts behind prompts, with the pressure of the prompt: the baseline that steering is held against."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vectors.common.errors import InputError
from vectors.common.progress import Advance
from vectors.decoding.decode import decode
from vectors.decoding.token_sampling import Settings
from vectors.model.output_head import final_states, map_logits
from vectors.model.residual_model import ResidualModel

TokenIds = Sequence[int]

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


def sample_prompted(
    model: ResidualModel,
    prompts: Sequence[TokenIds],
    n: int,
    *,
    max_tokens: int,
    seed: int = 0,
    stop: str | None = None,
    costs: bool = True,
    progress: Advance | None = None,
) -> PromptedSamples:
    """Sample `n` texts behind prompts at temperature 1.

    Args:
        model: the model.
        prompts: token ids of each, the start token included.
        n: number of texts, shared among the prompts.
        max_tokens: length limit of a text.
        seed: seed of the tokens.
        stop: text that ends a sample, such as a blank line; it is left out.
        costs: whether to measure the pressure, by a second forward without the prompt.
        progress: called with 1 after each text.

    Raises:
        InputError: a prompt that leaves no room in the context of the model.
        ModelError: a model without a start token, for the pressure.
    """
    for prompt in prompts:
        if (room := model.max_context - len(prompt)) < max_tokens:
            raise InputError(
                f"a prompt of {len(prompt)} tokens leaves room for {max(room, 0)} of {max_tokens} in the context of "
                f"{model.max_context}: shorten it"
            )
    tokens: list[list[int]] = [[] for _ in range(n)]
    for number, prompt in enumerate(prompts):
        indices = range(number, n, len(prompts))
        for sample in decode(
            model, None, prefix=prompt, settings=Settings(max_tokens=max_tokens), seed=seed, indices=indices
        ):
            tokens[sample.index] = [token for token in sample.tokens if token not in model.eos_ids]
            if progress:
                progress(1)
    if stop is not None:
        tokens = [_before(model.decode, ids, stop) for ids in tokens]
    texts = [model.decode(ids) for ids in tokens]
    behind = [prompts[index % len(prompts)] for index in range(n)]
    found = _kl(model, behind, tokens) if costs else []
    return PromptedSamples(texts, tokens, found)


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


def _kl(model: ResidualModel, prompts: Sequence[TokenIds], texts: Sequence[TokenIds]) -> list[np.ndarray]:
    start, costs = model.start_ids(), list[np.ndarray]()
    for first in range(0, len(texts), _BATCH):
        rows = list(zip(prompts, texts, strict=True))[first : first + _BATCH]
        with torch.no_grad():
            prompted = text_states(model, rows)
            plain = text_states(model, [(start, text) for _, text in rows])
            kl = map_logits(model, kl_between, prompted, plain).cpu().numpy()
        costs += np.split(kl, np.cumsum([len(text) for _, text in rows])[:-1])
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
