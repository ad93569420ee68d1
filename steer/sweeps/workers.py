"""Sample the cells of a sweep, in this process or in several; each cell is a run file in the sweep's folder."""

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

from steer.composition.steering_point import SteeringPoint, compose
from steer.runs.sample_set import SampleSet
from steer.sampling.run_plan import Point, SamplingOptions, make_plan
from steer.sampling.sample import sample
from steer.sweeps.grid import Cell, Grid, read_cell
from vectors.common.errors import InputError, OutputError
from vectors.common.validation import quote
from vectors.model.residual_model import Origin, ResidualModel, load_model


@dataclass(frozen=True)
class Job:
    """A sweep's steering point, its grid and its folder.

    Attributes:
        point: the steering point.
        grid: the cells.
        folder: holds a run file for each cell.
    """

    point: SteeringPoint
    grid: Grid
    folder: Path

    def read_samples(self, model: ResidualModel, cell: Cell) -> SampleSet | None:
        """Return a cell's samples, or None if some are still missing.

        Raises:
            OutputError: a damaged file, or one of another model, vector or dtype.
        """
        options = SamplingOptions(
            max_tokens=self.grid.max_tokens, temperature=cell.temperature, radius=cell.radius, seed=self.grid.seed
        )
        plan = make_plan(model, self.cell_point(cell), options)
        return read_cell(self.folder, cell, self.grid.n, plan.identity(model))

    def load_samples(self, model: ResidualModel, cell: Cell) -> SampleSet:
        """Return the samples of a cell that has been sampled.

        Raises:
            OutputError: some were removed in the meantime.
        """
        samples = self.read_samples(model, cell)
        if samples is None:
            raise OutputError(f"{quote(self.folder / cell.file)} lost samples in the meantime: repeat the command")
        return samples

    def sample(self, model: ResidualModel, cell: Cell) -> None:
        """Sample the missing texts of a cell."""
        sample(
            model,
            self.cell_point(cell),
            n=self.grid.n,
            radius=cell.radius,
            seed=self.grid.seed,
            temperature=cell.temperature,
            max_tokens=self.grid.max_tokens,
            output=self.folder / cell.file,
            resume=True,
        )

    def cell_point(self, cell: Cell) -> Point:
        """Return the steering point of a cell: doses multiplied by its dose, concepts added at its layer."""
        doses = {}
        for vector in self.point.vectors:
            if cell.layer is not None and len(vector.layers) > 1:
                raise InputError(
                    f"{quote(vector.name)} steers several layers at once: leave the layers of the sweep out"
                )
            at_layer = vector
            if cell.layer is not None:
                others = {(cell.layer, where): row for (_, where), row in vector.other_shifts.items()}
                at_layer = replace(vector, layer=cell.layer, other_shifts=others, away_shifts={})
            doses[at_layer] = self.point.doses[vector.name] * cell.dose
        if not doses:
            return None
        return replace(compose(doses, method=self.point.method), chosen_layers=self.point.chosen_layers)


def sample_cells(model: ResidualModel, job: Job, jobs: int) -> Iterator[Cell]:
    """Yield each cell as soon as all its texts are sampled, cells that were complete before first.

    Raises:
        InputError: several jobs for a model that was not loaded by name or folder.
        OutputError: files of another run in the folder, or a process that died.
    """
    missing = []
    for cell in job.grid.cells:
        if job.read_samples(model, cell) is None:
            missing.append(cell)
        else:
            yield cell
    if jobs > 1 and model.origin is None:
        raise InputError(
            "several jobs need a model that can be loaded again: load it by name or folder, or give one job"
        )
    if model.origin is not None and jobs > 1 and len(missing) > 1:
        yield from _sample_in_processes(model.origin, job, missing, min(jobs, len(missing)))
        return
    for cell in missing:
        job.sample(model, cell)
        yield cell


def _sample_in_processes(origin: Origin, job: Job, cells: list[Cell], workers: int) -> Iterator[Cell]:
    context = get_context("spawn")
    worker_end, parent_end = context.Pipe(duplex=False)
    with parent_end, ProcessPoolExecutor(workers, context, _start_worker, (origin, workers, worker_end)) as pool:
        try:
            with _ignoring_interrupts():
                futures = {pool.submit(_sample_cell, job, cell): cell for cell in cells}
            for future in as_completed(futures):
                future.result()
                yield futures[future]
        except BrokenProcessPool as error:
            raise OutputError(
                "a process of the sweep died, probably out of memory: use fewer jobs and repeat the command to continue"
            ) from error
        except BaseException:
            parent_end.close()  # the workers exit at once
            pool.shutdown(wait=True, cancel_futures=True)
            raise


@contextmanager
def _ignoring_interrupts() -> Iterator[None]:
    """Start processes in this block to ignore Ctrl-C: they exit with the parent instead, without a traceback."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


_MODEL: list[ResidualModel] = []  # of this worker process


def _start_worker(origin: Origin, workers: int, worker_end: Connection) -> None:
    import torch

    threading.Thread(target=_exit_with_parent, args=(worker_end,), daemon=True).start()
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // workers))
    _MODEL.append(load_model(**origin))


def _exit_with_parent(worker_end: Connection) -> None:
    """Exit when the parent closes its end of the pipe, or is killed."""
    try:
        worker_end.poll(None)
    finally:
        os._exit(1)


def _sample_cell(job: Job, cell: Cell) -> None:
    job.sample(_MODEL[0], cell)
