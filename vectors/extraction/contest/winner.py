"""The winner of a contest as a concept vector, with the record of all that was tried."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from vectors.activations.logit_lens import logit_lens_tokens
from vectors.activations.shifted_tokens import most_shifted_tokens
from vectors.activations.text_likelihood import likelihood_gains
from vectors.common.statistics import auc, auc_interval
from vectors.concepts.vector import ConceptVector, passport_of
from vectors.data.contrast import pick_texts
from vectors.extraction.contest.candidate import Candidate
from vectors.extraction.contest.contest import Entry
from vectors.extraction.diagnostics import TOKENS, TYPICAL, beginning
from vectors.extraction.extraction_input import ContrastSplit, ExtractionInput
from vectors.model.positions import Site

RANKED = 48
"""Held-out texts of each side that are ranked."""

_READ = 32  # tokens of each
_SHIFTED_TEXTS = 16  # background texts in which shifted tokens are measured


def to_vector(
    name: str, data: ExtractionInput, split: ContrastSplit, candidate: Candidate, entries: Sequence[Entry]
) -> ConceptVector:
    """Return the vector of a candidate, without a unit.

    Args:
        name: of the concept.
        data: the texts that the candidate was found in.
        split: which texts were held out.
        candidate: the winner.
        entries: all that took part, for the record.
    """
    model, own = data.model, main_site(candidate)
    length = _length(candidate, own)
    relative = {site: (shift.double() / length).float() for site, shift in candidate.shifts.items()}
    vector = ConceptVector(
        name=name,
        model=model.name,
        model_hash=model.hash,
        passport=passport_of(model),
        layer=own[0],
        positions=own[1],
        direction=relative.pop(own),
        other_shifts={site: shift for site, shift in relative.items() if bool(shift.any())},
        mean=data.moments()[own[0]].background.mean.float(),
        gap=length,
        method=candidate.method,
        contrast_hash=split.whole.hash,
        held_out=None if split.whole.paired else split.share,
        split_seed=None if split.whole.paired else split.seed,
        n_positive=len(split.whole.positive),
        n_background=len(split.whole.background),
    )
    return _with_evidence(vector, data, split, candidate, entries)


def main_site(candidate: Candidate) -> Site:
    """Return the site whose shift is the vector's direction: the longest at the widest positions."""
    widest = candidate.positions[-1]
    return max((site for site in candidate.shifts if site[1] == widest), key=lambda site: _length(candidate, site))


def _length(candidate: Candidate, site: Site) -> float:
    return float(candidate.shifts[site].double().norm())


def _with_evidence(
    vector: ConceptVector, data: ExtractionInput, split: ContrastSplit, candidate: Candidate, entries: Sequence[Entry]
) -> ConceptVector:
    data.progress("reading held-out texts", 0, 0)
    model, held = data.model, split.held_out
    sides = [pick_texts(set(side), RANKED, data.seed) for side in (held.positive, held.background)]
    positive, background = (
        likelihood_gains(model, [data.tokens[text][:_READ] for text in side], candidate.shifts) for side in sides
    )
    low, high = auc_interval(positive, background, seed=data.seed)
    top, bottom = logit_lens_tokens(model, vector.direction, TOKENS)
    rows = [data.tokens[text][:_READ] for text in pick_texts(split.whole.background, _SHIFTED_TEXTS, data.seed)]
    raised, lowered = most_shifted_tokens(model, vector, rows, TOKENS, shift=vector.gap)
    ranking = auc(positive, background)
    facts: dict[str, Any] = {
        "layers": [
            {"layer": vector.layer, "gap": round(vector.gap, 4), "auc": round(ranking, 4), "low": round(low, 4),
             "high": round(high, 4)}
        ],
        "tokens": {"top": top, "bottom": bottom},
        "moved": {"top": raised, "bottom": lowered},
        "texts": [beginning(sides[0][index]) for index in np.argsort(positive, kind="stable")[::-1][:TYPICAL]],
        "tried": [entry.row() for entry in entries],
    }  # fmt: skip
    return replace(vector, auc=ranking, evidence=facts)
