"""Which next tokens a vector's shift makes more likely in texts, and which less likely."""

from collections.abc import Sequence

import torch

from vectors.activations.logit_lens import token_texts
from vectors.activations.text_activations import TokenIds
from vectors.activations.text_likelihood import MAX_TOKENS
from vectors.concepts.vector import ConceptVector
from vectors.model.hooks import shift_layers
from vectors.model.output_head import final_states, logit_chunks
from vectors.model.positions import sum_by_layer
from vectors.model.residual_model import ResidualModel, check_finite

_BATCH = 16  # texts a forward


def most_shifted_tokens(
    model: ResidualModel, vector: ConceptVector, rows: Sequence[TokenIds], n: int, *, shift: float | None = None
) -> tuple[list[str], list[str]]:
    """Return the `n` tokens that a shift makes more likely, and the `n` that it makes less likely, strongest first.

    The first are ranked by their share of KL(shifted || base), `p' log(p' / p)` summed over all positions of the texts'
    beginnings, the second by their share of KL(base || shifted). Unlike the logit lens, this includes effects through
    later blocks.

    Args:
        model: the model.
        vector: the vector to shift along.
        rows: token ids of the texts to read, with and without the shift.
        n: maximum number of tokens on each side; tokens without a positive share are left out.
        shift: length of the shift along the vector; by default its `scale`.

    Raises:
        ModelError: logits are not finite.

    >>> from vectors.model.residual_model import load_model
    >>> from vectors.concepts.library import load
    >>> model = load_model()
    >>> likelier, _ = most_shifted_tokens(model, load("crow", model), model.encode(["Dear old friend, I"]), 8)
    >>> "caw" in likelier, "flap" in likelier
    (True, True)
    """
    length = vector.scale if shift is None else shift
    gained = lost = torch.zeros(())
    longest = min(MAX_TOKENS, model.max_context)
    for first in range(0, len(rows), _BATCH):
        cut = [ids[:longest] for ids in rows[first : first + _BATCH]]
        batch = model.batch(cut)
        mask, width = batch["attention_mask"].bool(), max(map(len, cut))
        rows_by_site = {site: (row * length).expand(len(cut), -1) for site, row in vector.shifts.items()}
        shifts = sum_by_layer(rows_by_site, width, 1, vector.positions)
        with torch.inference_mode():
            base_states = final_states(model, batch)[mask]
            with shift_layers(model, shifts):
                steered_states = final_states(model, batch)[mask]
            for _, logits in logit_chunks(model, base_states, steered_states):
                base, steered = (scores.log_softmax(dim=-1) for scores in logits)
                change = steered - base
                gained = gained + (steered.exp() * change).sum(dim=0).cpu()
                lost = lost - (base.exp() * change).sum(dim=0).cpu()
    check_finite(model, gained + lost, f"logits under a shift of length {length:.3g}", hint="choose a shorter shift")
    texts_of_tokens = token_texts(model, len(gained))
    candidates = torch.tensor(sorted(texts_of_tokens))
    sides = []
    for shares in (gained, lost):
        order = candidates[shares[candidates].argsort(descending=True, stable=True)].tolist()
        sides.append([texts_of_tokens[token] for token in order[:n] if shares[token] > 0])
    return sides[0], sides[1]
