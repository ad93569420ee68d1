"""Sweep: sample one expression over a grid, one run in each cell, and measure each cell once it is complete."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from steer.composition.steering_point import SteeringPoint, compose
from steer.judges.evaluation_set import EvaluationSet
from steer.statistics.estimate import html_cells
from steer.sweeps.cell_metrics import CellEvaluator, Row, measure_cell
from steer.sweeps.grid import Cell, Grid, open_folder
from steer.sweeps.plots import plot_panels, plot_plane, share_of_real
from steer.sweeps.suggest_radius import FEWEST_HITS, KEEP, Suggestion, radius_from_counts
from steer.sweeps.workers import Job, sample_cells
from vectors.common.errors import InputError
from vectors.common.html import escape_html, table
from vectors.common.progress import ProgressOption, count_progress, progress_callback, with_progress_bars
from vectors.common.validation import check_integer
from vectors.model.residual_model import ResidualModel

CellCallback = Callable[[Row], None]
"""Called with the row of each cell once it is measured."""


@dataclass(frozen=True)
class Sweep:
    """The figures of all cells of a grid.

    Attributes:
        grid: the cells' values.
        rows: the figures of each cell, in the order of the grid.
    """

    grid: Grid
    rows: tuple[Row, ...]

    def suggested_radius(self, *, keep: float = KEEP) -> Suggestion | None:
        """Return the largest radius at which success is at least `keep` of that at the smallest, or None if unknown.

        It uses the cells of the first layer with dose and temperature nearest 1, of which it needs two.
        """
        successes = [(row.cell.radius, row.success) for row in self.line("radius") if row.success is not None]
        counts = [(radius, round(success.value * success.n), success.n) for radius, success in successes]
        if len(counts) < 2 or counts[0][1] < FEWEST_HITS:
            return None
        radii, hits, n = zip(*counts, strict=True)
        return radius_from_counts(radii, hits, n, keep=keep)

    def line(self, axis: str) -> tuple[Row, ...]:
        """Return the rows along one axis, with the first of the other values (dose and temperature nearest 1)."""
        names = ("layer", "temperature", "dose", "radius")
        fixed = {
            "layer": self.grid.layers[0],
            "temperature": min(self.grid.temperatures, key=lambda value: abs(value - 1)),
            "dose": min(self.grid.doses, key=lambda value: abs(value - 1)),
            "radius": self.grid.radii[0],
        }
        others = [name for name in names if name != axis]
        return tuple(row for row in self.rows if all(getattr(row.cell, name) == fixed[name] for name in others))

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "grid": self.grid.to_dict(),
            "rows": [row.to_dict() for row in self.rows],
            "suggested_radius": None if (suggestion := self.suggested_radius()) is None else asdict(suggestion),
        }

    def _repr_html_(self) -> str:
        """Return a table with a row for each cell, and the suggested radius, for notebooks."""
        rows = [
            [
                *(f"{value:g}" for value in (row.cell.radius, row.cell.dose, row.cell.temperature)),
                escape_html(row.cell.layer or ""),
                *html_cells([row.success, row.diversity, row.typical, row.pressure, row.frontier]),
            ]
            for row in self.rows
        ]  # fmt: skip
        heads = ["radius", "dose", "temperature", "layer", "success", "diversity", "typical", "pressure", "frontier"]
        suggestion = self.suggested_radius()
        note = "" if suggestion is None else f"<p>suggested radius: {escape_html(suggestion)}</p>"
        caption = f"{self.grid.expression}: {self.grid.n} samples a cell, seed {self.grid.seed}, 95 % intervals"
        return table(heads, rows, caption=caption) + note

    def plot(self, path: str | Path | None = None, *, theme: str = "light", force: bool = False) -> Any:
        """Draw success, diversity, typicality and pressure against the radius, and return the axes.

        Bands are 95 % intervals, a dotted line shows real texts, and a dashed vertical line the suggested radius. With
        a path, the picture is written there; without one, it is a pyplot figure, which a notebook shows by itself.

        Raises:
            InputError: an unknown theme or kind of file, a sweep of one radius.
            OutputError: a file that exists (unless `force`) or cannot be written.
        """
        rows, suggestion = self.line("radius"), self.suggested_radius()
        note = "" if suggestion is None else f"; dashed: suggested radius {suggestion}"
        return plot_panels(
            [row.cell.radius for row in rows],
            [row.figures for row in rows],
            ("success", "diversity", "typical", "pressure"),
            axis="radius",
            title=self._title(f"bands: 95 %; dotted: real texts{note}"),
            mark=None if suggestion is None else suggestion.radius,
            path=path,
            theme=theme,
            force=force,
        )

    def plot_plane(self, path: str | Path | None = None, *, theme: str = "light", force: bool = False) -> Any:
        """Draw success against diversity, one line over the radius and one over the temperature.

        Raises:
            InputError: an unknown theme or kind of file, no success to draw.
            OutputError: a file that exists (unless `force`) or cannot be written.
        """
        lines = {
            axis: [
                (float(getattr(row.cell, axis)), row.success, share_of_real(row.diversity))
                for row in self.line(axis)
                if row.success and row.diversity
            ]
            for axis in ("radius", "temperature")
        }
        points = [point for line in lines.values() for point in line]
        if not points:
            raise InputError(
                "no cell has both success and diversity: give a judge, and sample eight or more successful texts"
            )
        shares = "\n(of real texts')" if any(diversity.perfect for _, _, diversity in points) else ""
        return plot_plane(
            lines,
            labels=("success", f"diversity of successes{shares}"),
            title=self._title("bars: 95 %"),
            path=path,
            theme=theme,
            force=force,
        )

    def _title(self, key: str) -> str:
        return f"{self.grid.expression}   |   {self.grid.n} samples a cell\n{key}"


@with_progress_bars
def sweep(
    model: ResidualModel,
    point: SteeringPoint | str | Mapping[Any, float],
    *,
    radii: Sequence[float] = (0.0, 0.25, 0.5, 0.75, 1.0),
    doses: Sequence[float] = (1.0,),
    temperatures: Sequence[float] = (1.0,),
    layers: Sequence[int | None] = (None,),
    n: int = 64,
    seed: int = 0,
    max_tokens: int = 128,
    folder: str | Path | None = None,
    jobs: int = 1,
    evaluation_set: EvaluationSet | None = None,
    watcher: CellCallback | None = None,
    progress: ProgressOption = None,
) -> Sweep:
    """Sample a point over a grid and return the figures of every cell.

    Args:
        model: the model to sample.
        point: the steering point, or what `compose` takes.
        radii: sizes of each sample's own perturbation.
        doses: factors by which every dose of the point is multiplied.
        temperatures: sampling temperatures.
        layers: layers at which the concepts are added; `None` for the layers that they were extracted at.
        n: samples in a cell.
        seed: of all cells.
        max_tokens: length limit of the texts.
        folder: for a JSONL run file of each cell; samples that it holds already are not sampled again.
        jobs: number of processes that sample cells in parallel, each with its own copy of the model.
        evaluation_set: judges and real texts; for the embedded model, the Almanac by default.
        watcher: called with the row of each cell once it is measured.
        progress: called with the stage and how far it is, or `True` for a progress bar.

    Raises:
        InputError: a value outside its range, or several jobs for a model that was not loaded by name or folder.
        OutputError: a folder of another sweep.
    """
    composed = point if isinstance(point, SteeringPoint) else compose(point, model)
    grid = Grid(
        expression=composed.expression,
        radii=tuple(radii),
        doses=tuple(doses),
        temperatures=tuple(temperatures),
        layers=tuple(layers),
        n=n,
        seed=seed,
        max_tokens=max_tokens,
    )
    for layer in grid.layers:
        if layer is not None:
            model.check_layer(layer)
    check_integer(jobs, "jobs", low=1, high=256)
    with TemporaryDirectory() as spare:
        path, grid = open_folder(spare if folder is None else folder, grid)
        job = Job(composed, grid, path)
        first = grid.cells[0]  # sampled first: without real texts, the others are cut to the length of its texts
        if job.read_samples(model, first) is None:
            job.sample(model, first)
        evaluator = CellEvaluator(
            model, composed.doses, n=grid.n, seed=grid.seed, max_tokens=grid.max_tokens, evaluation_set=evaluation_set,
            first=job.load_samples(model, first).texts,
        )  # fmt: skip
        rows: dict[Cell, Row] = {}
        advance = count_progress(progress_callback(progress), "sampling cells", len(grid.cells))
        for cell in sample_cells(model, job, jobs):
            rows[cell] = measure_cell(cell, job.load_samples(model, cell), evaluator)
            advance(1)
            if watcher is not None:
                watcher(rows[cell])
    return Sweep(grid, tuple(rows[cell] for cell in grid.cells))
