"""Recentring: the mean direction of picked samples becomes the centre of the next search."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch

from steer.composition.steering_point import SteeringPoint
from steer.runs.sample import RUN_KEYS, Sample, difference
from steer.search.perturbation import check_geometry, check_radius, perturb
from steer.search.recorded_run import RecordedRun
from vectors.activations.covariance import LowRankCovariance
from vectors.activations.natural_covariance import natural_covariance
from vectors.common.errors import InputError
from vectors.common.validation import MAX_SEED, check_integer, check_number
from vectors.concepts.vector import ConceptVector
from vectors.model.residual_model import ResidualModel

SHRINK = 0.7
"""Default ratio of the next radius to that of the picked samples."""

_MAX_DEPTH = 1000  # centres in a chain that a file may record


@dataclass(frozen=True)
class Pick:
    """A picked sample: the values that its direction was drawn from."""

    seed: int
    index: int
    radius: float
    geometry: str


@dataclass(frozen=True)
class Picks:
    """Picked samples, and the picks that their own run was centred on; samples record it as `around`.

    Attributes:
        picks: the samples.
        shrink: ratio of the next radius to theirs.
        before: the picks that their run was centred on, if any.
    """

    picks: tuple[Pick, ...]
    shrink: float
    before: "Picks | None"

    @property
    def natural(self) -> bool:
        """Whether the covariance of natural activations is needed to draw their directions again."""
        here = any(pick.geometry == "natural" for pick in self.picks)
        return here or (self.before is not None and self.before.natural)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, as a sample records them."""
        return {
            "picks": [asdict(pick) for pick in self.picks],
            "shrink": self.shrink,
            "before": None if self.before is None else self.before.to_dict(),
        }


@dataclass(frozen=True)
class Centre:
    """A centre for `steer.sample`: picked samples and the record of their run.

    Attributes:
        picks: the samples.
        run: how their run was steered.
    """

    picks: Picks
    run: RecordedRun

    @property
    def geometry(self) -> str:
        """Default geometry of the next search."""
        return self.picks.picks[0].geometry

    @property
    def radius(self) -> float:
        """Default radius of the next search."""
        return self.picks.shrink * max(pick.radius for pick in self.picks.picks)

    def point(self, model: ResidualModel, vectors: Sequence[ConceptVector] = ()) -> SteeringPoint:
        """Return the point at the mean of the picked samples' shifts.

        The vectors come from `vectors`, and otherwise from the model's library.

        Raises:
            InputError: a concept that the library lacks.
            ModelError: a model, a vector or a natural covariance that has changed since the run.
        """
        point = self.run.point(model, vectors)
        covariances = natural_covariance(model, point.layers) if self.picks.natural else None
        self.run.check_covariances(model, covariances)
        return centre_point(point, self.picks, covariances)


def recentre(samples: Sequence[Sample], picks: Sequence[int], *, shrink: float = SHRINK) -> Centre:
    """Return a centre for the next search from picked samples, as `steer.sample` takes it.

    The mean direction of the picked samples becomes the centre; their doses stay. Where several are picked, the next
    directions vary mostly along the differences between them. The next radius is `shrink` times theirs, unless
    `sample` is given one.

    Args:
        samples: the run to pick from.
        picks: indices of the picked samples.
        shrink: ratio of the next radius to theirs.

    Raises:
        InputError: no pick, an index that is not in the run, picks from several runs, samples without any concept, or
            a damaged record.
    """
    ratio = check_number(shrink, "shrink")
    if ratio < 0:
        raise InputError(f"shrink is {ratio:g}: give a number of at least 0, such as 0.7")
    chosen = [check_integer(pick, "a pick", high=MAX_SEED) for pick in picks]
    by_index = {sample.index: sample for sample in samples}
    missing = [index for index in chosen if index not in by_index]
    if not chosen or missing:
        known = ", ".join(map(str, sorted(by_index)[:8])) + (", ..." if len(by_index) > 8 else "")
        problem = f"there is no sample {missing[0]}" if missing else "no sample is picked"
        raise InputError(f"{problem}: pick from {known or 'a run that has samples'}")
    first = by_index[chosen[0]]
    for index in chosen:
        if different := difference(by_index[index], {key: getattr(first, key) for key in RUN_KEYS}):
            raise InputError(f"sample {index} is of another run than sample {chosen[0]}: {different}")
    if not first.doses:
        raise InputError("these samples were steered by nothing: they have no direction to search around")
    picked = (by_index[index] for index in dict.fromkeys(chosen))
    return Centre(
        Picks(
            tuple(Pick(sample.seed, sample.index, sample.radius, sample.geometry) for sample in picked),
            ratio,
            picks_of(first),
        ),
        RecordedRun.of(first),
    )


