"""A cell of a sweep in figures: few, quick, and comparable from cell to cell."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np

from steer.judges.almanac import REAL_TEXTS, default_evaluation_set
from steer.judges.evaluation_set import EvaluationSet
from steer.judges.success import accepted, success_statistic
from steer.metrics.diversity.diversity import MAX_TEXTS, MIN_TEXTS, common_length
from steer.metrics.diversity.ngrams import words
from steer.metrics.diversity.vendi import mean_vendi, vendi_of_kernel, word_cosines
from steer.metrics.frontier import frontier_statistics
from steer.metrics.pressure import pressure_statistics
from steer.metrics.typicality import MIN_REAL_TEXTS, RealCosts, is_typical, real_costs, typicality_statistics
from steer.runs.sample_set import SampleSet
from steer.statistics.estimate import Estimate
from steer.statistics.statistic import Statistic
from steer.sweeps.grid import Cell
from vectors.model.residual_model import ResidualModel

NAMES = ("success", "diversity", "typical", "pressure", "p95", "frontier")


@dataclass(frozen=True)
class Row:
    """A cell's figures; `None` where they cannot be had.

    Attributes:
        cell: which.
        success: share of texts that have all that was asked for.
        diversity: Vendi score of order 1 over words, of the successful texts (of all, without a judge).
        typical: share in the central nine tenths of real texts.
        pressure: nats a token.
        p95: the texts' own 95th percentiles, their mean.
        frontier: harmonic mean of success, typicality in range and normalised diversity.
    """

    cell: Cell
    success: Estimate | None
    diversity: Estimate | None
    typical: Estimate | None
    pressure: Estimate
    p95: Estimate
    frontier: Estimate | None

    @property
    def figures(self) -> dict[str, Estimate]:
        """Those that there are, by name."""
        found = {name: getattr(self, name) for name in NAMES}
        return {name: figure for name, figure in found.items() if figure is not None}

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        place = {field.name: getattr(self.cell, field.name) for field in fields(self.cell)}
        return place | {name: figure.to_dict() for name, figure in self.figures.items()}


class CellEvaluator:
    """What all cells of a sweep are measured with.

    Args:
        model: that was sampled.
        doses: of the point.
        n: texts in a cell.
        seed: of real texts and intervals.
        max_tokens: longest text.
        first: texts of the grid's first cell.
        evaluation_set: what cells are measured against; of the embedded model, by default the Almanac.
    """

    def __init__(
        self,
        model: ResidualModel,
        doses: Mapping[str, float],
        *,
        n: int,
        seed: int,
        max_tokens: int,
        first: Sequence[str] = (),
        evaluation_set: EvaluationSet | None = None,
    ) -> None:
        if evaluation_set is None:
            evaluation_set = default_evaluation_set(model.name, doses, n=n, seed=seed)
        self.model, self.n, self.seed, self.max_tokens, self.evaluation_set = model, n, seed, max_tokens, evaluation_set
        self.first, self._usual = list(first), dict[int, float]()

    @cached_property
    def costs(self) -> RealCosts | None:
        """What real texts cost."""
        if len(self.evaluation_set.real) < MIN_REAL_TEXTS:
            return None
        return real_costs(self.model, self.evaluation_set.real, max_tokens=self.max_tokens)

    @cached_property
    def length(self) -> int:
        """Words that the texts of every cell are cut to: as real ones, or those of the grid's first cell."""
        return common_length(list(self.evaluation_set.real) or self.first)

    @cached_property
    def real(self) -> np.ndarray | None:
        """Cosines between real texts, where there are as many as a cell has."""
        enough = min(self.n, MAX_TEXTS)
        if len(self.evaluation_set.real) < enough:
            return None
        return self.kernel(list(self.evaluation_set.real[: max(enough, REAL_TEXTS)]))

    def usual(self, count: int) -> float | None:
        """Diversity of so many real texts."""
        if self.real is None:
            return None
        if count not in self._usual:
            self._usual[count] = mean_vendi(self.real, count)
        return self._usual[count]

    def kernel(self, texts: list[str]) -> np.ndarray:
        """Cosines between texts, by their words, cut to one length."""
        return word_cosines([words(text)[: self.length] for text in texts])


def measure_cell(cell: Cell, samples: SampleSet, bench: CellEvaluator) -> Row:
    """Return the figures of one cell; at most the first thousand texts are compared with one another."""
    texts, judges = samples.texts, bench.evaluation_set.judges
    hits = accepted(texts, judges) if judges else None
    kernel = bench.kernel(texts[:MAX_TEXTS])
    good = np.arange(len(kernel)) if hits is None else np.flatnonzero(hits[:MAX_TEXTS])
    spread = None
    if len(good) >= MIN_TEXTS:
        spread = Statistic(
            name="Vendi 1, words",
            compute=lambda subset: vendi_of_kernel(kernel[np.ix_(good[subset], good[subset])]),
            n=len(good),
            empty=1.0,
            minimum=1.0,
            perfect=bench.usual(len(good)),
            groups=16 if len(good) > 256 else 32,
        ).estimate(seed=bench.seed)
    typical = frontier = None
    if bench.costs is not None:
        typical = typicality_statistics(samples, bench.costs)[1].estimate(seed=bench.seed)
        if hits is not None and bench.real is not None:
            inside = is_typical(samples[:MAX_TEXTS], bench.costs)
            frontier = frontier_statistics(hits[:MAX_TEXTS], inside, kernel, real=bench.real)[0].estimate(
                seed=bench.seed
            )
    pressures = [each.estimate(seed=bench.seed) for each in pressure_statistics(samples)]
    success = None if hits is None else success_statistic(hits, judges).estimate()
    return Row(cell, success, spread, typical, pressures[0], pressures[1], frontier)
