"""Candidates that need no learning: differences of means, at one layer or at several together."""

from collections.abc import Sequence
from dataclasses import replace

from vectors.activations.contrast_moments import Direction
from vectors.extraction.contest.candidate import Candidate
from vectors.extraction.extraction_input import ExtractionInput
from vectors.extraction.linear import lda

DEPTHS = (1 / 6, 1 / 3, 1 / 2, 2 / 3)
"""Layers of single differences, as shares of the depth."""

PROFILE = (1 / 6, 5 / 6)
"""First and last layer of a profile, as shares of the depth."""


def layers_at(n_layers: int, depths: Sequence[float]) -> list[int]:
    """Return the layers at some shares of the depth, without repetition.

    >>> layers_at(18, DEPTHS), layers_at(4, DEPTHS)
    ([3, 6, 9, 12], [0, 1, 2])
    """
    return sorted({min(n_layers - 1, int(n_layers * depth)) for depth in depths})


def profile_layers(n_layers: int) -> list[int]:
    """Return at most eight layers of the middle two thirds.

    >>> profile_layers(18)
    [3, 4, 6, 7, 9, 10, 12, 13]
    """
    first, last = (int(n_layers * depth) for depth in PROFILE)
    span = range(first, max(first + 1, last))
    return list(span) if len(span) <= 8 else [span[len(span) * step // 8] for step in range(8)]


def mean_candidates(data: ExtractionInput, singles: Sequence[int], profile: Sequence[int]) -> list[Candidate]:
    """Return differences of means at single layers, one at several together, and a whitened one in the middle.

    Args:
        data: the texts; its layers include all of these.
        singles: layers of the single differences.
        profile: layers of the profile, each shifted by its share; fewer than two for none.
    """
    moments, where = data.moments(), data.positions
    found = [Candidate("mean-difference", {(layer, where): moments[layer].difference.float()}) for layer in singles]
    if len(profile) > 1:
        shares = {(layer, where): (moments[layer].difference / len(profile)).float() for layer in profile}
        found.insert(1, Candidate("mean-difference", shares))
    middle = singles[len(singles) // 2]
    second = replace(data, layers=(middle,), known_moments=None).moments(second=True)[middle]
    return [*found, Candidate("lda", {(middle, where): _as_long_as(lda(second), second.difference).float()})]


def _as_long_as(direction: Direction, other: Direction) -> Direction:
    scaled: Direction = direction / direction.norm() * other.norm()
    return scaled
