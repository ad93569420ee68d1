"""Text cut into pieces, one for each token (or several that share a character), with their costs."""

from collections.abc import Sequence
from dataclasses import dataclass

from steer.runs.sample_set import Sample
from vectors.decoding.decode import prefix_ids
from vectors.decoding.token_costs import Cost
from vectors.model.residual_model import ResidualModel

_CONTEXT = 8  # tokens decoded together with the next one: how a token is written depends on the few before it
_INCOMPLETE = "\ufffd"  # what a decoder writes for the first bytes of a character


@dataclass(frozen=True)
class Piece:
    """The text of one token, or of several that share a character, with its cost in nats.

    Attributes:
        text: empty for a token without text, such as the one that ends a text.
        position: of its first token among the generated tokens, 0-based.
        pressure: KL(steered || base) of the next-token distributions.
        base, steered: log-probability under the base and the steered model.
    """

    text: str
    position: int
    pressure: float
    base: float
    steered: float


def pieces(model: ResidualModel, sample: Sample, cost: Cost) -> list[Piece] | None:
    """Return the pieces of a text, or None if the decoded tokens do not add up to the text."""
    decoded = _decode_stepwise(model, prefix_ids(model, sample.prompt or None, 1), sample.tokens)
    if "".join(text for text, _ in decoded) != sample.text:
        decoded = _decode_stepwise(model, [], sample.tokens)
    if "".join(text for text, _ in decoded) != sample.text:
        return None
    result, start = [], 0
    for text, end in decoded:
        part = slice(start, end)
        result.append(
            Piece(
                text=text,
                position=start,
                pressure=float(cost.kl[part].sum()),
                base=float(cost.logprob_base[part].sum()),
                steered=float(cost.logprob_steered[part].sum()),
            )
        )
        start = end
    return result


def _decode_stepwise(model: ResidualModel, prefix: Sequence[int], tokens: Sequence[int]) -> list[tuple[str, int]]:
    """Return the text that each token (or group of tokens) adds, and the number of tokens up to its end."""
    ids = [*prefix, *tokens]
    done = len(prefix)
    result: list[tuple[str, int]] = []
    for end in range(done + 1, len(ids) + 1):
        start = max(0, done - _CONTEXT)
        before, after = model.decode(ids[start:done]), model.decode(ids[start:end])
        if after.endswith(_INCOMPLETE) and end < len(ids):
            continue
        result.append((after[len(before) :], end - len(prefix)))
        done = end
    return result
