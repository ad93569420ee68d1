"""Standing on samples: the directions of those that were picked become the centre of the next search."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from steer.composition.steering_point import SteeringPoint, compose
from steer.runs.sample import RUN_KEYS, Sample, difference
from steer.search.perturbation import check_geometry, check_radius, perturb
from vectors.activations.covariance import LowRankCovariance
from vectors.activations.natural_covariance import natural_covariance
from vectors.common.errors import InputError, ModelError
from vectors.common.paths import VECTOR_SUFFIX, model_folder
from vectors.common.validation import MAX_SEED, check_integer, check_number, quote
from vectors.concepts.library import names
from vectors.concepts.vector import ConceptVector
from vectors.model.positions import check_positions
from vectors.model.residual_model import ResidualModel

SHRINK = 0.7
"""Of the radius of the picked samples, where nothing else is asked for."""

_DEEPEST = 1000  # centres behind each other that a file may tell of
_PICK = ("seed", "index", "radius", "geometry")


@dataclass(frozen=True)
class Centre:
    """Samples to stand on, told by what their directions were drawn from.

    Attributes:
        picks: for each of them its seed, index, radius and geometry.
        shrink: the next radius relative to theirs.
        before: what they were themselves sampled around.
        doses, composition, scale, positions, gate, prompt, model_hash, vectors, spread: of their run.
    """

    picks: tuple[tuple[int, int, float, str], ...]
    shrink: float
    before: "Centre | None"
    doses: dict[str, float]
    composition: str
    scale: float
    positions: str
    gate: bool
    prompt: str | None
    model_hash: str
    vectors: dict[str, str]
    spread: dict[str, str]

    @property
    def geometry(self) -> str:
        """The geometry of the next search, unless told otherwise."""
        return self.picks[0][3]

    @property
    def radius(self) -> float:
        """The radius of the next search, unless told otherwise."""
        return self.shrink * max(radius for _, _, radius, _ in self.picks)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values: what a sample around these records."""
        return {
            "picks": [dict(zip(_PICK, pick, strict=True)) for pick in self.picks],
            "shrink": self.shrink,
            "before": None if self.before is None else self.before.to_dict(),
        }

    @property
    def natural(self) -> bool:
        """Whether it takes the spread of natural activations to find their directions again."""
        here = any(geometry == "natural" for _, _, _, geometry in self.picks)
        return here or (self.before is not None and self.before.natural)

    def point(self, model: ResidualModel, vectors: Sequence[ConceptVector] = ()) -> SteeringPoint:
        """Return the point at their centre, of concepts of the model's library unless they are given.

        Raises:
            ModelError: other weights than those they were sampled from, or vectors or natural texts that have changed.
            InputError: a concept that is gone.
        """
        if self.model_hash != model.hash[:16]:
            raise ModelError(f"these samples are of other weights than {quote(model.name)} has: load their model")
        composed = recomposed(model, self.doses, self.composition, vectors)
        for vector in composed.vectors:
            if self.vectors.get(vector.name) != vector.digest[:16]:
                raise ModelError(f"vector {quote(vector.name)} has changed since these samples: put it back as it was")
        return centre_point(model, composed.scaled(self.scale), self)


def recomposed(
    model: ResidualModel, doses: Mapping[str, float], composition: str, vectors: Sequence[ConceptVector] = ()
) -> SteeringPoint:
    """Return the point of a run that is over: of the vectors that are given, and others from the model's library.

    Raises:
        InputError: a concept that is gone, and where to put its file.
    """
    mine = {vector.name: vector for vector in vectors}
    for name in doses:
        if name not in mine and name not in names(model):
            raise InputError(
                f"these samples were steered by {quote(name)}, which the library lacks: copy its file to "
                f"{str(model_folder(model.name, model.hash) / name) + VECTOR_SUFFIX!r}"
            )
    return compose({mine.get(name, name): dose for name, dose in doses.items()}, model, method=composition)


def recentre(samples: Sequence[Sample], picks: Sequence[int], *, shrink: float = SHRINK) -> Centre:
    """Return a centre for the next search from picked samples, as `steer.sample` takes it.

    The directions of the picked samples become the centre, and their doses stay. The differences between several picks
    shape where the search looks. The next radius is `shrink` times theirs, unless `sample` is given one.

    Args:
        samples: the run to pick from.
        picks: indices of the picked samples.
        shrink: the next radius relative to theirs.

    Raises:
        InputError: no pick, one that is not there, picks of several runs, samples that were steered by nothing, or a
            damaged record.
    """
    factor = check_number(shrink, "shrink")
    if factor < 0:
        raise InputError(f"shrink is {factor:g}: give a number of at least 0, such as 0.7")
    wanted = [check_integer(pick, "a pick", high=MAX_SEED) for pick in picks]
    there = {sample.index: sample for sample in samples}
    missing = [pick for pick in wanted if pick not in there]
    if not wanted or missing:
        known = ", ".join(map(str, sorted(there)[:8])) + (", ..." if len(there) > 8 else "")
        given = f"there is no sample {missing[0]}" if missing else "no sample is picked"
        raise InputError(f"{given}: pick from {known or 'a run that has some'}")
    first = there[wanted[0]]
    for pick in wanted:
        if different := difference(there[pick], {key: getattr(first, key) for key in RUN_KEYS}):
            raise InputError(f"sample {pick} is of another run than sample {wanted[0]}: {different}")
    if not first.doses:
        raise InputError("these samples were steered by nothing: there is no direction to stand on")
    kept = first.settings
    return Centre(
        picks=tuple((there[i].seed, i, there[i].radius, there[i].geometry) for i in dict.fromkeys(wanted)),
        shrink=factor,
        before=around_of(first),
        doses=dict(first.doses),
        composition=str(kept.get("composition", "exact")),
        scale=check_number(kept.get("scale", 1.0), "scale"),
        positions=check_positions(kept.get("positions", "all"), scopes=True),
        gate=bool(kept.get("gate", False)),
        prompt=first.prompt or None,
        model_hash=str(kept.get("model_hash", "")),
        vectors=_digests(kept.get("vectors")),
        spread=_digests(kept.get("spread")),
    )


