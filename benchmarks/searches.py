"""The searches that `benchmarks/geometry.py` compares: from a setting to shifts and sampling settings."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
import torch
from harness import MAX_TOKENS, embedded
from torch import Tensor

import steer
import vectors
from steer.composition.steering_point import SteeringPoint
from steer.search.low_rank import low_rank
from steer.search.perturbation import concept_basis, project_out
from vectors.activations.covariance import LowRankCovariance, estimate_covariance
from vectors.almanac.concepts import CONCEPTS
from vectors.common.rng import Stream, rng
from vectors.decoding.token_sampling import Settings
from vectors.model.positions import Site

RADII = (0.5, 1.0, 1.5, 2.0, 3.0, 4.0)
OWN = 512  # sampled texts whose activations give the natural covariance

Shifts = Callable[[Sequence[int]], Mapping[Site, Tensor]]


@dataclass(frozen=True)
class Search:
    """One way to make samples differ, and its settings: as many for each search."""

    name: str
    values: tuple[float, ...]

    def shifts(self, point: SteeringPoint, value: float, seed: int) -> Shifts:
        """The shift of each sample."""
        made = _SHIFTS.get(self.name, _resampled)
        return made(point, value, seed)

    def settings(self, point: SteeringPoint, value: float) -> Settings:
        """The sampling settings."""
        drawn = {self.name: value} if self.name in ("temperature", "top_p", "min_p") else {}
        return Settings(max_tokens=MAX_TOKENS, positions=point.positions, **drawn)


SEARCHES = (
    Search("resampling", (0.0,)),
    *(
        Search(name, RADII)
        for name in (
            "shell", "shell, coordinated", "shell of rank 16", "cap", "natural", "natural, coordinated", "library",
            "isotropic noise", "Gaussian concept",
        )
    ),
    Search("temperature", (0.7, 0.85, 1.1, 1.2, 1.35, 1.6)),
    Search("top_p", (0.6, 0.7, 0.8, 0.9, 0.95, 0.98)),
    Search("min_p", (0.01, 0.02, 0.05, 0.1, 0.2, 0.3)),
    Search("random direction of equal norm", (0.0,)),
)  # fmt: skip


def _perturbed(point: SteeringPoint, value: float, seed: int, **how: object) -> Shifts:
    def shifts(indices: Sequence[int]) -> Mapping[Site, Tensor]:
        rows = [steer.perturb(point, 1, value, seed=seed, start=index, **how) for index in indices]  # type: ignore[arg-type]
        return {site: torch.cat([row[site] for row in rows]) for site in point.deltas}

    return shifts


def _coordinated(
    point: SteeringPoint, value: float, seed: int, spread: Mapping[int, LowRankCovariance] | None = None
) -> Shifts:
    """Directions in orthogonal blocks of d_model, before the concepts are projected out."""

    def shifts(indices: Sequence[int]) -> Mapping[Site, Tensor]:
        found = {}
        for site, delta in point.deltas.items():
            layer = site[0]
            basis, width = concept_basis(point, layer), len(delta)
            rows = [_block(seed, index // width, layer, width)[index % width] for index in indices]
            if spread is not None:
                rows = list(spread[layer].colour(torch.from_numpy(np.stack(rows))).numpy())
            rows = [project_out(basis, row) for row in rows]
            steps = np.stack([row / np.linalg.norm(row) for row in rows]) * value * point.norms[site]
            found[site] = delta + torch.from_numpy(steps).float()
        return found

    return shifts


@lru_cache(maxsize=8)
def _block(seed: int, block: int, layer: int, width: int) -> np.ndarray:
    """A random orthogonal matrix: Mezzadri, "How to generate random matrices from the classical compact groups"."""
    drawn = rng(seed, block, Stream.DIRECTION, part=layer + (1 << 32)).standard_normal((width, width))
    turned, upper = np.linalg.qr(drawn)
    return (turned * np.sign(np.diag(upper))).T


def _resampled(point: SteeringPoint, value: float, seed: int) -> Shifts:
    return lambda indices: {site: delta.expand(len(indices), -1) for site, delta in point.deltas.items()}


def _of_rank(point: SteeringPoint, value: float, seed: int) -> Shifts:
    found = {site: made.rows() for site, made in low_rank(point, 4096, value, rank=16, seed=seed).items()}
    return lambda indices: {site: rows[list(indices)] for site, rows in found.items()}


def _noisy(point: SteeringPoint, seed: int, length: float, widths: Mapping[int, np.ndarray], *, around: bool) -> Shifts:
    """Gaussian noise of a given expected length and widths, around the point or around zero."""

    def shifts(indices: Sequence[int]) -> Mapping[Site, Tensor]:
        found = {}
        for site, delta in point.deltas.items():
            layer = site[0]
            drawn = [rng(seed, i, Stream.DIRECTION, part=layer).standard_normal(len(delta)) for i in indices]
            noise = np.stack(drawn) * widths[layer] / np.sqrt((widths[layer] ** 2).sum())
            found[site] = delta * around + torch.from_numpy(noise * length * point.norms[site]).float()
        return found

    return shifts


def _isotropic(point: SteeringPoint, value: float, seed: int) -> Shifts:
    return _noisy(
        point, seed, value, {layer: np.ones(len(point.main_shift(layer))) for layer in point.layers}, around=True
    )


def _gaussian(point: SteeringPoint, value: float, seed: int) -> Shifts:
    """Gaussian noise with the standard deviations of natural activations: concepts as N(mu, diag Sigma)."""
    widths = {layer: np.sqrt(_diagonal(natural()[layer])) for layer in point.layers}
    return _noisy(point, seed, value, widths, around=True)


def _random(point: SteeringPoint, value: float, seed: int) -> Shifts:
    widths = {layer: np.ones(len(point.main_shift(layer))) for layer in point.layers}
    return _noisy(point, seed, 1.0, widths, around=False)


def _diagonal(shape: LowRankCovariance) -> np.ndarray:
    basis = shape.basis.numpy()
    return (basis**2 * (shape.deviations.numpy() ** 2 - shape.rest**2)[:, None]).sum(axis=0) + shape.rest**2


@cache
def natural() -> dict[int, LowRankCovariance]:
    """The covariance of the model's own texts at the layer of its concepts."""
    own = steer.sample(embedded(), None, n=OWN, seed=11)
    layer = vectors.load("cat", embedded()).layer
    return {layer: estimate_covariance(embedded(), [text for text in own.texts if text], layer)}


