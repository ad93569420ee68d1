"""Dose curve: success, probe score, typicality and pressure of one concept at rising doses."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from steer.composition.steering_point import SteeringPoint, compose
from steer.judges.almanac import default_evaluation_set
from steer.judges.evaluation_set import PROBED, EvaluationSet
from steer.metrics.probe import MIN_TEXTS, Probe
from steer.runs.sample_set import SampleSet
from steer.statistics.estimate import Estimate, html_cells
from steer.statistics.intervals import difference
from steer.statistics.statistic import Statistic
from steer.sweeps.cell_metrics import Row
from steer.sweeps.plots import plot_panels
from steer.sweeps.sweep import CellCallback, sweep
from vectors.common.errors import InputError
from vectors.common.html import table
from vectors.common.progress import ProgressOption, with_progress_bars
from vectors.concepts.vector import ConceptVector
from vectors.model.residual_model import ResidualModel

DOSES = tuple(step / 2 for step in range(-4, 9))
"""From -2 to 4 in steps of a half."""

FIGURES = ("success", "probe", "typical", "pressure", "p95")


@dataclass(frozen=True)
class DoseRow:
    """The figures of one dose; `None` for those that need a judge or real texts and have none.

    Attributes:
        dose: in units.
        success: share of texts in which a judge finds the concept.
        probe: mean score of the direction itself, scaled to 0 for texts without the concept and 1 for real texts
            with it.
        typical: share of texts whose base NLL is within the central nine tenths of real texts.
        pressure, p95: mean of KL(steered || base) and its 95th percentile, nats per token.
    """

    dose: float
    success: Estimate | None
    probe: Estimate | None
    typical: Estimate | None
    pressure: Estimate
    p95: Estimate

    @property
    def figures(self) -> dict[str, Estimate]:
        """The figures that are known, by name."""
        figures = {name: getattr(self, name) for name in FIGURES}
        return {name: figure for name, figure in figures.items() if figure is not None}


@dataclass(frozen=True)
class DoseCurve:
    """The figures of a concept at rising doses.

    Attributes:
        name: of the concept.
        n: samples at each dose.
        rows: the figures of each dose.
    """

    name: str
    n: int
    rows: tuple[DoseRow, ...]

    @property
    def alarm(self) -> float | None:
        """The first dose at which the steering is over-optimised, or None.

        At that dose the probe's score is above that of the previous dose, while success or typicality is below the best
        at a smaller dose by more than chance (95 % interval of the difference).
        """
        best: dict[str, Estimate] = {}
        before: DoseRow | None = None
        for row in self.rows:
            if row.dose <= 0:
                continue
            rises = before is not None and before.probe and row.probe and row.probe.value > before.probe.value
            now = {name: figure for name, figure in row.figures.items() if name in ("success", "typical")}
            if rises and any(name in best and difference(figure, best[name]).high < 0 for name, figure in now.items()):
                return row.dose
            for name, figure in now.items():
                if name not in best or figure.value > best[name].value:
                    best[name] = figure
            before = row
        return None

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        rows = [
            {"dose": row.dose} | {name: figure.to_dict() for name, figure in row.figures.items()} for row in self.rows
        ]
        return {"name": self.name, "n": self.n, "alarm": self.alarm, "rows": rows}

    def _repr_html_(self) -> str:
        """Return a table with a row for each dose, for notebooks."""
        rows = [
            [f"{row.dose:g}", *html_cells([row.success, row.probe, row.typical, row.pressure])] for row in self.rows
        ]
        note = "" if self.alarm is None else f"<p>over-optimised from dose {self.alarm:g}: only the probe gains</p>"
        caption = f"{self.name}: {self.n} samples a dose, 95 % intervals"
        return table(["dose", "success", "probe", "typical", "pressure"], rows, caption=caption) + note

    def plot(self, path: str | Path | None = None, *, theme: str = "light", force: bool = False) -> Any:
        """Draw success, the probe's score, typicality and pressure against the dose, and return the axes.

        Bands are 95 % intervals, a dotted line shows real texts, and a dashed vertical line the first over-optimised
        dose.

        Raises:
            InputError: an unknown theme or kind of file, a curve of one dose.
            OutputError: a file that exists (unless `force`) or cannot be written.
        """
        note = "" if self.alarm is None else f"; dashed: over-optimised from {self.alarm:g}"
        return plot_panels(
            [row.dose for row in self.rows],
            [row.figures for row in self.rows],
            ("success", "probe", "typical", "pressure"),
            axis="dose",
            title=f"{self.name}   |   {self.n} samples a dose\nbands: 95 %; dotted: real texts{note}",
            mark=self.alarm,
            path=path,
            theme=theme,
            force=force,
        )


@with_progress_bars
def dose_curve(
    model: ResidualModel,
    concept: ConceptVector | str,
    *,
    doses: Sequence[float] = DOSES,
    n: int = 48,
    seed: int = 0,
    max_tokens: int = 128,
    folder: str | Path | None = None,
    evaluation_set: EvaluationSet | None = None,
    watcher: CellCallback | None = None,
    progress: ProgressOption = None,
) -> DoseCurve:
    """Sample one concept at rising doses and return the figures of each dose.

    Args:
        model: the model to sample.
        concept: the vector, or its name in the model's library.
        doses: in units, in any order.
        n: samples at each dose.
        seed: of all doses.
        max_tokens: length limit of the texts.
        folder: for a run file of each dose; samples that it holds already are not sampled again.
        evaluation_set: judges and real texts; for the embedded model, the Almanac by default. Its real and background
            texts set the scale of the probe's score.
        watcher: called with the row of each dose once it is measured.
        progress: called with the stage and how far it is, or `True` for a progress bar.

    Raises:
        InputError: an unknown concept, or a value outside its range.
        OutputError: a folder of another sweep.
    """
    point = compose({concept: 1.0}, model)
    if evaluation_set is None:
        evaluation_set = default_evaluation_set(model.name, point.doses, n=n, seed=seed)
    with TemporaryDirectory() as spare:
        path = Path(spare if folder is None else folder)
        result = sweep(
            model, point, radii=(0.0,), doses=sorted({float(dose) for dose in doses}), n=n, seed=seed,
            max_tokens=max_tokens, folder=path, evaluation_set=evaluation_set, watcher=watcher,
            progress=progress,
        )  # fmt: skip
        score = _score(model, point, evaluation_set)
        rows = [_row(row, SampleSet.load(path / row.cell.file), score, seed) for row in result.rows]
    return DoseCurve(name=point.vectors[0].name, n=n, rows=tuple(rows))


def _row(row: Row, samples: SampleSet, score: Callable[[Sequence[str]], np.ndarray] | None, seed: int) -> DoseRow:
    assert row.cell.dose is not None
    probe = None
    texts = [text for text in samples[: row.pressure.n].texts if text.strip()]  # a blank text has nothing to score
    if score is not None and texts:
        values = score(texts)
        statistic = Statistic(
            name="probe", compute=lambda subset: float(values[subset].mean()), n=len(values), perfect=1.0, empty=0.0
        )
        probe = statistic.estimate(seed=seed)
    return DoseRow(row.cell.dose, row.success, probe, row.typical, row.pressure, row.p95)


def _score(
    model: ResidualModel, point: SteeringPoint, evaluation_set: EvaluationSet
) -> Callable[[Sequence[str]], np.ndarray] | None:
    """Return a function that scores texts by the direction itself, or None without real and background texts."""
    if min(len(evaluation_set.real), len(evaluation_set.background)) < MIN_TEXTS:
        return None
    real, background = evaluation_set.real[:PROBED], evaluation_set.background[:PROBED]
    probe = Probe(model, point, real, background)
    positive_mean, background_mean = float(probe.scores(real).mean()), float(probe.scores(background).mean())
    if positive_mean <= background_mean:
        raise InputError(
            f"the direction {point.vectors[0].name!r} does not score texts that have the concept higher than "
            "others: give the concept that these texts have, and positive and background texts the right way round"
        )
    return lambda texts: (probe.scores(texts) - background_mean) / (positive_mean - background_mean)