def around_of(sample: Sample) -> Centre | None:
    """Return what a sample was sampled around, as its record tells it.

    Raises:
        InputError: a record that cannot be read.
    """
    told, chain = sample.settings.get("around"), list[Mapping[str, Any]]()
    while told is not None:
        if not isinstance(told, Mapping) or len(chain) == _DEEPEST:
            raise InputError(f"sample {sample.index} tells of no centre that can be read: the file is damaged")
        chain.append(told)
        told = told.get("before")
    found: Centre | None = None
    for link in reversed(chain):
        try:
            picks = tuple(tuple(pick[key] for key in _PICK) for pick in link["picks"])
            checked = tuple(
                (
                    check_integer(seed, "seed", high=MAX_SEED),
                    check_integer(index, "index", high=MAX_SEED),
                    check_radius(radius),
                    check_geometry(how),
                )
                for seed, index, radius, how in picks
            )
            shrink = check_radius(link["shrink"])
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"sample {sample.index} tells of no centre that can be read: the file is damaged"
            ) from error
        if not checked:
            raise InputError(f"sample {sample.index} tells of a centre of nothing: the file is damaged")
        found = Centre(checked, shrink, found, dict(sample.doses), "", 1.0, "all", False, None, "", {}, {})
    return found


def _digests(told: object) -> dict[str, str]:
    return {str(name): str(made) for name, made in told.items()} if isinstance(told, Mapping) else {}


def centre_point(model: ResidualModel, point: SteeringPoint, around: Centre) -> SteeringPoint:
    """Return the point at the mean of the picked samples' own shifts, shaped by how they differ.

    The doses are theirs, or for caps those that were asked for. Of several picks, half of what the next directions vary
    lies in the span of their differences, so that the next search looks between and beyond them, and half anywhere.

    Raises:
        ModelError: directions that were drawn from natural texts other than those that are known now.
    """
    covariances = natural_covariance(model, point.layers) if around.natural else None
    for layer, shape in (covariances or {}).items():
        if around.spread.get(str(layer), shape.digest[:16]) != shape.digest[:16]:
            raise ModelError(
                "what is natural for this model has been found anew since these samples, and their directions were "
                f"drawn from it: put back {str(model_folder(model.name, model.hash) / 'natural_covariance')!r} "
                "as it was"
            )
    return _centre_point(point, around, covariances)


def _centre_point(
    point: SteeringPoint, around: Centre, covariances: Mapping[int, LowRankCovariance] | None
) -> SteeringPoint:
    base = point if around.before is None else _centre_point(point, around.before, covariances)
    rows = [
        perturb(base, 1, radius, seed=seed, start=index, geometry=geometry, covariances=covariances)
        for seed, index, radius, geometry in around.picks
    ]
    shrunk = any(geometry == "cap" for _, _, _, geometry in around.picks)
    deltas, shapes = {}, {}
    for layer in base.layers:
        stack = torch.cat([row[layer] for row in rows]).double()
        mean = stack.mean(dim=0)
        if shrunk:  # a cap lowers all doses, and one after the other would lower them for good
            span = base.span(layer)
            mean = mean + span.T @ (span @ (base.deltas[layer].double() - mean))
        deltas[layer] = mean.float()
        if (shape := _shape(stack.numpy(), layer)) is not None:
            shapes[layer] = shape
    return replace(base, deltas=deltas, around=around.to_dict(), shapes=shapes)


def _shape(rows: np.ndarray, layer: int) -> LowRankCovariance | None:
    apart = rows - rows.mean(axis=0)
    _, values, modes = np.linalg.svd(apart, full_matrices=False)
    kept = values > 1e-6 * max(float(np.abs(rows).max()), 1e-30)
    if not kept.any():
        return None
    deviations = values[kept] / np.sqrt(max(1, len(rows) - 1))
    signs = np.sign(np.take_along_axis(modes[kept], np.abs(modes[kept]).argmax(axis=1)[:, None], axis=1))
    left = rows.shape[1] - int(kept.sum())
    rest = float(np.sqrt((deviations**2).sum() / max(1, left)))
    return LowRankCovariance(
        layer=layer, mean=torch.from_numpy(rows.mean(axis=0)), basis=torch.from_numpy(modes[kept] * signs),
        deviations=torch.from_numpy(deviations), rest=rest, distances=np.zeros(1), count=len(rows),
    )  # fmt: skip
