"""Sample texts without a prompt, from the start token alone: the plain model, or one shift for each sample."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from vectors.common.progress import Advance
from vectors.decoding.decode import Finished, ShiftsOf, decode, prefix_ids
from vectors.decoding.token_sampling import Settings
from vectors.model.positions import Shifts, Site, by_site
from vectors.model.residual_model import ResidualModel

MAX_TOKENS = 64
"""Default length limit of a sample, in generated tokens."""


@dataclass(frozen=True)
class ShiftedSamples:
    """Prompt-free samples of a shifted model, in the order of their indices.

    Attributes:
        texts: one text a sample; some may be blank.
        costs: KL(shifted || base) of every generated token of each sample, nats.
    """

    texts: list[str]
    costs: list[np.ndarray]

    @property
    def kl(self) -> np.ndarray:
        """KL(shifted || base) of every generated token of all samples, nats."""
        return np.concatenate(self.costs)

    @property
    def p95(self) -> float:
        """95th percentile of the pressure over all tokens of all samples, nats."""
        return float(np.percentile(self.kl, 95))


def sample_prompt_free(
    model: ResidualModel, n: int, *, seed: int = 0, max_tokens: int = MAX_TOKENS, progress: Advance | None = None
) -> list[str]:
    """Sample `n` texts from the start token at temperature 1 and return those that are not blank.

    Args:
        model: the model.
        n: number of samples.
        seed: seed of the tokens; sample `i` does not depend on `n`.
        max_tokens: length limit of a sample, cut to what the model's context has room for.
        progress: called with 1 after each sample.

    Raises:
        ModelError: the model has no start token.
    """
    texts = sample_texts(model, n, seed=seed, max_tokens=max_tokens, progress=progress)
    return [text for text in texts if text.strip()]


def sample_texts(
    model: ResidualModel, n: int, *, seed: int, max_tokens: int, first: int = 0, progress: Advance | None = None
) -> list[str]:
    """Do the same, and return blank texts too, those of the samples `first` to `first + n - 1`.

    Raises:
        ModelError: the model has no start token.
    """
    settings = Settings(max_tokens=fitting_length(model, max_tokens))
    samples = _sample(model, None, n, settings=settings, seed=seed, first=first, progress=progress)
    return [model.decode(sample.tokens) for sample in samples]


def sample_shifted(
    model: ResidualModel,
    shifts: Shifts,
    *,
    n: int,
    settings: Settings,
    seed: int,
    first: int = 0,
    progress: Advance | None = None,
) -> ShiftedSamples:
    """Sample `n` texts from the start token under a shift.

    Args:
        model: the model.
        shifts: for each layer or site one shift for all samples, " d_model", or one for each, "n d_model"; empty for
            the plain model.
        n: number of samples.
        settings: how tokens are sampled, and at which positions the shift is added.
        seed: seed of the tokens.
        first: index of the first sample.
        progress: called with 1 after each sample.

    Raises:
        ModelError: the model has no start token.
    """
    rows = {
        site: shift.expand(n, -1) if shift.ndim == 1 else shift
        for site, shift in by_site(shifts, settings.positions).items()
    }

    def shifts_of(indices: Sequence[int]) -> dict[Site, Tensor]:
        return {site: row[[index - first for index in indices]] for site, row in rows.items()}

    samples = _sample(
        model, shifts_of if rows else None, n, settings=settings, seed=seed, first=first, progress=progress
    )
    return ShiftedSamples([model.decode(sample.tokens) for sample in samples], [sample.cost.kl for sample in samples])


def fitting_length(model: ResidualModel, max_tokens: int) -> int:
    """Return `max_tokens`, or how many tokens fit into the model's context after the start token if that is less.

    Raises:
        ModelError: the model has no start token.
    """
    return min(max_tokens, model.max_context - len(model.start_ids()))


def _sample(
    model: ResidualModel, shifts: ShiftsOf | None, n: int, *, settings: Settings, seed: int, progress: Advance | None,
    first: int = 0,
) -> list[Finished]:  # fmt: skip
    """Sample without a prompt; return the samples in the order of their indices."""
    prefix = prefix_ids(model, None, settings.max_tokens)
    samples = []
    for sample in decode(model, shifts, prefix=prefix, settings=settings, seed=seed, indices=range(first, first + n)):
        samples.append(sample)
        if progress:
            progress(1)
    return sorted(samples, key=lambda sample: sample.index)
