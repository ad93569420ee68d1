"""Match the candidates of a discovery with known concepts, by the texts that the model writes with each concept."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch

from vectors.activations.text_activations import encode_texts, token_activations
from vectors.common.progress import count_progress
from vectors.common.statistics import auc
from vectors.concepts.vector import ConceptVector
from vectors.decoding.prompt_free_samples import fitting_length, sample_shifted
from vectors.decoding.token_sampling import Settings
from vectors.discovery.candidates import Candidate, Discovery, Likeness
from vectors.model.positions import Site
from vectors.model.residual_model import ResidualModel

MIN_AUC = 0.85
"""AUC at which a candidate counts as like a concept."""

TEXTS_PER_CONCEPT = 12

UNSTEERED_TEXTS = 48
"""Texts written without a concept; a concept's negatives are these and the texts of all other concepts."""

MAX_TOKENS = 64

_SEED = 0


def match_concepts(
    model: ResidualModel,
    discovery: Discovery,
    concepts: Sequence[ConceptVector],
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Discovery:
    """Return the discovery with the known concept, if any, that each candidate or its opposite finds.

    The direction that steers towards a concept may differ from the direction that detects it, so a low cosine does not
    rule a match out. Instead the model writes a few texts with each concept at dose 1, and a candidate matches if its
    score ranks them above all others with an AUC of at least `MIN_AUC`.

    Args:
        model: the model of the discovery; it must have a start token.
        discovery: the candidates to match.
        concepts: known concepts of the model.
        progress: called with the number of texts written so far and the number of all.

    Raises:
        ModelError: a model without a start token.
    """
    if not concepts:
        return discovery
    texts, owners = _sample_texts(model, concepts, progress)
    filters = torch.stack([candidate.filter for candidate in discovery.candidates])
    scores = torch.zeros(len(texts), len(filters))
    for indices, activations, own in token_activations(model, encode_texts(model, texts), [discovery.layer]):
        hidden = activations[discovery.layer].float()
        weights = own.to(hidden).unsqueeze(-1)
        means = torch.where(weights > 0, hidden, 0.0).sum(dim=1) / weights.sum(dim=1)
        scores[indices] = means.cpu() @ filters.T
    owner = torch.tensor(owners)
    matched = []
    for candidate, row in zip(discovery.candidates, scores.T, strict=True):
        aucs = [auc(row[owner == index].tolist(), row[owner != index].tolist()) for index in range(len(concepts))]
        like = _best_match(candidate, discovery.layer, concepts, aucs, 1)
        unlike = _best_match(candidate, discovery.layer, concepts, [1 - value for value in aucs], -1)
        matched.append(replace(candidate, like=like, unlike=unlike))
    return replace(discovery, candidates=tuple(matched))


def _best_match(
    candidate: Candidate, layer: int, concepts: Sequence[ConceptVector], aucs: Sequence[float], sign: int
) -> Likeness | None:
    best = max(range(len(concepts)), key=lambda index: aucs[index])
    if aucs[best] < MIN_AUC:
        return None
    vector = concepts[best]
    cosine = None
    if vector.layer == layer:
        cosine = sign * float(torch.cosine_similarity(candidate.part, vector.direction, dim=0))
    return Likeness(name=vector.name, auc=aucs[best], cosine=cosine)


def _sample_texts(
    model: ResidualModel, concepts: Sequence[ConceptVector], progress: Callable[[int, int], None] | None
) -> tuple[list[str], list[int]]:
    """Return sampled texts, and for each the index of the concept it was sampled with, or -1 for none."""
    groups: dict[tuple[Site, ...], list[int]] = {}  # concepts that one batch can shift
    for index, vector in enumerate(concepts):
        groups.setdefault(tuple(vector.shifts), []).append(index)
    batches: list[tuple[tuple[Site, ...], list[int], int]] = [((), [-1], UNSTEERED_TEXTS)]
    batches += [(sites, indices, TEXTS_PER_CONCEPT) for sites, indices in groups.items()]
    total = UNSTEERED_TEXTS + TEXTS_PER_CONCEPT * len(concepts)
    advance = None if progress is None else count_progress(lambda _what, done, total: progress(done, total), "", total)
    texts, owners = list[str](), list[int]()
    settings = Settings(max_tokens=fitting_length(model, MAX_TOKENS))
    for sites, indices, n in batches:
        shifts = {
            site: torch.stack([concepts[index].shifts[site] * concepts[index].scale for index in indices])
            for site in sites
        }
        samples = sample_shifted(
            model, {site: rows.repeat_interleave(n, dim=0) for site, rows in shifts.items()},
            n=n * len(indices), settings=settings, seed=_SEED, progress=advance,
        )  # fmt: skip
        for text, owner in zip(samples.texts, np.repeat(indices, n).tolist(), strict=True):
            if text.strip():
                texts.append(text)
                owners.append(owner)
    return texts, owners
