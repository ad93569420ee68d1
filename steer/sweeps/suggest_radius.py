"""Suggest a radius: the largest at which most of the success remains, with its interval."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from steer.judges.almanac import judges_for
from steer.judges.judge import Judge
from steer.judges.success import accepted
from steer.sampling.run_plan import Point, SamplingOptions, make_plan
from steer.sampling.sampler import samples_of
from steer.statistics.intervals import CONFIDENCE
from vectors.common.errors import InputError
from vectors.common.validation import check_integer, check_number
from vectors.model.residual_model import ResidualModel

RADII = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0)
"""Radii that the pilot tries in turn, until success has clearly fallen."""

PILOT = 96
"""Texts at each radius of the pilot."""

KEEP = 0.9
"""Share of the success at radius 0 that has to remain."""

FEWEST_HITS = 12
"""Fewest successful texts at the first radius: a share of fewer would be too uncertain."""

_DRAWS = 2000
_CLEARLY = 0.75  # of the wanted success: the pilot stops below this share of it


@dataclass(frozen=True)
class Suggestion:
    """A suggested radius with its interval.

    Attributes:
        radius: the largest at which success is at least `keep` times that at the first radius.
        low, high: its 95 % interval; `high` is at most the largest radius tried.
        keep: the share of success that has to remain.
        open: whether success is sufficient even at the largest radius tried, so that the answer is "at least".
        radii, hits, n: the radii tried, and the successful and all texts at each.
    """

    radius: float
    low: float
    high: float
    keep: float
    open: bool
    radii: tuple[float, ...]
    hits: tuple[int, ...]
    n: tuple[int, ...]

    def __str__(self) -> str:
        """Return the radius with its interval."""
        least = "at least " if self.open else ""
        return f"{least}{self.radius:.2g} ({self.low:.2g} to {self.high:.2g})"


def suggest_radius(
    model: ResidualModel,
    point: Point,
    *,
    keep: float = KEEP,
    judges: Sequence[Judge] | None = None,
    radii: Sequence[float] = RADII,
    n: int = PILOT,
    seed: int = 0,
    geometry: str = "shell",
    max_tokens: int = 128,
    watcher: Callable[[float, int], None] | None = None,
) -> Suggestion:
    """Sample a pilot at rising radii and return the largest radius at which most of the success remains.

    The pilot stops once success is well below the wanted share. Samples of one index have the same direction and random
    numbers at every radius.

    Args:
        model: the model to sample.
        point: the steering point, or what `compose` takes.
        keep: share of the success at radius 0 that has to remain.
        judges: all of them have to accept a text; for the embedded model, the oracle of its world by default.
        radii: radii to try, rising from 0.
        n: texts at each radius.
        seed: of directions and tokens.
        geometry: of the perturbations.
        max_tokens: length limit of the texts.
        watcher: called with each radius and its number of successful texts.

    Raises:
        InputError: no judge, a value outside its range, or too little success at radius 0.

    >>> import steer, vectors
    >>> suggestion = steer.suggest_radius(vectors.load_model(), "cat", n=16, radii=(0, 4), max_tokens=40)
    >>> 0 <= suggestion.low <= suggestion.radius <= suggestion.high <= 4
    True
    """
    plan = make_plan(model, point, SamplingOptions(max_tokens=max_tokens, seed=seed, geometry=geometry))
    all_judges = judges_for(model, plan.point, judges)
    if not all_judges:
        raise InputError("success needs a judge: pass judges=")
    count, hits = check_integer(n, "n", low=1), list[int]()
    _check(radii, keep)
    for radius in radii:
        samples = samples_of(model, replace(plan, radius=radius), n=count)
        hits.append(int(accepted([sample.text for sample in samples], all_judges).sum()))
        if watcher is not None:
            watcher(radius, hits[-1])
        _check_hits(hits[0], count, radii[0])
        if hits[-1] < _CLEARLY * keep * hits[0]:
            break
    return radius_from_counts(radii[: len(hits)], hits, [count] * len(hits), keep=keep)


def _check(radii: Sequence[float], keep: float) -> float:
    share = check_number(keep, "keep")
    if not 0 < share < 1:
        raise InputError(f"keep is {share:g}: give a share above 0 and below 1, such as 0.9")
    if len(radii) < 2 or any(after <= before for before, after in pairwise(radii)):
        shown = ", ".join(f"{radius:g}" for radius in radii)
        raise InputError(f"{len(radii)} radii, {shown}: give two or more that rise")
    return share


def _check_hits(hits: int, n: int, radius: float) -> None:
    if hits < FEWEST_HITS:
        raise InputError(
            f"at radius {radius:g} only {hits} of {n} texts have what was asked for, and {FEWEST_HITS} are "
            "needed: raise the doses or sample more"
        )


def radius_from_counts(
    radii: Sequence[float], hits: Sequence[int], n: Sequence[int], *, keep: float = KEEP
) -> Suggestion:
    """Return the largest radius at which success is at least a share of that at the first radius.

    Success is assumed to fall with the radius (isotonic regression of the rates) and to be linear between radii. The
    interval comes from draws of each radius' success rate given its count.

    Source: Barlow et al., "Statistical inference under order restrictions" (1972); Jeffreys' prior for each rate.

    Raises:
        InputError: fewer than two radii, or ones that do not rise; a share outside 0 to 1; too little success at the
            first.

    >>> suggestion = radius_from_counts((0.0, 1.0, 2.0), (90, 85, 40), (100, 100, 100))
    >>> round(suggestion.radius, 2), suggestion.low < suggestion.radius < suggestion.high
    (1.09, True)
    """
    share = _check(radii, keep)
    tried, counts, totals = np.asarray(radii, float), np.asarray(hits, int), np.asarray(n, int)
    _check_hits(int(counts[0]), int(totals[0]), float(tried[0]))
    random = np.random.default_rng(0)
    drawn = random.beta(counts + 0.5, totals - counts + 0.5, size=(_DRAWS, len(tried)))
    draws = np.array([_crossing(tried, _falling(row, totals), share) for row in drawn])
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(draws, [tail, 1 - tail])
    radius = _crossing(tried, _falling(counts / totals, totals), share)
    return Suggestion(
        radius=radius,
        low=min(float(low), radius),
        high=max(float(high), radius),
        keep=share,
        open=bool(radius >= tried[-1]),
        radii=tuple(map(float, tried)),
        hits=tuple(map(int, counts)),
        n=tuple(map(int, totals)),
    )


def _falling(rates: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the non-increasing rates with the least weighted squared error."""
    from scipy.optimize import isotonic_regression  # slow to import; scikit-learn's takes twenty times as long

    fitted: np.ndarray = isotonic_regression(rates, weights=weights, increasing=False).x
    return fitted


def _crossing(radii: np.ndarray, rates: np.ndarray, keep: float) -> float:
    """Return the radius at which falling rates pass below a share of the first."""
    wanted = keep * rates[0]
    below = np.flatnonzero(rates < wanted)
    if not len(below):
        return float(radii[-1])
    after = int(below[0])
    before = after - 1
    along = (rates[before] - wanted) / (rates[before] - rates[after])
    return float(radii[before] + along * (radii[after] - radii[before]))
