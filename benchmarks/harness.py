"""Shared by the steering benchmarks: the model, labelled texts, a judge, equal pressure, and worker processes."""

import argparse
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from typing import TypeVar

import numpy as np
import torch

import vectors
from steer.judges.almanac import Almanac
from steer.judges.reference import matches
from vectors.almanac.concepts import CONCEPTS
from vectors.almanac.training.concept_library import Texts, collect
from vectors.almanac.world import oracle
from vectors.common.statistics import wilson
from vectors.decoding.prompt_free_samples import ShiftedSamples, sample_shifted
from vectors.decoding.token_sampling import Settings
from vectors.model.residual_model import ResidualModel

MAX_TOKENS = 128

_PROBE = 24  # samples in each step of the search for a pressure
_SEARCH = ((_PROBE, 0.25, 6), (None, 0.1, 3))  # samples (None: all), tolerance, shifts tried: coarse, then fine
_OFF = 0.15  # relative error at which pressures no longer count as equal
_LONGEST = 2.0**10  # largest shift, relative to the initial one

_FEWEST = 16  # texts with the concept needed to measure fidelity
_FAIR = 400  # simulated perfect samplers
_WORLD = Almanac()

Task = TypeVar("Task")
Made = TypeVar("Made")


@dataclass(frozen=True)
class Options:
    """Samples a cell, the pressure at which to compare, the seed."""

    n: int
    pressure: float
    seed: int

    @classmethod
    def add_to(cls, parser: argparse.ArgumentParser) -> None:
        """Add the flags of the options."""
        parser.add_argument("-n", type=int, default=200)
        parser.add_argument("--pressure", type=float, default=0.15, help="mean, nats per token")
        parser.add_argument("--seed", type=int, default=3)


@dataclass(frozen=True)
class Cell:
    """Success with its mean pressure, and whether that is far from the requested one."""

    success: float
    mean: float
    p95: float
    off: bool
    strayed: float | None = None
    """TV of the other attributes from the truth, minus a perfect sampler's: see `strayed`."""

    def __str__(self) -> str:
        return f"{self.success:.2f}{f' (at {self.mean:.2f})' if self.off else ''}"


@cache
def embedded() -> ResidualModel:
    """The model, loaded once a process, on one core: processes share the work."""
    torch.set_num_threads(1)
    return vectors.load_model(dtype="float32")


@cache
def texts(seed: int) -> Texts:
    """The labelled texts, read once a process."""
    return collect(seed, positives=300, background=600)


def has(concept: str, text: str) -> bool:
    """Whether the oracle reads the concept in the text."""
    name, value = CONCEPTS[concept]
    return bool(getattr(oracle.read(text), name) == value)


def judged(concept: str, made: ShiftedSamples, *, pressure: float | None = None) -> Cell:
    """How many of a pilot's texts have the concept; `pressure` is the requested one."""
    hits = sum(has(concept, text) for text in made.texts)
    mean = float(made.kl.mean())
    off = pressure is not None and abs(mean / pressure - 1) > _OFF
    return Cell(hits / len(made.texts), mean, made.p95, off, strayed(concept, made.texts))


def strayed(concept: str, texts: Sequence[str]) -> float | None:
    """Mean total variation over attributes from the truth given the concept, minus a perfect sampler's at that n.

    Of the texts that have the concept; none where fewer than 16 have it.
    """
    given = dict([CONCEPTS[concept]])
    readings = [each for each in map(_WORLD.read, texts) if matches(each, given)]
    random, excess = np.random.default_rng(0), []
    for name in _WORLD.attributes:
        shown = [each[name] for each in readings if each.get(name) is not None]
        if name in given or len(shown) < _FEWEST:
            continue
        shares = _WORLD.shares(name, given)[0]
        values = [*shares, *({*shown} - {*shares})]
        truth = np.array([shares.get(value, 0.0) for value in values])
        counted = np.array([shown.count(value) for value in values]) / len(shown)
        fair = random.multinomial(len(shown), truth / truth.sum(), size=_FAIR) / len(shown)
        excess.append(np.abs(counted - truth).sum() / 2 - np.abs(fair - truth).sum(axis=1).mean() / 2)
    return float(np.mean(excess)) if excess else None


def rate(hits: int, n: int) -> str:
    """A success rate with its 95 % interval."""
    low, high = wilson(hits, n)
    return f"{hits / n:.2f} ({low:.2f} to {high:.2f})"


def widest(n: int) -> str:
    """Half the width of the widest 95 % interval of a rate over n samples."""
    low, high = wilson(n // 2, n)
    return f"±{(high - low) / 2:.2f}"


def at_pressure(
    layer: int, direction: torch.Tensor, options: Options, *, start: float, positions: str = "all"
) -> tuple[ShiftedSamples, float]:
    """Samples with a direction at the shift whose mean pressure is nearest to the requested one, and the shift.

    The shift is found over the first few of the samples, each next one where a power law through the nearest two would
    have it, and then over all of them. At the start token alone pressure saturates and may never reach what is asked.
    """
    settings = Settings(max_tokens=MAX_TOKENS, positions=positions)

    def tried(shift: float, n: int) -> ShiftedSamples:
        return sample_shifted(embedded(), {layer: direction * shift}, n=n, settings=settings, seed=options.seed + 1)

    shift = start
    for some, near, times in _SEARCH:
        n = min(some or options.n, options.n)
        found: dict[float, float] = {}
        made: dict[float, ShiftedSamples] = {}
        for _ in range(times):
            made[shift] = tried(shift, n)
            found[shift] = max(float(made[shift].kl.mean()), 1e-9)
            if abs(found[shift] / options.pressure - 1) < near:
                break
            shift = min(_next(found, options.pressure), start * _LONGEST)
        shift = min(found, key=lambda one: abs(np.log(found[one] / options.pressure)))
    return made[shift], shift


def _next(tried: dict[float, float], wanted: float) -> float:
    """The next shift to try: between the nearest shifts below and above, or beyond the only side."""
    above = [shift for shift in tried if tried[shift] >= wanted]
    # pressure is noisy: ignore a shift with too little pressure above one with too much
    below = [shift for shift in tried if tried[shift] < wanted and (not above or shift < min(above))]
    if below and above:
        low, high = max(below), min(above)
        share = np.log(wanted / tried[low]) / np.log(tried[high] / tried[low])
        return float(low * (high / low) ** np.clip(share, 0.1, 0.9))
    one = max(below) if below else min(above)
    return float(one * np.clip(np.sqrt(wanted / tried[one]), 1 / 4, 4))


@cache
def unsteered(options: Options) -> ShiftedSamples:
    """Samples of the base model: dose zero."""
    none = torch.zeros(embedded().d_model)
    return sample_shifted(
        embedded(), {0: none}, n=options.n, settings=Settings(max_tokens=MAX_TOKENS), seed=options.seed
    )


def shared_out(
    work: Callable[[Task, Options], Made], tasks: Sequence[Task], options: Options, *, quiet: bool = False
) -> Iterator[Made]:
    """Results of `work` on each task in order, one process a core; printed at once unless `quiet`."""
    with ProcessPoolExecutor(max_workers=os.cpu_count(), mp_context=get_context("spawn")) as pool:
        for made in pool.map(work, tasks, [options] * len(tasks)):
            print("done" if quiet else made, flush=True)
            yield made
