"""A run as it is planned: everything that decides what its samples are, but which of them are wanted."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from torch import Tensor

from steer.composition.steering_point import SteeringPoint, compose
from steer.sampling.pressure_budget import OFFSET, PILOT, scale_to_pressure
from steer.search.perturbation import Perturbation, check_geometry, check_radius
from steer.search.recentring import Centre
from vectors.activations.covariance import LowRankCovariance
from vectors.activations.natural_covariance import natural_covariance
from vectors.common.errors import InputError
from vectors.common.validation import MAX_SEED, check_integer, quote
from vectors.concepts.vector import check_fits
from vectors.decoding.decode import Finished, decode, prefix_ids
from vectors.decoding.token_sampling import Settings
from vectors.model.positions import check_positions
from vectors.model.residual_model import ResidualModel
from vectors.model.steering_check import check_steering

Point = SteeringPoint | Centre | str | Mapping[Any, float] | None
"""What can be switched on: a point, samples to stand on, what `compose` takes, or nothing."""


@dataclass(frozen=True, kw_only=True)
class RunPlan:
    """What is switched on, how far samples stray from it, and how their tokens are drawn.

    Attributes:
        point: what is switched on.
        settings: how tokens are drawn, and at which positions the point is added.
        radius, geometry: of each sample's own perturbation; see `perturb`.
        seed: of directions and tokens.
        prompt: text to continue.
        gate: only what is missing of a concept is added.
        covariances: of natural activations by layer, for the geometry `natural`.
        max_pressure: the budget that the point's scale was found for.
        costs: whether to know what each text costs: it takes as long again.
    """

    point: SteeringPoint
    settings: Settings
    radius: float = 0.0
    geometry: str = "shell"
    seed: int = 0
    prompt: str | None = None
    gate: bool = False
    covariances: Mapping[int, LowRankCovariance] | None = None
    max_pressure: float | None = None
    costs: bool = True

    def __post_init__(self) -> None:
        """Check the radius, the geometry and the seed, once for all samples.

        Raises:
            InputError: a value outside its range.
        """
        object.__setattr__(self, "radius", check_radius(self.radius))
        object.__setattr__(self, "geometry", check_geometry(self.geometry))
        object.__setattr__(self, "seed", check_integer(self.seed, "seed", high=MAX_SEED))

    @cached_property
    def perturbation(self) -> Perturbation:
        """The perturbed shifts around the point."""
        return Perturbation(self.point, self.radius, self.seed, self.geometry, self.covariances)

    def prefix(self, model: ResidualModel) -> list[int]:
        """Return the ids that every text starts from, once the whole plan is known to work.

        Raises:
            InputError: a value outside its range.
            ModelError: no prompt for a model without a start token.
            VectorError: a vector of another model.
            UnsteeredError: a shift that does not reach the logits.
        """
        check_positions(self.settings.positions, bos=model.bos_id is not None, scopes=True)
        if self.gate and self.settings.positions == "bos":
            raise InputError(
                "a gate reads each position, and at the start token there is nothing to read: leave it out"
            )
        prefix = prefix_ids(model, self.prompt, self.settings.max_tokens)
        for vector in self.point.vectors:
            check_fits(vector, model)
        self.point.moves(gate=self.gate)
        self.shifts([0])
        places = self.settings.positions
        for layer, delta in self.point.deltas.items():
            check_steering(model, layer, delta, positions=places, prefix=prefix, new=self.settings.max_tokens)
        return prefix

    def shifts(self, indices: Sequence[int]) -> dict[int, Tensor]:
        """Return the shifts of some samples by layer, one row per index."""
        return self.perturbation.shifts(indices)

    def decoded(
        self, model: ResidualModel, indices: Iterable[int], *, prefix: Sequence[int], batch_size: int | None = None
    ) -> Iterator[Finished]:
        """Yield the texts of some samples as they finish."""
        return decode(
            model,
            self.shifts if self.point.layers else None,
            prefix=prefix,
            settings=self.settings,
            seed=self.seed,
            indices=indices,
            batch_size=batch_size,
            interventions=self.point.moves(gate=self.gate),
            costs=self.costs,
        )

    def within(self, model: ResidualModel, max_pressure: float) -> "RunPlan":
        """Return the plan with its point scaled down to a pressure; see `steer.sampling.pressure_budget`."""
        prefix = self.prefix(model)

        def pressures(point: SteeringPoint) -> np.ndarray:
            plan = replace(self, point=point, costs=True)
            done = plan.decoded(model, range(OFFSET, OFFSET + PILOT), prefix=prefix)
            return np.concatenate([finished.cost.kl for finished in done])

        return replace(
            self, point=scale_to_pressure(self.point, max_pressure, pressures).point, max_pressure=max_pressure
        )

    def identity(self, model: ResidualModel) -> dict[str, Any]:
        """Return what every sample of the run shares; weights and vectors by digests, since names can be reused."""
        point = self.point
        digests = {"model_hash": model.hash[:16], "vectors": {made.name: made.digest[:16] for made in point.vectors}}
        how: dict[str, Any] = {"dtype": str(model.dtype).removeprefix("torch."), "composition": point.method}
        how |= {"scale": point.scale, "gate": self.gate}
        how |= {
            "around": point.around,
            "max_pressure": self.max_pressure,
            "spread": None,
            "costs": None if self.costs else False,
        }  # told also where there is none
        if self.covariances is not None:
            how["spread"] = {str(layer): self.covariances[layer].digest[:16] for layer in point.layers}
        return {
            "seed": self.seed,
            "radius": self.radius,
            "geometry": self.geometry,
            "doses": point.doses,
            "layer": list(point.layers),
            "model": model.name,
            "prompt": self.prompt or "",
            "settings": asdict(self.settings) | how | digests,
        }


def make_plan(
    model: ResidualModel,
    point: Point,
    settings: Settings | None = None,
    *,
    positions: str | None = None,
    radius: float | None = None,
    geometry: str | None = None,
    seed: int = 0,
    prompt: str | None = None,
    gate: bool = False,
    max_pressure: float | None = None,
    costs: bool = True,
) -> RunPlan:
    """Return the plan of a run.

    The arguments are those of `steer.stream`, and `settings` say how tokens are drawn; where texts are shifted is told
    by `positions` alone.

    Raises:
        InputError: what is no point, a value outside its range, or a budget that cannot be met.
    """
    composed = composed_of(point, model)
    stood = point if isinstance(point, Centre) else None  # which tells all that is not asked for
    if radius is None:
        radius = stood.radius if stood else 0.0
        if stood and not radius:
            raise InputError("these samples have radius 0, and so one direction: give a radius above 0, such as 0.5")
    geometry = geometry or (stood.geometry if stood else "shell")
    places = positions if positions is not None else stood.positions if stood else composed.positions
    plan = RunPlan(
        point=composed,
        settings=replace(settings or Settings(), positions=places),
        radius=radius,
        geometry=geometry,
        seed=seed,
        prompt=stood.prompt if stood and prompt is None else prompt,
        gate=gate or (stood is not None and stood.gate),
        covariances=natural_covariance(model, composed.layers)
        if geometry == "natural" or (stood and stood.natural)
        else None,
        costs=costs,
    )
    return plan if max_pressure is None else plan.within(model, max_pressure)


def composed_of(point: Point, model: ResidualModel) -> SteeringPoint:
    """Return a point as it is, or composed from what was given for one.

    Raises:
        InputError: what is no point.
    """
    if isinstance(point, SteeringPoint):
        return point
    if isinstance(point, Centre):
        return point.point(model)
    if point is None:
        return SteeringPoint(deltas={}, doses={}, vectors=())
    if isinstance(point, str | Mapping):
        return compose(point, model)
    raise InputError(f"point is {quote(point)}: give an expression, a mapping from concepts to doses, or `compose` one")
