"""A text cut into what each token wrote, with what it cost."""

from collections.abc import Sequence
from dataclasses import dataclass

from steer.runs.sample_set import Sample
from vectors.decoding.decode import prefix_ids
from vectors.decoding.token_costs import Cost
from vectors.model.residual_model import ResidualModel

_BEFORE = 8  # tokens that are read again before the next one: what a token writes depends on those right before it
_HALF = "\ufffd"  # what a decoder writes for the beginning of a character


@dataclass(frozen=True)
class Piece:
    """What one token wrote, or several that share a character, and what it cost in nats.

    Attributes:
        text: empty for a token that writes nothing, such as the one that ends a text.
        pressure: KL(steered || base) of the distributions that it was drawn from.
        base, steered: its log-probability.
    """

    text: str
    pressure: float
    base: float
    steered: float


def pieces(model: ResidualModel, sample: Sample, cost: Cost) -> list[Piece] | None:
    """Return the pieces that a text is made of, or None where the tokenizer does not write it piece by piece."""
    texts = _texts(model, prefix_ids(model, sample.prompt or None, 1), sample.tokens)
    if "".join(text for text, _ in texts) != sample.text:
        texts = _texts(model, [], sample.tokens)
    if "".join(text for text, _ in texts) != sample.text:
        return None
    found, start = [], 0
    for text, end in texts:
        part = slice(start, end)
        found.append(
            Piece(
                text,
                float(cost.kl[part].sum()),
                float(cost.logprob_base[part].sum()),
                float(cost.logprob_steered[part].sum()),
            )
        )
        start = end
    return found


def _texts(model: ResidualModel, prefix: Sequence[int], tokens: Sequence[int]) -> list[tuple[str, int]]:
    """What tokens write one after the other, and how many of them are written by then."""
    ids = [*prefix, *tokens]
    read = len(prefix)
    found: list[tuple[str, int]] = []
    for end in range(read + 1, len(ids) + 1):
        start = max(0, read - _BEFORE)
        before, now = model.decode(ids[start:read]), model.decode(ids[start:end])
        if now.endswith(_HALF) and end < len(ids):
            continue
        found.append((now[len(before) :], end - len(prefix)))
        read = end
    return found
