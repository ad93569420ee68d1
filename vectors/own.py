"""The texts that a model writes by itself."""

from collections.abc import Callable

from vectors.decode import decode, prefix_ids
from vectors.drawing import Settings
from vectors.model import ResidualModel

MAX_TOKENS = 64
"""Of each of them."""


def own_texts(
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
