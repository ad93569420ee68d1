"""Which next tokens a vector's shift makes likelier, and which less likely, in texts."""

from collections.abc import Sequence

import torch

from vectors.activations.logit_lens import token_texts
from vectors.activations.text_likelihood import MAX_TOKENS
from vectors.common.errors import ModelError
from vectors.concepts.vector import ConceptVector
from vectors.model.hooks import shift_layers
from vectors.model.positions import shift_by_position
from vectors.model.residual_model import ResidualModel

_AT_ONCE = 4  # texts: several copies of all their logits are held, and vocabularies are large


def most_shifted_tokens(
    model: ResidualModel, vector: ConceptVector, texts: Sequence[str], n: int, *, shift: float | None = None
) -> tuple[list[str], list[str]]:
    """Return the `n` tokens that most of the pressure is spent on, and the `n` that most was taken from.

    Over all positions of the texts' beginnings, a token's part of KL(shifted | base) is `p' log(p' / p)`; what was
    taken from it is its part of KL(base | shifted). Unlike the logit lens, this sees what later blocks make of a shift.

    Args:
        model: the model that reads.
        vector: what it is shifted by.
        texts: read with the shift and without it.
        n: tokens on each side, at most; a token whose part is none is not among them.
        shift: along the vector; its `scale` if left out.

    Raises:
        ModelError: logits that are not finite.

    >>> from vectors.model.residual_model import load_model
    >>> from vectors.concepts.library import load
    >>> model = load_model()
    >>> likelier, _ = most_shifted_tokens(model, load("crow", model), ["Dear old friend, I"], 8)
    >>> "caw" in likelier, "flap" in likelier
    (True, True)
    """
    length = vector.scale if shift is None else shift
    gained = lost = torch.zeros(())
    for first in range(0, len(texts), _AT_ONCE):
        rows = model.encode(texts[first : first + _AT_ONCE], max_tokens=min(MAX_TOKENS, model.max_context))
        batch = model.batch(rows)
        real, wide = batch["attention_mask"].bool(), max(map(len, rows))
        deltas = {
            at: shift_by_position((vector.shift_at(at) * length).expand(len(rows), -1), wide, 1, vector.positions)
            for at in vector.layers
        }
        with torch.inference_mode():
            base = model.hf(**batch, use_cache=False).logits[real].float().log_softmax(dim=-1)
            with shift_layers(model, deltas):
                led = model.hf(**batch, use_cache=False).logits[real].float().log_softmax(dim=-1)
            change = led - base
            gained = gained + (led.exp() * change).sum(dim=0).cpu()
            lost = lost - (base.exp() * change).sum(dim=0).cpu()
    if not bool((gained + lost).isfinite().all()):
        raise ModelError(
            f"model {model.name!r} gives no finite logits under a shift of {length:.3g}: load it in float32"
        )
    known = token_texts(model, len(gained))
    kept = torch.tensor(sorted(known))
    found = []
    for part in (gained, lost):
        order = kept[part[kept].argsort(descending=True, stable=True)].tolist()
        found.append([known[token] for token in order[:n] if part[token] > 0])
    return found[0], found[1]
