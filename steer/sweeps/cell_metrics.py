"""The figures of one cell of a sweep: six that are quick to compute and comparable between cells."""

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
    """The figures of one cell; `None` for those that need a judge or real texts and have none.

    Attributes:
        cell: its layer, temperature, dose and radius.
        success: share of texts that have everything that was asked for.
        diversity: Vendi score of order 1 over words, of the successful texts (of all texts if there is no judge).
        typical: share of texts whose base NLL is within the central nine tenths of real texts.
        pressure: mean KL(steered || base), nats per token.
        p95: 95th percentile of that KL in a text, mean over the texts.
        frontier: harmonic mean of success, share of typical texts and normalised diversity.
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
        """The figures that are known, by name."""
        figures = {name: getattr(self, name) for name in NAMES}
        return {name: figure for name, figure in figures.items() if figure is not None}

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        cell = {field.name: getattr(self.cell, field.name) for field in fields(self.cell)}
        return cell | {name: figure.to_dict() for name, figure in self.figures.items()}


class CellEvaluator:
    """Judges, real texts and reference values that all cells of a sweep share.

    Args:
        model: the model that was sampled.
        doses: of the steering point.
        n: texts in a cell.
        seed: of real texts and intervals.
        max_tokens: length limit of the texts.
        first: texts of the grid's first cell.
        evaluation_set: judges and real texts; for the embedded model, the Almanac by default.
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
        self.first, self._real_diversity = list(first), dict[int, float]()

    @cached_property
    def costs(self) -> RealCosts | None:
        """Negative log-likelihoods of the real texts, or None if there are too few."""
        if len(self.evaluation_set.real) < MIN_REAL_TEXTS:
            return None
        return real_costs(self.model, self.evaluation_set.real, max_tokens=self.max_tokens)

    @cached_property
    def length(self) -> int:
        """Number of words that all texts are cut to, from the real texts or else from the grid's first cell."""
        return common_length(list(self.evaluation_set.real) or self.first)

    @cached_property
    def real(self) -> np.ndarray | None:
        """Cosines between real texts, or None if there are fewer than in a cell."""
        enough = min(self.n, MAX_TEXTS)
        if len(self.evaluation_set.real) < enough:
            return None
        return self.kernel(list(self.evaluation_set.real[: max(enough, REAL_TEXTS)]))

    def real_diversity(self, count: int) -> float | None:
        """Return the mean Vendi score of `count` real texts, or None without enough of them."""
        if self.real is None:
            return None
        if count not in self._real_diversity:
            self._real_diversity[count] = mean_vendi(self.real, count)
        return self._real_diversity[count]

    def kernel(self, texts: list[str]) -> np.ndarray:
        """Return the cosines between the bags of words of texts that are cut to one length."""
        return word_cosines([words(text)[: self.length] for text in texts])


def measure_cell(cell: Cell, samples: SampleSet, evaluator: CellEvaluator) -> Row:
    """Compute the figures of one cell; diversity compares at most the first thousand texts."""
    texts, judges = samples.texts, evaluator.evaluation_set.judges
    hits = accepted(texts, judges) if judges else None
    kernel = evaluator.kernel(texts[:MAX_TEXTS])
    chosen = np.arange(len(kernel)) if hits is None else np.flatnonzero(hits[:MAX_TEXTS])
    diversity = None
    if len(chosen) >= MIN_TEXTS:
        diversity = Statistic(
            name="Vendi 1, words",
            compute=lambda subset: vendi_of_kernel(kernel[np.ix_(chosen[subset], chosen[subset])]),
            n=len(chosen),
            empty=1.0,
            minimum=1.0,
            perfect=evaluator.real_diversity(len(chosen)),
            groups=16 if len(chosen) > 256 else 32,
        ).estimate(seed=evaluator.seed)
    typical = frontier = None
    if evaluator.costs is not None:
        typical = typicality_statistics(samples, evaluator.costs)[1].estimate(seed=evaluator.seed)
        if hits is not None and evaluator.real is not None:
            inside = is_typical(samples[:MAX_TEXTS], evaluator.costs)
            frontier = frontier_statistics(hits[:MAX_TEXTS], inside, kernel, real=evaluator.real)[0].estimate(
                seed=evaluator.seed
            )
    pressures = [statistic.estimate(seed=evaluator.seed) for statistic in pressure_statistics(samples)]
    success = None if hits is None else success_statistic(hits, judges).estimate()
    return Row(cell, success, diversity, typical, pressures[0], pressures[1], frontier)
