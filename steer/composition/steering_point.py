"""Compose doses to a steering point: the shift at each site with the requested projection on every concept."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float32, Float64
from torch import Tensor

from steer.composition.expression import METHODS, Doses, check_dose, format_doses, parse
from vectors.common.errors import InputError, VectorError
from vectors.common.validation import list_names, quote
from vectors.concepts import library
from vectors.concepts.by_position import compose_by_position
from vectors.concepts.composition import as_shift, orthonormal, unit_rows
from vectors.concepts.vector import ConceptVector, ModelLike, check_fits, same_model
from vectors.model.interventions import Gate, Intervention, rotate
from vectors.model.positions import PARTS, Site, by_site, parts_of

if TYPE_CHECKING:
    from vectors.activations.covariance import LowRankCovariance
    from vectors.common.layer_ranges import LayerRanges


@dataclass(frozen=True, eq=False)
class SteeringPoint:
    """A composed shift of the residual stream.

    Attributes:
        deltas: shift by site (layer and positions), float32 on the CPU, "d_model" each; a layer alone, as a key, stands
            for all positions. Of the sites of a layer at most one acts on a position, beside those whose weight fades.
        doses: dose of every concept by name, before scaling.
        vectors: the concepts, in the order of `doses`.
        method: how they were composed.
        scale: factor on all shifts that keeps them within a pressure budget.
        around: the picked samples that it is centred on, plain JSON, if any; `deltas` are then their mean shifts.
        shapes: covariance of the perturbations by layer; uniform at layers without one.
        chosen_layers: the layers to which vectors of several layers were restricted, as text; None without a choice.
    """

    deltas: dict[Site, Float32[Tensor, " d_model"]] = field(repr=False)
    doses: dict[str, float]
    vectors: tuple[ConceptVector, ...] = field(repr=False)
    method: str = "exact"
    scale: float = 1.0
    around: dict[str, Any] | None = field(default=None, repr=False)
    shapes: "Mapping[int, LowRankCovariance]" = field(default_factory=dict, repr=False)
    chosen_layers: str | None = None

    def __post_init__(self) -> None:
        """Turn layers into sites at all positions."""
        object.__setattr__(self, "deltas", by_site(self.deltas, "all"))

    @property
    def layers(self) -> tuple[int, ...]:
        """Steered layers in order."""
        return tuple(sorted({layer for layer, _ in self.deltas}))

    @property
    def norms(self) -> dict[Site, float]:
        """Length of the shift by site."""
        return {site: float(delta.double().norm()) for site, delta in self.deltas.items()}

    @property
    def positions(self) -> str | None:
        """The positions of all its shifts, or None if they differ; `all` for a point without shifts."""
        names = {where for _, where in self.deltas} or {"all"}
        return names.pop() if len(names) == 1 else None

    def at_positions(self, positions: str) -> "SteeringPoint":
        """Return the point with its concepts added at these positions instead of where they were made for.

        Of a concept with several sets of positions at a layer, the shift at the start token stays there, or is left out
        if `positions` do not include the start token.

        Raises:
            InputError: positions that leave no shift, or a point around picked samples whose sites differ.
        """
        if self.positions is not None:
            return replace(self, deltas={(layer, positions): delta for (layer, _), delta in self.deltas.items()})
        if self.around is not None or not self.vectors:
            raise InputError("this point has shifts at several positions and no concepts to move: leave positions out")
        moved = _compose(self.vectors, self.doses, method=self.method, positions=positions)
        return replace(self, deltas={site: delta * self.scale for site, delta in moved.items()})

    def part_shift(self, layer: int, part: str) -> Float32[Tensor, " d_model"] | None:
        """Return the shift in a part of a text (`vectors.model.positions.PARTS`), before it fades; None without one."""
        here = [delta for (at, where), delta in self.deltas.items() if at == layer and part in parts_of(where)]
        return torch.stack(here).sum(dim=0) if here else None

    def main_shift(self, layer: int) -> Float32[Tensor, " d_model"]:
        """Return the shift of generated tokens at a layer, or the one of the start token if those have none."""
        parts = (self.part_shift(layer, part) for part in reversed(PARTS))
        return next(shift for shift in parts if shift is not None)

    @property
    def expression(self) -> str:
        """The doses as a canonical expression."""
        return format_doses(self.doses)

    def scaled(self, factor: float) -> "SteeringPoint":
        """Return the point with every shift multiplied by a factor, which `scale` records."""
        deltas = {site: delta * factor for site, delta in self.deltas.items()}
        return replace(self, deltas=deltas, scale=self.scale * factor)

    def moves(self, *, gate: bool = False) -> dict[int, Intervention]:
        """Return by layer what replaces the addition of the shift: nothing, a rotation, or a gate.

        Raises:
            InputError: a gate for concepts at the start token, for several layers, or for a rotation.
        """
        if not gate:
            return dict.fromkeys(self.layers, rotate) if self.method == "rotate" else {}
        if self.method == "rotate":
            raise InputError("a gate adds what is missing, method 'rotate' adds nothing: choose one of them")
        blind = [vector.name for vector in self.vectors if any(where == "bos" for _, where in vector.shifts)]
        if blind or not self.vectors:
            raise InputError(
                f"a gate reads each position, and {quote(blind[0]) if blind else 'this point'} is added at the start "
                "token alone: leave the gate out, or extract the concept with positions all"
            )
        if self.chosen_layers is not None:
            raise InputError(
                f"a gate needs the layers that its concepts were made for: leave the choice of layers "
                f"({self.chosen_layers}) or the gate out"
            )
        if away := [vector.name for vector in self.vectors if vector.away_shifts and self.doses[vector.name] < 0]:
            raise InputError(
                f"a gate adds what is missing of a concept, and the dose of {quote(away[0])} takes it away by shifts "
                "of their own: leave the gate out"
            )
        if several := [vector.name for vector in self.vectors if vector.other_shifts]:
            raise InputError(
                f"a gate needs to know what is natural, and of {quote(several[0])} that is known at one of its layers "
                "only: leave the gate out"
            )
        gates: dict[int, Intervention] = {}
        for layer in self.layers:
            here = [vector for vector in self.vectors if vector.layer == layer]
            directions = torch.from_numpy(unit_rows(vector.direction for vector in here)).float()
            levels = torch.stack([(vector.mean * row).sum() for vector, row in zip(here, directions, strict=True)])
            gates[layer] = Gate(directions, levels)
        return gates

    def span(self, layer: int) -> Float64[Tensor, "k d_model"]:
        """Return an orthonormal float64 basis of the k independent concept directions at one layer.

        Raises:
            InputError: a layer that the point does not steer.
        """
        if layer not in self.layers:
            raise InputError(
                f"layer {layer} is not steered by this point: choose from {', '.join(map(str, self.layers))}"
            )
        rows = [vector.shifts_of(self.doses[vector.name]) for vector in self.vectors]
        here = [row for by_site in rows for (at, _), row in by_site.items() if at == layer]
        if not here:  # a point that the caller made without vectors
            width = next(len(delta) for (at, _), delta in self.deltas.items() if at == layer)
            return torch.zeros(0, width, dtype=torch.float64)
        return torch.from_numpy(orthonormal(unit_rows(here)))


def compose(
    expression: str | Mapping[ConceptVector, float] | Mapping[str, float] | Mapping[ConceptVector | str, float],
    model: ModelLike | None = None,
    *,
    method: str = "exact",
    layers: "str | int | Iterable[int] | LayerRanges | None" = None,
) -> SteeringPoint:
    """Compose concepts and doses into one steering point; doses of a repeated concept add up.

    The keys of a mapping are vectors, names in the model's library, or paths. Of vectors that steer at several layers,
    `layers` keeps some: numbers, or a text such as `8-20` (both ends included). The methods are:

    - `exact`: the smallest shift whose projection on every concept is its dose times its unit,
      `V (V^T V)^-1 (a * u)` with the concepts as columns of V, solved in float64 for each layer and each part of a
      text, so that concepts may differ in their layers and positions. A concept of dose 0 keeps projection 0.
    - `sum`: the sum of the scaled directions.
    - `rotate`: composes as `exact`; the residual stream is rotated towards its sum with the shift and keeps its length.

    Raises:
        InputError: an expression or dose that cannot be read, an unknown concept, names without a model, or layers that
            no vector of several layers has.
        VectorError: a vector of another model or width, two different vectors of one name, or (method "exact")
            concepts too nearly parallel or dependent to be dosed separately.
    """
    if method not in METHODS:
        raise InputError(f"method is {quote(method)}: choose from {', '.join(METHODS)}")
    vectors_and_doses = _load_vectors(parse(expression) if isinstance(expression, str) else expression, model)
    chosen = None
    if layers is not None:
        from vectors.common.layer_ranges import parse_layers  # most points have one layer

        chosen = parse_layers(layers)
        vectors_and_doses = _restrict(vectors_and_doses, chosen)
    vectors = tuple(vector for vector, _ in vectors_and_doses.values())
    for other in vectors[1:]:
        _check_same_model(vectors[0], other)
    doses = {name: dose for name, (_, dose) in vectors_and_doses.items()}
    return SteeringPoint(
        deltas=_compose(vectors, doses, method=method),
        doses=doses,
        vectors=vectors,
        method=method,
        chosen_layers=None if chosen is None else str(chosen),
    )


def _compose(
    vectors: Sequence[ConceptVector], doses: Mapping[str, float], *, method: str, positions: str | None = None
) -> dict[Site, Tensor]:
    composed = compose_by_position(vectors, doses, method=method, positions=positions)
    return {site: as_shift(row, site[0]) for site, row in composed.items()}


def _restrict(
    vectors_and_doses: Mapping[str, tuple[ConceptVector, float]], chosen: "LayerRanges"
) -> dict[str, tuple[ConceptVector, float]]:
    """Keep the chosen layers of vectors that steer at several; vectors of one layer stay as they are."""
    from vectors.concepts.vector_layers import at_layers

    vectors = [vector for vector, _ in vectors_and_doses.values()]
    others = [vector for vector in vectors if len(vector.layers) == 1 and vector.layer not in chosen]
    if len(others) == len(vectors):
        raise InputError(
            f"layers {chosen} choose among the layers of a concept that steers at several, and "
            f"{list_names(vector.name for vector in vectors)} each steer at one: leave --layers (layers=) out"
        )
    return {
        name: (at_layers(vector, chosen.choose(vector.layers, quote(name))) if vector.layers[1:] else vector, dose)
        for name, (vector, dose) in vectors_and_doses.items()
    }


def _load_vectors(
    doses: Mapping[ConceptVector, float] | Mapping[str, float] | Mapping[ConceptVector | str, float],
    model: ModelLike | None,
) -> dict[str, tuple[ConceptVector, float]]:
    if not isinstance(doses, Mapping) or not doses:
        raise InputError(f"got {quote(doses)}: give an expression or a mapping from at least one concept to its dose")
    chosen: dict[str, tuple[ConceptVector, float]] = {}
    for key, value in doses.items():
        if isinstance(key, ConceptVector):
            vector = key
            if model is not None:
                check_fits(vector, model)
        elif isinstance(key, str | Path):
            if model is None:
                raise InputError(f"{quote(key)} is a name: pass the model whose library holds it, or a ConceptVector")
            vector = library.load(key, model)
        else:
            raise InputError(f"{quote(key)} is no concept: give a name, a path or a ConceptVector")
        dose = value if isinstance(doses, Doses) else check_dose(value, vector.name)
        if vector.name not in chosen:
            chosen[vector.name] = (vector, 0.0 + dose)  # turns -0.0 into 0.0
            continue
        earlier, earlier_dose = chosen[vector.name]
        if earlier != vector:
            raise VectorError(
                f"two different vectors are both named {quote(vector.name)}: rename one (dataclasses.replace, name=...)"
            )
        chosen[vector.name] = (vector, check_dose(earlier_dose + dose, vector.name))
    return chosen


def _check_same_model(one: ConceptVector, other: ConceptVector) -> None:
    if one.d_model != other.d_model or same_model(one, other) == "other":
        raise VectorError(
            f"vector {quote(one.name)} was made for model {quote(one.model)} (width {one.d_model}) and "
            f"{quote(other.name)} for {quote(other.model)} (width {other.d_model}): extract both for one model"
        )
