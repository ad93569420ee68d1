"""Which known concepts a discovery found again: by the texts that the model writes under each of them."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch

from vectors.activations.text_activations import token_activations
from vectors.common.progress import count_progress
from vectors.common.statistics import auc
from vectors.concepts.vector import ConceptVector
from vectors.decoding.prompt_free_samples import fitting_length, sample_shifted
from vectors.decoding.token_sampling import Settings
from vectors.discovery.candidates import Candidate, Discovery, Likeness
from vectors.model.residual_model import ResidualModel

ENOUGH = 0.85
"""AUC from which on a candidate is said to be like a concept."""

EACH = 12
"""Texts written under each concept."""

WITHOUT = 48
"""Texts written under none: those that a concept's own are told from, with the others'."""

MAX_TOKENS = 64

_SEED = 0


def match_concepts(
    model: ResidualModel,
    discovery: Discovery,
    concepts: Sequence[ConceptVector],
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Discovery:
    """Return a discovery whose candidates say which known concept they, or their opposites, find.

    A learned concept need not point the way that it is read in, so that a cosine says little. Instead the model writes
    a few texts under each concept at dose 1, and the candidate must rank them above those of all others.

    Args:
        model: the model, with a start token.
        discovery: what was found in it.
        concepts: those of its library.
        progress: told how many texts are written, and of how many.

    Raises:
        ModelError: a model without a start token.
    """
    if not concepts:
        return discovery
    texts, owners = _written(model, concepts, progress)
    filters = torch.stack([each.filter for each in discovery.candidates])
    scores = torch.zeros(len(texts), len(filters))
    for places, read, own in token_activations(model, texts, [discovery.layer]):
        hidden = read[discovery.layer].float()
        weights = own.to(hidden).unsqueeze(-1)
        means = torch.where(weights > 0, hidden, 0.0).sum(dim=1) / weights.sum(dim=1)
        scores[places] = means.cpu() @ filters.T
    owner = torch.tensor(owners)
    found = []
    for candidate, mine in zip(discovery.candidates, scores.T, strict=True):
        aucs = [auc(mine[owner == place].tolist(), mine[owner != place].tolist()) for place in range(len(concepts))]
        signed = ((1, aucs), (-1, [1 - one for one in aucs]))
        like, unlike = (_best(candidate, discovery.layer, concepts, each, sign) for sign, each in signed)
        found.append(replace(candidate, like=like, unlike=unlike))
    return replace(discovery, candidates=tuple(found))


def _best(
    candidate: Candidate, layer: int, concepts: Sequence[ConceptVector], aucs: Sequence[float], sign: int
) -> Likeness | None:
    place = max(range(len(concepts)), key=lambda at: aucs[at])
    if aucs[place] < ENOUGH:
        return None
    vector = concepts[place]
    cosine = None
    if vector.layer == layer:
        cosine = sign * float(torch.cosine_similarity(candidate.part, vector.direction, dim=0))
    return Likeness(name=vector.name, auc=aucs[place], cosine=cosine)


def _written(
    model: ResidualModel, concepts: Sequence[ConceptVector], progress: Callable[[int, int], None] | None
) -> tuple[list[str], list[int]]:
    """Texts, and which concept each was written under; -1 under none."""
    groups: dict[tuple[tuple[int, ...], str], list[int]] = {}
    for place, vector in enumerate(concepts):
        groups.setdefault((vector.layers, vector.positions), []).append(place)
    total, texts, owners = WITHOUT + EACH * len(concepts), list[str](), list[int]()
    more = None if progress is None else count_progress(lambda _what, done, total: progress(done, total), "", total)
    jobs: list[tuple[tuple[int, ...], str, list[int], int]] = [((), "all", [-1], WITHOUT)]
    jobs += [(layers, positions, places, EACH) for (layers, positions), places in groups.items()]
    for layers, positions, places, n in jobs:
        shifts = {
            layer: torch.stack([concepts[place].shift_at(layer) * concepts[place].scale for place in places])
            for layer in layers
        }
        settings = Settings(max_tokens=fitting_length(model, MAX_TOKENS), positions=positions)
        samples = sample_shifted(
            model, {layer: rows.repeat_interleave(n, dim=0) for layer, rows in shifts.items()},
            n=n * len(places), settings=settings, seed=_SEED, progress=more,
        )  # fmt: skip
        for text, owner in zip(samples.texts, np.repeat(places, n).tolist(), strict=True):
            if text.strip():
                texts.append(text)
                owners.append(owner)
    return texts, owners