@cache
def library() -> dict[int, LowRankCovariance]:
    """The covariance of the ready-made concepts' shifts."""
    found = [vectors.load(name, embedded()) for name in CONCEPTS]
    rows = torch.stack([vector.direction.double() * vector.scale for vector in found])
    _, values, modes = torch.linalg.svd(rows / len(rows) ** 0.5, full_matrices=False)
    floor = float(values[-1]) * 1e-3
    return {
        found[0].layer: LowRankCovariance(
            layer=found[0].layer, mean=torch.zeros(rows.shape[1]).double(), basis=modes, deviations=values, rest=floor,
            distances=np.zeros(1), count=len(rows),
        )
    }  # fmt: skip


_SHIFTS: dict[str, Callable[[SteeringPoint, float, int], Shifts]] = {
    "shell": _perturbed,
    "shell, coordinated": _coordinated,
    "shell of rank 16": _of_rank,
    "cap": lambda point, value, seed: _perturbed(point, value, seed, geometry="cap"),
    "natural": lambda point, value, seed: _perturbed(point, value, seed, geometry="natural", covariances=natural()),
    "natural, coordinated": lambda point, value, seed: _coordinated(point, value, seed, natural()),
    "library": lambda point, value, seed: _perturbed(point, value, seed, geometry="natural", covariances=library()),
    "isotropic noise": _isotropic,
    "Gaussian concept": _gaussian,
    "random direction of equal norm": _random,
}
