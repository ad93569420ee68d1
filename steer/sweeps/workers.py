"""The cells of a sweep sampled, one after the other or by several processes: each is a run in the sweep's folder."""

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
    """What is sampled, and where it is kept.

    Attributes:
        point: what is switched on.
        grid: the cells.
        place: the folder.
    """

    point: SteeringPoint
    grid: Grid
    place: Path

    def read(self, model: ResidualModel, cell: Cell) -> SampleSet | None:
        """Return a cell's samples, or None where they are not all there yet.

        Raises:
            OutputError: a damaged file, or one of another model, vector or dtype.
        """
        options = SamplingOptions(
            max_tokens=self.grid.max_tokens, temperature=cell.temperature, radius=cell.radius, seed=self.grid.seed
        )
        plan = make_plan(model, self.moved(cell), options)
        return read_cell(self.place, cell, self.grid.n, plan.identity(model))

    def samples(self, model: ResidualModel, cell: Cell) -> SampleSet:
        """Return the samples of a cell that was sampled just now.

        Raises:
            OutputError: somebody took them away since.
        """
        found = self.read(model, cell)
        if found is None:
            raise OutputError(f"{quote(self.place / cell.file)} has lost samples meanwhile: repeat the command")
        return found

    def sample(self, model: ResidualModel, cell: Cell) -> None:
        """Sample what a cell lacks."""
        sample(
            model,
            self.moved(cell),
            n=self.grid.n,
            radius=cell.radius,
            seed=self.grid.seed,
            temperature=cell.temperature,
            max_tokens=self.grid.max_tokens,
            output=self.place / cell.file,
            resume=True,
        )

    def moved(self, cell: Cell) -> Point:
        """Return the point of a cell: its doses multiplied, its concepts added at the cell's layer."""
        doses = {}
        for vector in self.point.vectors:
            if cell.layer is not None and vector.other_layers:
                raise InputError(
                    f"{quote(vector.name)} steers several layers at once: leave the layers of the sweep out"
                )
            placed = vector if cell.layer is None else replace(vector, layer=cell.layer)
            doses[placed] = self.point.doses[vector.name] * cell.dose
        return compose(doses, method=self.point.method) if doses else None


def sample_cells(model: ResidualModel, job: Job, jobs: int) -> Iterator[Cell]:
    """Yield cells as their runs become whole: first those that were.

    Raises:
        InputError: several jobs for a model that was not loaded by name or folder.
        OutputError: a folder that cannot be gone on with, or a process that died.
    """
    missing = []
    for cell in job.grid.cells:
        if job.read(model, cell) is None:
            missing.append(cell)
        else:
            yield cell
    if jobs > 1 and model.origin is None:
        raise InputError(
            "several jobs need a model that can be loaded again: load it by name or folder, or give one job"
        )
    if model.origin is not None and jobs > 1 and len(missing) > 1:
        yield from _by_workers(model.origin, job, missing, min(jobs, len(missing)))
        return
    for cell in missing:
        job.sample(model, cell)
        yield cell


def _by_workers(origin: Origin, job: Job, cells: list[Cell], workers: int) -> Iterator[Cell]:
    context = get_context("spawn")
    alive, ours = context.Pipe(duplex=False)
    with ours, ProcessPoolExecutor(workers, context, _begin, (origin, workers, alive)) as pool:
        try:
            with _deaf():
                waiting = {pool.submit(_work, job, cell): cell for cell in cells}
            for done in as_completed(waiting):
                done.result()
                yield waiting[done]
        except BrokenProcessPool as error:
            raise OutputError(
                "a process of the sweep died, likely for want of memory: give fewer jobs, and repeat to go on"
            ) from error
        except BaseException:
            ours.close()  # which the workers hear, and stop at once
            pool.shutdown(wait=True, cancel_futures=True)
            raise


@contextmanager
def _deaf() -> Iterator[None]:
    """Processes that begin in this block do not hear Ctrl-C: theirs is to stop when we do, without a word."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


_MODEL: list[ResidualModel] = []  # a worker's own


def _begin(origin: Origin, workers: int, alive: Connection) -> None:
    import torch

    threading.Thread(target=_stop_with, args=(alive,), daemon=True).start()
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // workers))
    _MODEL.append(load_model(**origin))


def _stop_with(alive: Connection) -> None:
    """End this process when the other end is closed, be it by a kill."""
    try:
        alive.poll(None)
    finally:
        os._exit(1)


def _work(job: Job, cell: Cell) -> None:
    job.sample(_MODEL[0], cell)