def picks_of(sample: Sample) -> Picks | None:
    """Return the picks that a sample's run was centred on, from its record; None if it had no centre.

    Raises:
        InputError: a record that cannot be read.
    """
    damaged = f"sample {sample.index} records a centre that cannot be read: the file is damaged"
    record, chain = sample.settings.get("around"), list[Mapping[str, Any]]()
    while record is not None:
        if not isinstance(record, Mapping) or len(chain) == _MAX_DEPTH:
            raise InputError(damaged)
        chain.append(record)
        record = record.get("before")
    picks: Picks | None = None
    for link in reversed(chain):
        try:
            checked = tuple(
                Pick(
                    check_integer(pick["seed"], "seed", high=MAX_SEED),
                    check_integer(pick["index"], "index", high=MAX_SEED),
                    check_radius(pick["radius"]),
                    check_geometry(pick["geometry"]),
                )
                for pick in link["picks"]
            )
            shrink = check_radius(link["shrink"])
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(damaged) from error
        if not checked:
            raise InputError(damaged)
        picks = Picks(checked, shrink, picks)
    return picks


def centre_point(
    point: SteeringPoint, picks: Picks, covariances: Mapping[int, LowRankCovariance] | None
) -> SteeringPoint:
    """Return the point moved to the mean of the picked samples' shifts.

    The doses are those of the samples; for caps, which shrink all doses, they are those of `point`. Where several are
    picked, half of the variance of the next directions lies in the span of their differences, and half anywhere.

    Args:
        point: the composed point of their run.
        picks: the samples.
        covariances: of natural activations by layer, if the picks need them.
    """
    base = point if picks.before is None else centre_point(point, picks.before, covariances)
    shifts = [
        perturb(base, 1, pick.radius, seed=pick.seed, start=pick.index, geometry=pick.geometry, covariances=covariances)
        for pick in picks.picks
    ]
    cap = any(pick.geometry == "cap" for pick in picks.picks)
    deltas, shapes = {}, {}
    for site, delta in sorted(base.deltas.items(), key=lambda pair: float(pair[1].norm())):
        layer = site[0]
        rows = torch.cat([shift[site] for shift in shifts]).double()
        mean = rows.mean(dim=0)
        if cap:  # otherwise each cap around a cap would lower the doses further
            span = base.span(layer)
            mean = mean + span.T @ (span @ (delta.double() - mean))
        deltas[site] = mean.float()
        # the longest shift of a layer comes last: perturbations of the others are parallel to its own
        if (shape := _covariance_of_picks(rows.numpy(), layer)) is not None:
            shapes[layer] = shape
    deltas = {site: deltas[site] for site in base.deltas}
    return replace(base, deltas=deltas, around=picks.to_dict(), shapes=shapes)


def _covariance_of_picks(rows: np.ndarray, layer: int) -> LowRankCovariance | None:
    """Return the covariance of the rows with as much variance again in all other directions; None for equal rows."""
    deviations_by_row = rows - rows.mean(axis=0)
    _, values, modes = np.linalg.svd(deviations_by_row, full_matrices=False)
    significant = values > 1e-6 * max(float(np.abs(rows).max()), 1e-30)
    if not significant.any():
        return None
    basis = modes[significant]
    deviations = values[significant] / np.sqrt(max(1, len(rows) - 1))
    # the sign of a singular vector is arbitrary: make its largest coordinate positive
    signs = np.sign(np.take_along_axis(basis, np.abs(basis).argmax(axis=1)[:, None], axis=1))
    other_dimensions = rows.shape[1] - len(basis)
    rest = float(np.sqrt((deviations**2).sum() / max(1, other_dimensions)))
    return LowRankCovariance(
        layer=layer, mean=torch.from_numpy(rows.mean(axis=0)), basis=torch.from_numpy(basis * signs),
        deviations=torch.from_numpy(deviations), rest=rest, distances=np.zeros(1), count=len(rows),
    )  # fmt: skip
