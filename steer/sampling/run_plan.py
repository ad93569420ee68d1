"""The plan of a run: everything that decides what each of its samples is."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from torch import Tensor

from steer.composition.steering_point import SteeringPoint, compose
from steer.runs.sample import short_digest
from steer.search.perturbation import Perturbation, check_geometry, check_radius
from vectors.common.errors import InputError
from vectors.common.validation import MAX_SEED, check_integer, quote
from vectors.concepts.vector import check_fits
from vectors.decoding.decode import Finished, decode, prefix_ids
from vectors.decoding.token_sampling import METHOD, Settings
from vectors.model.positions import Site, check_positions, check_site_positions
from vectors.model.residual_model import ResidualModel
from vectors.model.steering_check import check_steering

if TYPE_CHECKING:
    from steer.search.recentring import Centre
    from vectors.activations.covariance import LowRankCovariance

Point: TypeAlias = "SteeringPoint | Centre | str | Mapping[Any, float] | None"
"""What can be sampled: a point, picked samples to search around, what `compose` takes, or None for the plain model."""


@dataclass(frozen=True, kw_only=True)
class SamplingOptions:
    """How a run is sampled; `steer.stream` explains each option.

    A `radius`, `geometry` or `positions` of None is chosen by what is sampled, see `make_plan`.

    Raises:
        InputError: a token setting outside its range. The other options are checked when the plan is made.
    """

    radius: float | None = None
    geometry: str | None = None
    seed: int = 0
    prompt: str | None = None
    max_tokens: int = 128
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    positions: str | None = None
    gate: bool = False
    max_pressure: float | None = None
    costs: bool = True

    def __post_init__(self) -> None:
        """Check the token settings, which need neither a model nor a point."""
        _ = self.settings

    @cached_property
    def settings(self) -> Settings:
        """How tokens are drawn, and at which positions the point is added."""
        return Settings(
            max_tokens=self.max_tokens, temperature=self.temperature, top_p=self.top_p, top_k=self.top_k,
            min_p=self.min_p, positions=self.positions,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class RunPlan(SamplingOptions):
    """Everything that decides what the samples of a run are: a point, and options without a None to fill in.

    Attributes:
        point: the steering point, its concepts added where they are to be.
        positions: the positions that were asked for or that all shifts of the point have; None if these differ.
        covariances: of natural activations by layer, for the geometry `natural`.

    Raises:
        InputError: an option outside its range.
    """

    point: SteeringPoint
    radius: float = 0.0
    geometry: str = "shell"
    positions: str | None = None
    covariances: "Mapping[int, LowRankCovariance] | None" = None

    def __post_init__(self) -> None:
        """Check every option that needs no model, once for all samples."""
        super().__post_init__()
        object.__setattr__(self, "radius", check_radius(self.radius))
        object.__setattr__(self, "geometry", check_geometry(self.geometry))
        object.__setattr__(self, "seed", check_integer(self.seed, "seed", high=MAX_SEED))

    @cached_property
    def perturbation(self) -> Perturbation:
        """The perturbed shifts around the point."""
        return Perturbation(self.point, self.radius, self.seed, self.geometry, self.covariances)

    def prefix(self, model: ResidualModel) -> list[int]:
        """Return the token ids that every text starts from, after checking that the plan works on the model.

        Raises:
            InputError: an option that the model or the point does not allow.
            ModelError: no prompt for a model without a start token.
            VectorError: a vector of another model.
            UnsteeredError: a shift that does not reach the logits.
        """
        for where in {self.positions or "all", *(where for _, where in self.point.deltas)}:
            check_site_positions(where, bos=model.bos_id is not None)
        if self.gate and self.positions == "bos":
            raise InputError("a gate reads each position, and the start token has nothing to read: leave the gate out")
        prefix = prefix_ids(model, self.prompt, self.settings.max_tokens)
        for vector in self.point.vectors:
            check_fits(vector, model)
        self.point.moves(gate=self.gate)
        self.shifts([0])  # refuses a radius that overflows, and concepts that leave no other direction
        for layer in self.point.layers:
            here = {where: delta for (at, where), delta in self.point.deltas.items() if at == layer}
            check_steering(model, layer, here, prefix=prefix, new=self.settings.max_tokens)
        return prefix

    def shifts(self, indices: Sequence[int]) -> dict[Site, Tensor]:
        """Return the shifts of some samples by site, one row per index."""
        return self.perturbation.shifts(indices)

    def decoded(
        self, model: ResidualModel, indices: Iterable[int], *, prefix: Sequence[int], batch_size: int | None = None
    ) -> Iterator[Finished]:
        """Yield the decoded texts of some samples as they finish."""
        return decode(
            model,
            self.shifts if self.point.deltas else None,
            prefix=prefix,
            settings=self.settings,
            seed=self.seed,
            indices=indices,
            batch_size=batch_size,
            interventions=self.point.moves(gate=self.gate),
            costs=self.costs,
        )

    def within(self, model: ResidualModel, max_pressure: float) -> "RunPlan":
        """Return the plan with its point scaled down to a pressure budget; see `steer.sampling.pressure_budget`."""
        from steer.sampling.pressure_budget import OFFSET, PILOT, scale_to_pressure  # only a budget needs it

        prefix = self.prefix(model)

        def pressures(point: SteeringPoint) -> np.ndarray:
            pilot = replace(self, point=point, costs=True)
            texts = pilot.decoded(model, range(OFFSET, OFFSET + PILOT), prefix=prefix)
            return np.concatenate([text.cost.kl for text in texts])

        scaled = scale_to_pressure(self.point, max_pressure, pressures).point
        return replace(self, point=scaled, max_pressure=max_pressure)

    def identity(self, model: ResidualModel) -> dict[str, Any]:
        """Return what every sample of the run records; weights and vectors as digests, since names can be reused."""
        point, covariances = self.point, self.covariances
        digests = None
        if covariances is not None:
            digests = {str(layer): short_digest(covariances[layer].digest) for layer in point.layers}
        settings: dict[str, Any] = asdict(self.settings) | {
            "dtype": str(model.dtype).removeprefix("torch."),
            "composition": point.method,
            "scale": point.scale,
            "gate": self.gate,
            # recorded even if None, so that a run without one differs from a run with one
            "around": point.around,
            "max_pressure": self.max_pressure,
            "spread": digests,
            "costs": None if self.costs else False,
            "draw": METHOD,
            "model_hash": short_digest(model.hash),
            "vectors": {vector.name: short_digest(vector.digest) for vector in point.vectors},
        }
        if point.chosen_layers is not None:  # the key is newer than the others, so that it is left out where it can be
            settings["layers"] = point.chosen_layers
        return {
            "seed": self.seed,
            "radius": self.radius,
            "geometry": self.geometry,
            "doses": point.doses,
            "layer": list(point.layers),
            "model": model.name,
            "prompt": self.prompt or "",
            "settings": settings,
        }


def make_plan(model: ResidualModel, point: Point, options: SamplingOptions | None = None) -> RunPlan:
    """Return the plan of a run: compose the point and fill in the options that were left open.

    Of a `Centre`, options that were left open come from the picked samples and their run; otherwise the radius is 0,
    the geometry `shell`, and the positions those that the concepts were made for.

    Raises:
        InputError: a value that is no point, an option outside its range, or a budget that cannot be met.
    """
    options = options or SamplingOptions()
    composed = composed_of(point, model)
    centre = as_centre(point)
    radius = options.radius
    if radius is None:
        radius = centre.radius if centre else 0.0
        if centre and not radius:
            raise InputError("these samples have radius 0, and so one direction: give a radius above 0, such as 0.5")
    geometry = options.geometry or (centre.geometry if centre else "shell")
    if options.positions is not None:
        check_positions(options.positions, bos=model.bos_id is not None, scopes=True)
        composed = composed.at_positions(options.positions)
    positions = options.positions or (centre.run.positions if centre else composed.positions)
    covariances = None
    if geometry == "natural" or (centre is not None and centre.picks.natural):
        from vectors.activations.natural_covariance import natural_covariance  # no other geometry needs it

        covariances = natural_covariance(model, composed.layers)
    resolved = {
        "radius": radius,
        "geometry": geometry,
        "positions": positions,
        "prompt": centre.run.prompt if centre and options.prompt is None else options.prompt,
        "gate": options.gate or (centre is not None and centre.run.gate),
        "max_pressure": None,
    }
    chosen = {field.name: getattr(options, field.name) for field in fields(options)}
    plan = RunPlan(point=composed, covariances=covariances, **chosen | resolved)
    return plan if options.max_pressure is None else plan.within(model, options.max_pressure)


def composed_of(point: Point, model: ResidualModel) -> SteeringPoint:
    """Return the steering point of anything that can be sampled.

    Raises:
        InputError: a value that is no point.
    """
    if isinstance(point, SteeringPoint):
        return point
    if point is None:
        return SteeringPoint(deltas={}, doses={}, vectors=())
    if isinstance(point, str | Mapping):
        return compose(point, model)
    if (centre := as_centre(point)) is not None:
        return centre.point(model)
    raise InputError(f"point is {quote(point)}: give an expression, a mapping from concepts to doses, or `compose` one")


def as_centre(point: Point) -> "Centre | None":
    """Return the point if it is a centre of picked samples."""
    if point is None or isinstance(point, SteeringPoint | str | Mapping):
        return None
    from steer.search.recentring import Centre  # only a search around samples needs it

    return point if isinstance(point, Centre) else None
