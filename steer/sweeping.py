"""Sweeping: one expression over a grid, a run in each cell, measured as soon as it is whole."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from steer.figures.cells import Bench, Row, measured_cell
from steer.figures.yardstick import Yardstick
from steer.grid import Cell, Grid, open_folder
from steer.jobs import Job, sampled
from steer.point import SteeringPoint, compose
from steer.suggested import FEWEST_HITS, KEEP, Suggestion, suggested
from vectors.checks import whole
from vectors.model import ResidualModel
from vectors.progress import Given, counter, showing, teller

Watcher = Callable[[Row], None]
"""Told of each cell as soon as it is measured."""


@dataclass(frozen=True)
class Sweep:
    """The figures of every cell of a grid.

    Attributes:
        grid: the plan.
        rows: the cells with their figures, in the order of the grid.
    """

    grid: Grid
    rows: tuple[Row, ...]

    def suggested_radius(self, *, keep: float = KEEP) -> Suggestion | None:
        """Return the largest radius up to which success is `keep` of that at the smallest, or None where none is known.

        Only the cells with the first layer, and the dose and temperature nearest 1, count; there have to be two.
        """
        found = [(row.cell.radius, row.success) for row in self.line("radius") if row.success is not None]
        counts = [(radius, round(figure.value * figure.n), figure.n) for radius, figure in found]
        if len(counts) < 2 or counts[0][1] < FEWEST_HITS:
            return None
        radii, hits, n = zip(*counts, strict=True)
        return suggested(radii, hits, n, keep=keep)

    def line(self, axis: str) -> tuple[Row, ...]:
        """Return the cells along one axis, all else as in the first cell whose dose and temperature are nearest 1."""
        names = ("layer", "temperature", "dose", "radius")
        home = {
            "layer": self.grid.layers[0],
            "temperature": min(self.grid.temperatures, key=lambda value: abs(value - 1)),
            "dose": min(self.grid.doses, key=lambda value: abs(value - 1)),
            "radius": self.grid.radii[0],
        }
        others = [name for name in names if name != axis]
        return tuple(row for row in self.rows if all(getattr(row.cell, name) == home[name] for name in others))

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "grid": self.grid.to_dict(),
            "rows": [row.to_dict() for row in self.rows],
            "suggested_radius": None if (found := self.suggested_radius()) is None else asdict(found),
        }

    def _repr_html_(self) -> str:
        """Show it in a notebook."""
        from steer.pages.notebook import sweep_html

        return sweep_html(self)

    def plot(self, path: str | Path | None = None, **options: Any) -> Any:
        """Draw the figures against the radius, and return the axes; see `steer.plots.plot_radius`."""
        from steer.plots import plot_radius

        return plot_radius(self, path, **options)


@showing
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
    yardstick: Yardstick | None = None,
    watcher: Watcher | None = None,
    progress: Given = None,
) -> Sweep:
    """Sample a point over a grid and return the figures of every cell.

    Args:
        model: the model to sample.
        point: what to switch on, or what `compose` takes.
        radii: of each sample's own push.
        doses: by which every dose of the point is multiplied.
        temperatures: of the sampler.
        layers: where the concepts are added, instead of where they were made for.
        n: samples in a cell.
        seed: of all cells.
        max_tokens: longest text.
        folder: keeps a JSONL run for each cell; what is there already is gone on with, whatever stopped it.
        jobs: processes that sample cells side by side, each with a model of its own.
        yardstick: what cells are measured against; of the embedded model, by default the Almanac.
        watcher: told of each cell as soon as it is measured.
        progress: called as the work goes on, or `True` for a bar.

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
    whole(jobs, "jobs", low=1, high=256)
    with TemporaryDirectory() as spare:
        place, grid = open_folder(spare if folder is None else folder, grid)
        job = Job(composed, grid, place)
        first = grid.cells[0]  # by itself: what the others are compared with must not hang on which is ready first
        if job.read(model, first) is None:
            job.sample(model, first)
        bench = Bench(
            model, composed.doses, n=grid.n, seed=grid.seed, max_tokens=grid.max_tokens, yardstick=yardstick,
            first=job.samples(model, first).texts,
        )  # fmt: skip
        found: dict[Cell, Row] = {}
        more = counter(teller(progress), "sampling cells", len(grid.cells))
        for cell in sampled(model, job, jobs):
            found[cell] = measured_cell(cell, job.samples(model, cell), bench)
            more(1)
            if watcher is not None:
                watcher(found[cell])
    return Sweep(grid, tuple(found[cell] for cell in grid.cells))
