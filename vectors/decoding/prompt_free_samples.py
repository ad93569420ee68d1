"""The texts that a model writes by itself."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor

from vectors.decoding.decode import decode, prefix_ids
from vectors.decoding.token_sampling import Settings
from vectors.model.residual_model import ResidualModel

MAX_TOKENS = 64
"""Of each of them."""


def sample_prompt_free(
    model: ResidualModel, n: int, *, seed: int = 0, progress: Callable[[int], None] | None = None
) -> list[str]:
    """Return `n` texts that the model writes from its start token alone, at temperature 1; blank ones are left out.

    Raises:
        ModelError: a model without a start token.
    """
    longest = min(MAX_TOKENS, model.max_context - len(model.start_ids()))
    made = []
    settings = Settings(max_tokens=longest)
    prefix = prefix_ids(model, None, longest)
    for finished in decode(model, None, prefix=prefix, settings=settings, seed=seed, indices=range(n)):
        made.append(finished)
        if progress:
            progress(1)
    texts = (model.decode(finished.tokens) for finished in sorted(made, key=lambda finished: finished.index))
    return [text for text in texts if text.strip()]


@dataclass(frozen=True)
class Pilot:
    """Prompt-free samples under one shift: their texts and the KL of every generated token."""

    texts: list[str]
    kl: np.ndarray

    @property
    def p95(self) -> float:
        """95th percentile of the pressure over all tokens of all samples, nats."""
        return float(np.percentile(self.kl, 95))


def pilot(
    model: ResidualModel,
    deltas: Mapping[int, Float[Tensor, " d_model"] | Float[Tensor, "n d_model"]],
    *,
    n: int,
    settings: Settings,
    seed: int,
) -> Pilot:
    """Return `n` prompt-free samples under one shift for all, or one for each, at each layer."""
    rows = {layer: delta.expand(n, -1) if delta.ndim == 1 else delta for layer, delta in deltas.items()}
    prefix = prefix_ids(model, None, settings.max_tokens)
    done = list(
        decode(
            model, lambda some: {layer: row[list(some)] for layer, row in rows.items()}, prefix=prefix,
            settings=settings, seed=seed, indices=range(n),
        )
    )  # fmt: skip
    done.sort(key=lambda finished: finished.index)
    texts = [model.decode(finished.tokens) for finished in done]
    return Pilot(texts, np.concatenate([finished.cost.kl for finished in done]))
